package pgserver

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// BinDirEnv names the environment variable that says where PostgreSQL's programs are. When it is
// set no other place is looked at.
const BinDirEnv = "PGSAFE_PG_BIN"

// Binaries is one installation of PostgreSQL.
type Binaries struct {
	Dir     string // absolute directory that holds at least initdb, postgres and pg_ctl
	Version string // as the server says it: "15.18", "18beta1"
	Major   int    // 15
}

// CopyStrategy is the end of a CREATE DATABASE statement that makes it as fast as this version can
// be, with fsync off: " STRATEGY file_copy" where there is a choice.
func (b Binaries) CopyStrategy() string {
	if b.Major < 15 {
		return ""
	}
	return " STRATEGY file_copy"
}

func (b Binaries) path(program string) string { return filepath.Join(b.Dir, program) }

// A NotFoundError says that no usable installation of PostgreSQL was found. Its text says how to
// get one.
type NotFoundError struct {
	BinDir string   // the value of PGSAFE_PG_BIN, when that was set and is the reason
	Tried  []string // what was looked at, one "place: what is wrong with it" each
}

func (e *NotFoundError) Error() string {
	var b strings.Builder
	if e.BinDir != "" {
		fmt.Fprintf(&b, "pgserver: %s=%s is not a directory of PostgreSQL's programs", BinDirEnv, e.BinDir)
	} else {
		b.WriteString("pgserver: PostgreSQL was not found on this machine")
	}
	for _, place := range e.Tried {
		b.WriteString("\n  " + place)
	}
	b.WriteString("\nTo get it: apt-get install postgresql, or brew install postgresql@17, or say where it is with " +
		BinDirEnv + "=/path/to/bin (the directory that holds initdb, postgres and pg_ctl).")
	return b.String()
}

// Find returns the first usable installation of PostgreSQL among: the directory in PGSAFE_PG_BIN
// (which, when it is set, must be right), the initdb on PATH with symbolic links followed, what
// pg_config says, and the places where distributions put it, newest major version first. When there
// is none the error is a *NotFoundError.
func Find(ctx context.Context) (Binaries, error) {
	if dir := os.Getenv(BinDirEnv); dir != "" {
		b, err := inspect(ctx, dir)
		if err != nil {
			if ctx.Err() != nil {
				return Binaries{}, fmt.Errorf("pgserver: looking for PostgreSQL: %w", ctx.Err())
			}
			return Binaries{}, &NotFoundError{BinDir: dir, Tried: []string{err.Error()}}
		}
		return b, nil
	}
	missing := &NotFoundError{}
	for dir := range candidates(ctx) {
		b, err := inspect(ctx, dir)
		if err == nil {
			return b, nil
		}
		if ctx.Err() != nil {
			return Binaries{}, fmt.Errorf("pgserver: looking for PostgreSQL: %w", ctx.Err())
		}
		missing.Tried = append(missing.Tried, err.Error())
	}
	return Binaries{}, missing
}

// candidates yields the directories to look into, best first. It is lazy, so that pg_config runs
// only when PATH has no initdb.
func candidates(ctx context.Context) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		if p, err := exec.LookPath("initdb"); err == nil {
			// Links such as /usr/local/bin/initdb stand alone: the siblings are where they lead to.
			if target, err := filepath.EvalSymlinks(p); err == nil && !yield(filepath.Dir(target)) {
				return
			}
		}
		if p, err := exec.LookPath("pg_config"); err == nil {
			out, err := exec.CommandContext(ctx, p, "--bindir").Output()
			if dir := strings.TrimSpace(string(out)); err == nil && dir != "" && !yield(dir) {
				return
			}
		}
		for _, dir := range wellKnown() {
			if !yield(dir) {
				return
			}
		}
	}
}

var wellKnownGlobs = []string{
	"/usr/lib/postgresql/*/bin",                       // Debian, Ubuntu
	"/usr/pgsql-*/bin",                                // RHEL, Fedora with the project's own packages
	"/usr/libexec/postgresql*",                        // Alpine
	"/opt/homebrew/opt/postgresql@*/bin",              // Homebrew on Apple silicon
	"/usr/local/opt/postgresql@*/bin",                 // Homebrew on Intel
	"/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin", // Homebrew on Linux
	"/Applications/Postgres.app/Contents/Versions/*/bin",
	"/usr/local/pgsql/bin", // built from source
}

// wellKnown returns the directories that match wellKnownGlobs, newest major version first.
func wellKnown() []string {
	var dirs []string
	for _, glob := range wellKnownGlobs {
		found, _ := filepath.Glob(glob)
		dirs = append(dirs, found...)
	}
	slices.SortStableFunc(dirs, func(a, b string) int { return cmp.Compare(majorInPath(b), majorInPath(a)) })
	return dirs
}

var number = regexp.MustCompile(`[0-9]+`)

// majorInPath is the last number in dir. (That is 6 for /usr/pgsql-9.6/bin, which sorts it where it
// belongs.)
func majorInPath(dir string) int {
	all := number.FindAllString(dir, -1)
	if len(all) == 0 {
		return 0
	}
	n, _ := strconv.Atoi(all[len(all)-1])
	return n
}

var versionLine = regexp.MustCompile(`\(PostgreSQL\) (([0-9]+)\S*)`)

// inspect makes sure that dir holds the programs and that the server runs on this machine.
func inspect(ctx context.Context, dir string) (Binaries, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Binaries{}, err
	}
	b := Binaries{Dir: dir}
	for _, program := range []string{"initdb", "postgres", "pg_ctl"} {
		if err := executable(b.path(program)); err != nil {
			return Binaries{}, err
		}
	}
	out, err := exec.CommandContext(ctx, b.path("postgres"), "--version").CombinedOutput()
	if err != nil {
		return Binaries{}, fmt.Errorf("%s --version: %w: %s", b.path("postgres"), err, strings.TrimSpace(string(out)))
	}
	m := versionLine.FindStringSubmatch(string(out))
	if m == nil {
		return Binaries{}, fmt.Errorf("%s --version: not PostgreSQL's answer: %.60q", b.path("postgres"), out)
	}
	b.Version = m[1]
	b.Major, _ = strconv.Atoi(m[2])
	return b, nil
}

func executable(path string) error {
	info, err := os.Stat(path)
	switch {
	case os.IsNotExist(err):
		return fmt.Errorf("%s: there is no %s", filepath.Dir(path), filepath.Base(path))
	case err != nil:
		return err
	case info.IsDir() || info.Mode()&0o111 == 0 && runtime.GOOS != "windows":
		return fmt.Errorf("%s: not an executable file", path)
	}
	return nil
}
