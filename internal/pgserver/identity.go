package pgserver

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
)

// identity is the operating system user that a server runs as when it is not the caller's.
type identity struct {
	name     string
	uid, gid uint32
}

// unprivileged returns nil unless we are root, which PostgreSQL refuses to run as.
func unprivileged() (*identity, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil && uid != 0 {
			return &identity{name, uint32(uid), uint32(gid)}, nil
		}
	}
	return nil, errors.New("pgserver: PostgreSQL does not run as root, and this machine has neither a user " +
		`"postgres" nor a user "nobody" to run it as`)
}

// own hands path over to the identity; nil does nothing.
func (id *identity) own(path string) error {
	if id == nil {
		return nil
	}
	return os.Lchown(path, int(id.uid), int(id.gid))
}

// makeDir makes a directory that the identity alone can enter.
func (id *identity) makeDir(path string) error {
	err := os.Mkdir(path, 0o700)
	if err == nil {
		err = id.own(path)
	}
	if err != nil {
		return fmt.Errorf("pgserver: %w", err)
	}
	return nil
}

// writeFile writes a file that the identity alone can read.
func (id *identity) writeFile(path string, content []byte) error {
	err := os.WriteFile(path, content, 0o600)
	if err == nil {
		err = id.own(path)
	}
	if err != nil {
		return fmt.Errorf("pgserver: %w", err)
	}
	return nil
}

// reaches reports whether the identity, as one of "the others", can enter dir and all directories
// above it. nil is this process's user, which made dir.
func (id *identity) reaches(dir string) bool {
	if id == nil {
		return true
	}
	for {
		info, err := os.Stat(dir)
		if err != nil || info.Mode()&0o001 == 0 {
			return false
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return true
		}
		dir = parent
	}
}
