package pgserver

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Making a cluster with initdb takes half a second, copying one a tenth of it. So the first cluster
// of a kind is kept as a template: <cache>/<kind>/data, and beside it "sum", a checksum of all of
// it. A template gets its name in one rename when it is whole, so processes need no lock between
// them: when two make the same one, the second is dropped. Whatever is wrong with a template or the
// cache, initdb is what remains.

// templateFormat is part of a template's name. Change it whenever templates come out differently.
const templateFormat = "1"

// templateAge is the age at which an unused template is removed.
const templateAge = 14 * 24 * time.Hour

// copyChunk is how much of a file is copied, or left out, at once.
const copyChunk = 128 << 10

var crcTable = crc32.MakeTable(crc32.Castagnoli)

// makeCluster fills the directory data, which must not exist yet, with a fresh cluster of superuser
// that belongs to r.who.
func makeCluster(ctx context.Context, r runner, data, superuser string) error {
	var template string
	if cache := cacheDir(); cache != "" {
		template = filepath.Join(cache, templateName(r.bin, superuser))
		if copyTemplate(template, data, r.who) == nil {
			now := time.Now()
			_ = os.Chtimes(template, now, now) // it is in use
			return nil
		}
		if err := os.RemoveAll(data); err != nil {
			return fmt.Errorf("pgserver: %w", err)
		}
		discard(template) // absent or damaged
	}
	if err := initdb(ctx, r, data, superuser); err != nil {
		return err
	}
	if template != "" {
		publish(template, data)
	}
	return nil
}

func initdb(ctx context.Context, r runner, data, superuser string) error {
	if err := r.who.makeDir(data); err != nil {
		return err
	}
	return r.run(ctx, nil, "", "initdb", "-D", data, "-U", superuser, "-A", "trust", "-E", "UTF8",
		"--locale=C", "--no-sync")
}

// cacheDir returns a directory that only this user can enter, or "" if there can be none.
func cacheDir() string {
	var places []string
	if dir, err := os.UserCacheDir(); err == nil {
		places = append(places, filepath.Join(dir, "pgsafe", "pgserver"))
	}
	places = append(places, filepath.Join(os.TempDir(), fmt.Sprintf("pgsafe-cache-%d", os.Geteuid())))
	for _, dir := range places {
		if os.MkdirAll(dir, 0o700) != nil {
			continue
		}
		// In a directory for all users another user could have made the directory first, with
		// another template.
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() || !ownedBy(info, os.Geteuid()) || info.Mode().Perm()&0o022 != 0 {
			continue
		}
		probe, err := os.MkdirTemp(dir, "probe")
		if err != nil {
			continue
		}
		_ = os.Remove(probe)
		return dir
	}
	return ""
}

// templateName tells apart all that makes templates differ, including another build of the server
// in the same place.
func templateName(bin Binaries, superuser string) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\x00%s\x00%s\x00%s\x00", templateFormat, bin.Dir, bin.Version, superuser)
	if info, err := os.Stat(bin.path("postgres")); err == nil {
		fmt.Fprintf(h, "%d %d", info.Size(), info.ModTime().UnixNano())
	}
	return fmt.Sprintf("%d-%x", bin.Major, h.Sum(nil)[:8])
}

var errTemplate = errors.New("pgserver: the template is damaged")

// copyTemplate copies a template to data, or fails if it is not there, or not as it was when it was
// made.
func copyTemplate(template, data string, who *identity) error {
	want, err := os.ReadFile(filepath.Join(template, "sum"))
	if err != nil {
		return err
	}
	sum, err := copyTree(filepath.Join(template, "data"), data, who)
	if err != nil {
		return err
	}
	if sum != string(want) {
		return errTemplate
	}
	return nil
}

// publish keeps a copy of the cluster in data as a template. It is worth no error: the next cluster
// tries again.
func publish(template, data string) {
	cache := filepath.Dir(template)
	temp, err := os.MkdirTemp(cache, "making-")
	if err != nil {
		return
	}
	defer os.RemoveAll(temp)
	sum, err := copyTree(data, filepath.Join(temp, "data"), nil)
	if err != nil || os.WriteFile(filepath.Join(temp, "sum"), []byte(sum), 0o600) != nil {
		return
	}
	_ = os.Rename(temp, template) // fails if another process was faster; its template is as good
	prune(cache)
}

// discard takes a template away. Its name is free at once; a process that is copying it sees it
// come apart, and makes its cluster anew.
func discard(template string) {
	temp, err := os.MkdirTemp(filepath.Dir(template), "damaged-")
	if err != nil {
		return
	}
	_ = os.Rename(template, filepath.Join(temp, "template"))
	_ = os.RemoveAll(temp)
}

// prune removes what was unused for long, including unfinished templates of a killed process.
func prune(cache string) {
	entries, err := os.ReadDir(cache)
	if err != nil {
		return
	}
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil && time.Since(info.ModTime()) > templateAge {
			_ = os.RemoveAll(filepath.Join(cache, entry.Name()))
		}
	}
}

// copyTree copies the directory from to the new directory to, hands it to who, and returns a
// checksum of the names and contents of all that is in it.
func copyTree(from, to string, who *identity) (sum string, err error) {
	h := crc32.New(crcTable)
	buf := make([]byte, copyChunk)
	files := 0
	err = filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, from)
		target := to + name
		fmt.Fprintf(h, "%s\x00", name)
		files++
		switch {
		case entry.IsDir():
			err = os.Mkdir(target, 0o700)
		case entry.Type().IsRegular():
			err = copyFile(path, target, h, buf)
		default:
			err = fmt.Errorf("%w: %s is neither a file nor a directory", errTemplate, path)
		}
		if err != nil {
			return err
		}
		return who.own(target)
	})
	return fmt.Sprintf("%s %d %08x", templateFormat, files, h.Sum32()), err
}

// copyFile leaves holes where from is all zero, which a third of a fresh cluster is: its first WAL
// segment.
func copyFile(from, to string, h hash.Hash, buf []byte) error {
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	var size int64
	for err == nil {
		var n int
		n, err = r.Read(buf)
		chunk := buf[:n]
		_, _ = h.Write(chunk)
		if !isZero(chunk) {
			if _, werr := w.WriteAt(chunk, size); werr != nil {
				err = werr
			}
		}
		size += int64(n)
	}
	if errors.Is(err, io.EOF) {
		err = nil
		if size > 0 {
			err = w.Truncate(size)
		}
	}
	return errors.Join(err, w.Close())
}

var zeros [copyChunk]byte

func isZero(chunk []byte) bool { return bytes.Equal(chunk, zeros[:len(chunk)]) }
