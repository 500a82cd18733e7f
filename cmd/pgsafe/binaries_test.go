package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/pgsafe/pgsafe/internal/pgserver"
)

func TestPostgresBin(t *testing.T) {
	o := run(t, "postgres-bin")
	o.mustExit(t, exitOK)
	if dir := strings.TrimSuffix(o.stdout, "\n"); !isComplete(dir) || strings.Contains(dir, "\n") {
		t.Errorf("got %q", o.stdout)
	}
	t.Run("a wrong directory is reported", func(t *testing.T) {
		t.Setenv(pgserver.BinDirEnv, t.TempDir())
		o := run(t, "postgres-bin")
		o.mustExit(t, exitFailed)
		mustContain(t, o.stderr, pgserver.BinDirEnv)
	})
}

// nothing is a machine without PostgreSQL.
func nothing(context.Context) (pgserver.Binaries, error) {
	return pgserver.Binaries{}, &pgserver.NotFoundError{}
}

// cacheDir is a directory that another user can get into, as t.TempDir is not.
func cacheDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pgsafe-cache-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func mustBeEmpty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left in the cache: %v, error %v", left, err)
	}
}

func TestDownload(t *testing.T) {
	ctx := context.Background()
	archive := buildJar(t)
	sum := sha256.Sum256(archive)
	checksum := hex.EncodeToString(sum[:])
	serve := func(checksum string) *httptest.Server {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch path := r.URL.Path; {
			case !strings.HasPrefix(path, "/maven/io/zonky/test/postgres/embedded-postgres-binaries-"):
				http.NotFound(w, r)
			case strings.HasSuffix(path, ".jar"):
				_, _ = w.Write(archive)
			case strings.HasSuffix(path, ".jar.sha256"):
				_, _ = io.WriteString(w, checksum)
			}
		}))
		t.Cleanup(s.Close)
		return s
	}
	progress := newProgress(io.Discard)

	t.Run("a downloaded server passes all checks, and is downloaded once", func(t *testing.T) {
		s := serve(checksum)
		o := fetchOptions{repository: s.URL + "/maven/", cache: cacheDir(t), find: nothing}
		server, err := startEmbedded(ctx, o, progress)
		if err != nil {
			t.Fatal(err)
		}
		defer server.close()
		if dir := server.server.Binaries().Dir; !strings.HasPrefix(dir, o.cache) {
			t.Errorf("the server runs from %s", dir)
		}
		diagnose(ctx, server.dsn, progress).mustBe(t, nil)

		s.Close()
		again, err := o.binaries(ctx, progress)
		if err != nil || !isComplete(again.Dir) {
			t.Errorf("the second time: %v %v", again, err)
		}
		if left, _ := filepath.Glob(filepath.Join(o.cache, "download-*")); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	})
	for _, tt := range []struct {
		name, repository, text string
	}{
		{"a repository without the version is reported", serve(checksum).URL + "/elsewhere", "no version found"},
		{"a wrong checksum is reported", serve(strings.Repeat("0", 64)).URL + "/maven", "checksums do not match"},
		{"an unreachable repository is reported", "http://127.0.0.1:1", "unable to connect to http://127.0.0.1:1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cache := cacheDir(t)
			t.Setenv(repositoryEnv, tt.repository)
			t.Setenv(cacheEnv, cache)
			_, err := fetchOptions{find: nothing}.binaries(ctx, progress)
			var missing *pgserver.NotFoundError
			if !errors.As(err, &missing) {
				t.Fatalf("got %v", err)
			}
			mustContain(t, err.Error(), tt.text, "--pg-repository", repositoryEnv, "apt-get install postgresql")
			mustBeEmpty(t, cache)
		})
	}
	t.Run("cancellation does not wait for the download", func(t *testing.T) {
		asked, over := make(chan struct{}), make(chan struct{})
		var once sync.Once
		s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			once.Do(func() { close(asked) })
			<-over
		}))
		defer s.Close()
		defer close(over)
		ctx, cancel := context.WithCancel(ctx)
		go func() {
			<-asked
			cancel()
		}()
		cache := cacheDir(t)
		_, err := fetchOptions{repository: s.URL, cache: cache, find: nothing}.binaries(ctx, progress)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		mustBeEmpty(t, cache)
	})
}

// buildJar packs the machine's own PostgreSQL the way that zonkyio/embedded-postgres-binaries does.
func buildJar(t *testing.T) []byte {
	t.Helper()
	bin, err := pgserver.Find(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	xz, err := exec.LookPath("xz")
	if err != nil {
		t.Fatalf("packing an archive needs xz: apt-get install xz-utils, or brew install xz (%v)", err)
	}
	var tarball bytes.Buffer
	w := tar.NewWriter(&tarball)
	for _, program := range []string{"initdb", "postgres", "pg_ctl"} {
		pack(t, w, filepath.Join(bin.Dir, program), "bin/"+program)
	}
	// The server looks for its files beside bin, except for those that a distribution keeps elsewhere.
	if root := filepath.Dir(bin.Dir); root != "/usr" && root != "/usr/local" {
		for _, dir := range []string{"lib", "share"} {
			packDir(t, w, root, dir)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(xz, "-0", "-c")
	cmd.Stdin = &tarball
	txz, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var jar bytes.Buffer
	z := zip.NewWriter(&jar)
	f, err := z.Create("postgres-linux-x86_64.txz")
	if err == nil {
		_, err = f.Write(txz)
	}
	if err = errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return jar.Bytes()
}

// packDir leaves out what only the just-in-time compiler needs, which is most of it.
func packDir(t *testing.T, w *tar.Writer, root, dir string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && path == filepath.Join(root, dir):
			return nil
		case err != nil:
			return err
		case d.Name() == "bitcode":
			return fs.SkipDir
		case d.IsDir(), strings.HasPrefix(d.Name(), "llvmjit"):
			return nil
		}
		name, err := filepath.Rel(root, path)
		if err == nil {
			pack(t, w, path, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func pack(t *testing.T, w *tar.Writer, path, name string) {
	t.Helper()
	content, err := os.ReadFile(path) // links are packed as what they lead to
	if err == nil {
		err = w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content)), Typeflag: tar.TypeReg})
	}
	if err == nil {
		_, err = w.Write(content)
	}
	if err != nil {
		t.Fatal(err)
	}
}
