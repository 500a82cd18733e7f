package pgserver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// PgBouncer is a connection pooler of ours in front of a Server, which it knows the superuser of.
type PgBouncer struct {
	run      runner
	base     string
	port     int
	lock     *os.File
	log      serverLog
	proc     *process
	server   *Server
	address  string // of the server, as the section [databases] has it
	settings map[string]string
}

// ErrNoPgBouncer says that the machine has no PgBouncer, and how to get it.
var ErrNoPgBouncer = errors.New("pgserver: pgbouncer was not found on this machine; to get it: apt-get install " +
	"pgbouncer, or brew install pgbouncer")

// defaultPooling makes a pooler that hands few server connections to many clients, one for each
// transaction, and lets everybody in as the superuser, without a password.
var defaultPooling = map[string]string{
	"auth_type":         "trust",
	"pool_mode":         "transaction",
	"default_pool_size": "3",
	"max_client_conn":   "200",
}

// PgBouncerOptions say what a pooler is like. The zero value pools by transaction.
type PgBouncerOptions struct {
	// Settings are lines of the section [pgbouncer]. A client_tls_sslmode among them gives the
	// pooler a certificate for localhost of the server's authority, which the server must have.
	Settings map[string]string

	// ServerPort is where on 127.0.0.1 the pooler finds the server: behind a proxy, say. Zero is
	// the server's own socket.
	ServerPort int
}

// StartPgBouncer starts a pooler in front of s. It returns when the pooler takes connections; ctx
// bounds this, not the pooler's life, which ends with Stop.
func StartPgBouncer(ctx context.Context, s *Server, o PgBouncerOptions) (*PgBouncer, error) {
	program, err := findPgBouncer()
	if err != nil {
		return nil, err
	}
	base, lock, err := makeBase(s.run.who)
	if err != nil {
		return nil, err
	}
	b := &PgBouncer{
		run:  runner{bin: Binaries{Dir: filepath.Dir(program)}, who: s.run.who, dir: filepath.Join(base, "home")},
		base: base, lock: lock, server: s, address: fmt.Sprintf("host=%s port=%d", s.sock, s.port),
		settings: maps.Clone(defaultPooling),
	}
	if o.ServerPort != 0 {
		b.address = fmt.Sprintf("host=127.0.0.1 port=%d", o.ServerPort)
	}
	maps.Copy(b.settings, o.Settings)
	if err := b.start(ctx); err != nil {
		_ = b.Stop()
		return nil, err
	}
	return b, nil
}

// findPgBouncer looks at PATH and where Debian puts it, which is not on every user's PATH.
func findPgBouncer() (string, error) {
	if program, err := exec.LookPath("pgbouncer"); err == nil {
		return filepath.EvalSymlinks(program)
	}
	const debian = "/usr/sbin/pgbouncer"
	if executable(debian) == nil {
		return debian, nil
	}
	return "", ErrNoPgBouncer
}

func (b *PgBouncer) start(ctx context.Context) error {
	if err := b.run.who.makeDir(b.run.dir); err != nil {
		return err
	}
	if err := b.installTLS(); err != nil {
		return err
	}
	users := filepath.Join(b.run.dir, "users.txt")
	line := fmt.Sprintf("%s %s\n", doubleQuote(b.server.User()), doubleQuote(b.server.Password()))
	if err := b.run.who.writeFile(users, []byte(line)); err != nil {
		return err
	}
	var err error
	for range 10 {
		if b.port, _, err = freePort(); err != nil {
			return err
		}
		if err = b.launch(ctx, users); !errors.Is(err, errPortTaken) {
			return err
		}
	}
	return err
}

// hasTLS reports whether clients may ask for TLS.
func (b *PgBouncer) hasTLS() bool { return b.settings["client_tls_sslmode"] != "" }

// installTLS makes the pooler's certificate, if it is to have one.
func (b *PgBouncer) installTLS() error {
	if !b.hasTLS() {
		return nil
	}
	if b.server.ca == nil {
		return errors.New("pgserver: a pooler's certificate needs a server with TLS")
	}
	certPEM, keyPEM, err := b.server.ca.issue(serverLeaf(0, nil))
	if err != nil {
		return err
	}
	for setting, content := range map[string][]byte{"client_tls_cert_file": certPEM, "client_tls_key_file": keyPEM} {
		file := filepath.Join(b.run.dir, setting)
		if err := b.run.who.writeFile(file, content); err != nil {
			return err
		}
		b.settings[setting] = file
	}
	return nil
}

// launch writes the configuration and waits until the pooler is up.
func (b *PgBouncer) launch(ctx context.Context, users string) error {
	all := maps.Clone(b.settings)
	maps.Copy(all, map[string]string{
		"listen_addr": "127.0.0.1", "listen_port": strconv.Itoa(b.port), "unix_socket_dir": "", "auth_file": users,
	})
	text := fmt.Sprintf("[databases]\n* = %s\n[pgbouncer]\n", b.address)
	for name, value := range all {
		text += name + " = " + value + "\n"
	}
	config := filepath.Join(b.run.dir, "pgbouncer.ini")
	if err := b.run.who.writeFile(config, []byte(text)); err != nil {
		return err
	}
	taken := func(line string) bool { return strings.Contains(line, "Address already in use") }
	up := func(line string) bool { return strings.Contains(line, "process up:") }
	settled, forget := b.log.watch(func(line string) bool { return taken(line) || up(line) })
	defer forget()
	proc, err := spawn(b.run.command(context.Background(), syscall.SIGTERM, "pgbouncer", config), &b.log)
	if err != nil {
		return fmt.Errorf("pgserver: starting pgbouncer: %w", err)
	}
	b.proc = proc
	select {
	case line := <-settled:
		if up(line) {
			return nil
		}
		b.proc.kill()
		return errPortTaken
	case <-proc.gone:
		return fmt.Errorf("pgserver: pgbouncer did not start; its log ends with:\n%s", b.log.tail())
	case <-ctx.Done():
		return fmt.Errorf("pgserver: pgbouncer was not ready in time: %w", ctx.Err())
	}
}

// doubleQuote is how users.txt writes a text.
func doubleQuote(text string) string { return `"` + strings.ReplaceAll(text, `"`, `""`) + `"` }

// Stop ends the pooler at once, and with it all connections through it, and removes its files.
func (b *PgBouncer) Stop() error {
	if b.proc.running() && !b.proc.ask(syscall.SIGTERM) {
		b.proc.kill()
	}
	return errors.Join(os.RemoveAll(b.base), b.lock.Close())
}

// URI returns a libpq URI with which the superuser gets to database through the pooler. It holds
// the password, and asks for TLS if the pooler has it.
func (b *PgBouncer) URI(database string) string {
	uri := fmt.Sprintf("postgres://%s@127.0.0.1:%d/%s", b.server.userinfo(), b.port, escape(b.server.database(database)))
	if b.hasTLS() {
		return uri + "?sslmode=verify-full&sslrootcert=" + escape(b.server.caFile)
	}
	return uri + "?sslmode=disable"
}

// Log returns what the pooler has logged.
func (b *PgBouncer) Log() string { return b.log.String() }
