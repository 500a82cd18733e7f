package pgserver_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgsafe/pgsafe/internal/pgserver"
)

func find(t *testing.T) pgserver.Binaries {
	t.Helper()
	b, err := pgserver.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// programs makes a directory whose initdb, postgres and pg_ctl are shell scripts with the given body.
func programs(t *testing.T, body string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"initdb", "postgres", "pg_ctl"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestFind(t *testing.T) {
	t.Run("Find returns directory and version", func(t *testing.T) {
		b := find(t)
		if b.Major < 10 || !strings.HasPrefix(b.Version, "1") || !filepath.IsAbs(b.Dir) {
			t.Errorf("Find = %+v", b)
		}
	})

	t.Run("Find follows the links on PATH to the other programs", func(t *testing.T) {
		b := find(t)
		dir := t.TempDir()
		if err := os.Symlink(filepath.Join(b.Dir, "initdb"), filepath.Join(dir, "initdb")); err != nil {
			t.Fatal(err)
		}
		t.Setenv(pgserver.BinDirEnv, "")
		t.Setenv("PATH", dir)
		target, err := filepath.EvalSymlinks(b.Dir)
		if err != nil {
			t.Fatal(err)
		}
		if got := find(t); got.Dir != target {
			t.Errorf("Find = %+v, want the directory %s", got, target)
		}
	})

	t.Run("Find asks pg_config when PATH has no initdb", func(t *testing.T) {
		b := find(t)
		dir := t.TempDir()
		script := "#!/bin/sh\necho '" + b.Dir + "'\n"
		if err := os.WriteFile(filepath.Join(dir, "pg_config"), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		t.Setenv(pgserver.BinDirEnv, "")
		t.Setenv("PATH", dir)
		if got := find(t); got != b {
			t.Errorf("Find = %+v, want %+v", got, b)
		}
	})

	for name, dir := range map[string]string{
		"Find refuses a PGSAFE_PG_BIN that is missing":                "/no/such/directory",
		"Find refuses a PGSAFE_PG_BIN without the programs":           t.TempDir(),
		"Find refuses a PGSAFE_PG_BIN whose server is something else": programs(t, "echo hello"),
		"Find refuses a PGSAFE_PG_BIN whose server does not run":      programs(t, "echo a library is missing; exit 127"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(pgserver.BinDirEnv, dir)
			_, err := pgserver.Start(t.Context(), pgserver.Options{})
			var missing *pgserver.NotFoundError
			if !errors.As(err, &missing) {
				t.Fatalf("Start = %v, want a *NotFoundError", err)
			}
			for _, want := range []string{pgserver.BinDirEnv + "=" + dir, "apt-get install postgresql", "brew install"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not say %q: %v", want, err)
				}
			}
		})
	}

	t.Run("Find ends with its context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := pgserver.Find(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Find = %v, want %v", err, context.Canceled)
		}
	})
}

func TestTheNewestMajorIsTheGreatestNumber(t *testing.T) {
	for dir, want := range map[string]int{
		"/usr/lib/postgresql/9/bin":           9,
		"/usr/lib/postgresql/17/bin":          17,
		"/opt/homebrew/opt/postgresql@16/bin": 16,
		"/usr/local/pgsql/bin":                0,
	} {
		if got := pgserver.MajorInPath(dir); got != want {
			t.Errorf("MajorInPath(%q) = %d, want %d", dir, got, want)
		}
	}
}

func TestNotFoundErrorNamesWhatWasTriedAndHowToInstall(t *testing.T) {
	text := (&pgserver.NotFoundError{Tried: []string{"/a: there is no initdb"}}).Error()
	for _, want := range []string{"not found", "/a: there is no initdb", "apt-get install postgresql",
		"brew install postgresql@17", "PGSAFE_PG_BIN=/path/to/bin"} {
		if !strings.Contains(text, want) {
			t.Errorf("the text lacks %q:\n%s", want, text)
		}
	}
}
