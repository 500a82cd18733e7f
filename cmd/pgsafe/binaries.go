package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
	"github.com/spf13/cobra"

	"github.com/pgsafe/pgsafe/internal/pgserver"
)

// Where PostgreSQL is downloaded from and to, for those who cannot reach the default.
const (
	repositoryEnv     = "PGSAFE_PG_REPOSITORY"
	cacheEnv          = "PGSAFE_PG_CACHE"
	defaultRepository = "https://repo1.maven.org/maven2"
)

// downloadVersion is what is downloaded where the machine has no PostgreSQL.
const downloadVersion = embeddedpostgres.V18

// fetchOptions say where PostgreSQL comes from on a machine that has none.
type fetchOptions struct {
	repository string
	cache      string

	find func(context.Context) (pgserver.Binaries, error) // nil is pgserver.Find
}

func (o *fetchOptions) addFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.repository, "pg-repository", "",
		"Maven repository to download PostgreSQL from (default $"+repositoryEnv+", else "+defaultRepository+")")
	cmd.Flags().StringVar(&o.cache, "pg-cache", "",
		"directory to keep it in (default $"+cacheEnv+", else the user's cache, /var/cache for root)")
}

func newPostgresBinCommand() *cobra.Command {
	var o fetchOptions
	cmd := &cobra.Command{
		Use:   "postgres-bin",
		Short: "Print the directory of PostgreSQL's programs, downloading them if need be",
		Long: `Print the directory that holds PostgreSQL's initdb, postgres and pg_ctl, and nothing else.

They are looked for in the directory that ` + pgserver.BinDirEnv + ` names, on PATH, where pg_config says, and where
distributions put them. If the machine has none, PostgreSQL ` + string(downloadVersion) + ` is downloaded once
(about 10 MB) from the Maven repository given by --pg-repository or ` + repositoryEnv + `,
as built by zonkyio/embedded-postgres-binaries.`,
		Example: `  export ` + pgserver.BinDirEnv + `="$(pgsafe postgres-bin)"
  ` + repositoryEnv + `=https://maven.example.com/central pgsafe postgres-bin`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			progress := newProgress(cmd.ErrOrStderr())
			bin, err := o.binaries(ctx, progress)
			progress.clear()
			if err == nil {
				_, err = fmt.Fprintln(cmd.OutOrStdout(), bin.Dir)
			}
			if err != nil {
				return &failure{explainEnd(ctx, err)}
			}
			return nil
		},
	}
	o.addFlags(cmd)
	return cmd
}

// binaries returns the machine's own PostgreSQL, else one that was downloaded before, else
// downloads it.
func (o fetchOptions) binaries(ctx context.Context, progress *progress) (pgserver.Binaries, error) {
	find := o.find
	if find == nil {
		find = pgserver.Find
	}
	bin, err := find(ctx)
	var missing *pgserver.NotFoundError
	if err == nil || !errors.As(err, &missing) || missing.BinDir != "" {
		return bin, err
	}
	home, err := o.home()
	if err != nil {
		return bin, err
	}
	if bin := binariesIn(home); isComplete(bin.Dir) {
		return bin, nil
	}
	repository := strings.TrimRight(cmp.Or(o.repository, os.Getenv(repositoryEnv), defaultRepository), "/")
	progress.announce("downloading PostgreSQL " + string(downloadVersion) + " ...")
	if err := download(ctx, repository, home); err != nil {
		return bin, fmt.Errorf("%w\nAnd it could not be downloaded: %w\n"+
			"To download it from elsewhere, name a Maven repository that has io.zonky.test.postgres: --pg-repository or %s",
			missing, err, repositoryEnv)
	}
	return binariesIn(home), nil
}

// home is the directory that one version is kept in.
func (o fetchOptions) home() (string, error) {
	cache := cmp.Or(o.cache, os.Getenv(cacheEnv))
	switch {
	case cache != "":
	case os.Geteuid() == 0:
		// The server runs as another user, which cannot enter root's directories.
		cache = "/var/cache/pgsafe"
	default:
		dir, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("no directory to keep PostgreSQL in (%w); name one with --pg-cache or %s", err, cacheEnv)
		}
		cache = filepath.Join(dir, "pgsafe")
	}
	cache, err := filepath.Abs(cache)
	return filepath.Join(cache, "postgresql-"+string(downloadVersion)), err
}

// binariesIn is the installation in home. Maven's 18.3.0 is PostgreSQL's 18.3.
func binariesIn(home string) pgserver.Binaries {
	version := strings.TrimSuffix(string(downloadVersion), ".0")
	major, _, _ := strings.Cut(version, ".")
	n, _ := strconv.Atoi(major) // downloadVersion begins with a number
	return pgserver.Binaries{Dir: filepath.Join(home, "bin"), Version: version, Major: n}
}

func isComplete(dir string) bool {
	for _, program := range []string{"initdb", "postgres", "pg_ctl"} {
		if info, err := os.Stat(filepath.Join(dir, program)); err != nil || !info.Mode().IsRegular() {
			return false
		}
	}
	return true
}

// download puts an installation into home, all of it or nothing.
func download(ctx context.Context, repository, home string) error {
	parent := filepath.Dir(home)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp(parent, "download-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	// The library leaves a log in the temporary directory.
	defer func(before string) { _ = os.Setenv("TMPDIR", before) }(os.Getenv("TMPDIR"))
	if err := os.Setenv("TMPDIR", work); err != nil {
		return err
	}
	fetched := make(chan error, 1)
	go func() { fetched <- fetch(repository, work) }()
	select {
	case err = <-fetched:
	case <-ctx.Done():
		return ctx.Err() // the library knows no context; its download ends with the process
	}
	if err != nil {
		return err
	}
	fresh := filepath.Join(work, "fresh")
	if !isComplete(filepath.Join(fresh, "bin")) {
		return errors.New("the archive lacks initdb, postgres or pg_ctl")
	}
	if err := openToAll(fresh); err != nil {
		return err
	}
	err = os.Rename(fresh, home)
	if isComplete(filepath.Join(home, "bin")) {
		return nil // this process's copy, or the copy of a faster process
	}
	return err
}

// fetch downloads and unpacks to work/fresh. The library does that only as a part of starting a
// server, so it is given a data directory that looks used, which skips initdb, and that no server
// starts on: all that is wanted is there by then.
func fetch(repository, work string) error {
	data := filepath.Join(work, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		return err
	}
	major, _, _ := strings.Cut(string(downloadVersion), ".")
	if err := os.WriteFile(filepath.Join(data, "PG_VERSION"), []byte(major+"\n"), 0o600); err != nil {
		return err
	}
	db := embeddedpostgres.NewDatabase(embeddedpostgres.DefaultConfig().
		Version(downloadVersion).
		BinaryRepositoryURL(repository).
		CachePath(filepath.Join(work, "cache")).
		RuntimePath(filepath.Join(work, "run")).
		BinariesPath(filepath.Join(work, "fresh")).
		DataPath(data).
		Port(0).
		Logger(io.Discard))
	err := db.Start()
	switch {
	case err == nil:
		return errors.Join(errors.New("a server started on an empty directory"), db.Stop())
	case strings.HasPrefix(err.Error(), "could not start postgres"):
		return nil
	}
	return err
}

// openToAll lets everybody read what the creator's umask may have kept from them: the server may
// run as another user.
func openToAll(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSymlink != 0 {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		mode := info.Mode().Perm() | 0o444
		if d.IsDir() || mode&0o100 != 0 {
			mode |= 0o111
		}
		return os.Chmod(path, mode)
	})
}
