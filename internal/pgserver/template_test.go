//go:build linux

package pgserver_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/pgsafe/pgsafe/internal/pgserver"
)

// template is where the plain server's template is, with a cache in the directory cache.
func template(t *testing.T, cache string) string {
	t.Helper()
	return filepath.Join(cache, "pgsafe", "pgserver", pgserver.TemplateName(find(t), "postgres"))
}

func TestTemplate(t *testing.T) {
	t.Run("the template is made once by processes that start at the same time", func(t *testing.T) {
		cache := reachableDir(t)
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				c := spawn(t, nil, "XDG_CACHE_HOME="+cache)
				if got, err := tryAsk[int](t, c.URI, "SELECT 42"); err != nil || got != 42 {
					t.Errorf("got %d, %v", got, err)
				}
				c.end(t)
			})
		}
		all.Wait()
		left, err := os.ReadDir(filepath.Dir(template(t, cache)))
		if err != nil || len(left) != 1 {
			t.Errorf("the cache holds %v (%v)", left, err)
		}
	})

	cache := reachableDir(t)
	t.Setenv("XDG_CACHE_HOME", cache)
	dir := template(t, cache)
	start(t, pgserver.Options{})

	t.Run("a complete template is kept", func(t *testing.T) {
		before := sum(t, dir)
		start(t, pgserver.Options{})
		if after := sum(t, dir); after != before {
			t.Errorf("it was made anew: %s, %s", before, after)
		}
	})

	control := filepath.Join(dir, "data", "global", "pg_control")
	for name, harm := range map[string]func() error{
		"lost a file":       func() error { return os.Remove(filepath.Join(dir, "data", "PG_VERSION")) },
		"lost its checksum": func() error { return os.Remove(filepath.Join(dir, "sum")) },
		"lost half a file":  func() error { return os.Truncate(control, 4096) },
		"has another byte":  func() error { return flip(control) },
		"has one file more": func() error { return os.WriteFile(filepath.Join(dir, "data", "more"), nil, 0o600) },
		"holds a link":      func() error { return os.Symlink("/", filepath.Join(dir, "data", "link")) },
		"has become a file": func() error { return errors.Join(os.RemoveAll(dir), os.WriteFile(dir, nil, 0o600)) },
	} {
		t.Run("the template is made again when it "+name, func(t *testing.T) {
			before := sum(t, dir)
			if err := harm(); err != nil {
				t.Fatal(err)
			}
			ask[int](t, start(t, pgserver.Options{}).URI(""), "SELECT 1")
			if after := sum(t, dir); after == before {
				t.Error("it was not made anew")
			}
			left, err := os.ReadDir(filepath.Dir(dir))
			if err != nil || len(left) != 1 {
				t.Errorf("the cache holds %v (%v)", left, err)
			}
		})
	}

	t.Run("a server starts without a template if the cache is not writable", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		tmp := reachableDir(t)
		t.Setenv("TMPDIR", tmp)
		t.Setenv("XDG_CACHE_HOME", file)
		// Nor is one taken from a directory that others can write to.
		shared := filepath.Join(tmp, "pgsafe-cache-"+uid())
		if err := os.Mkdir(shared, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(shared, 0o777); err != nil {
			t.Fatal(err)
		}
		ask[int](t, start(t, pgserver.Options{}).URI(""), "SELECT 1")
		if left, _ := os.ReadDir(shared); len(left) > 0 {
			t.Errorf("the cache of everybody holds %v", left)
		}
	})
}

func sum(t *testing.T, dir string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "sum"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func flip(name string) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	text[100] ^= 1
	return os.WriteFile(name, text, 0o600)
}

func uid() string { return strconv.Itoa(os.Geteuid()) }
