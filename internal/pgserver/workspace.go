package pgserver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// base directories look like pgsafe-server-123; owner.lock in one is locked by the process that
// made it.
const (
	basePrefix = "pgsafe-server-"
	ownerLock  = "owner.lock"
)

// socketLimit is the longest path that every system takes for a unix socket.
const socketLimit = 103

// makeBase makes a directory for one server that who may look into, and takes its lock.
func makeBase(who *identity) (base string, lock *os.File, err error) {
	parent, err := filepath.Abs(os.TempDir())
	if err != nil {
		return "", nil, fmt.Errorf("pgserver: %w", err)
	}
	if memory := memoryDir(); memory != "" && os.Getenv("TMPDIR") == "" {
		parent = memory
	}
	if !who.reaches(parent) {
		// A temporary directory of root's own, say. Opening it to others is not for us to do.
		if parent = "/tmp"; !who.reaches(parent) {
			return "", nil, fmt.Errorf("pgserver: the user %q that the server runs as can enter neither %s nor %s",
				who.name, os.TempDir(), parent)
		}
	}
	removeAbandoned(parent)
	if base, err = os.MkdirTemp(parent, basePrefix); err != nil {
		return "", nil, fmt.Errorf("pgserver: %w", err)
	}
	lock, err = os.Create(filepath.Join(base, ownerLock))
	if err == nil && !tryLock(lock) {
		err = errors.New("the lock of a fresh directory is taken")
	}
	if err == nil {
		err = os.Chmod(base, 0o711)
	}
	if err != nil {
		_ = lock.Close()
		_ = os.RemoveAll(base)
		return "", nil, fmt.Errorf("pgserver: %w", err)
	}
	return base, lock, nil
}

// removeAbandoned removes the directories in parent whose owners were killed. Whatever goes wrong
// is left for the next time.
func removeAbandoned(parent string) {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), basePrefix) || !entry.IsDir() {
			continue
		}
		base := filepath.Join(parent, entry.Name())
		// The minute is for one that is being made and has no lock yet, and for servers that are
		// still dying.
		info, err := entry.Info()
		if err != nil || !ownedBy(info, os.Geteuid()) || time.Since(info.ModTime()) < time.Minute {
			continue
		}
		lock, err := os.Open(filepath.Join(base, ownerLock))
		if err != nil {
			continue
		}
		if tryLock(lock) {
			_ = os.RemoveAll(base)
		}
		_ = lock.Close()
	}
}

// makeSocketDir makes a directory that only the server and its caller can enter, with a path short
// enough.
func makeSocketDir(base string, who *identity) (dir string, err error) {
	dir = filepath.Join(base, "s")
	if len(dir)+len("/.s.PGSQL.65535") <= socketLimit {
		return dir, who.makeDir(dir)
	}
	dir, err = os.MkdirTemp("/tmp", "pg")
	if err == nil {
		err = who.own(dir)
	}
	if err != nil {
		return "", fmt.Errorf("pgserver: a directory for the unix socket: %w", err)
	}
	return dir, nil
}
