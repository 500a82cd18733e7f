package pgserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// Start makes a server and starts it. It returns when the server takes connections; ctx bounds
// this, not the server's life, which ends with Stop. When it fails nothing is left behind, and the
// error tells the end of the server's log; if there is no PostgreSQL it is a *NotFoundError.
func Start(ctx context.Context, opts Options) (*Server, error) {
	opts, err := opts.complete()
	if err != nil {
		return nil, err
	}
	if opts.Binaries.Dir == "" {
		if opts.Binaries, err = Find(ctx); err != nil {
			return nil, err
		}
	}
	s, err := newServer(opts)
	if err != nil {
		return nil, err
	}
	if err := s.create(ctx); err != nil {
		_ = s.Stop(Immediate)
		return nil, err
	}
	return s, nil
}

// newServer makes the directories. After it, Stop cleans up.
func newServer(opts Options) (*Server, error) {
	if !supported {
		return nil, fmt.Errorf("pgserver: starting PostgreSQL is not supported on %s", runtime.GOOS)
	}
	who, err := unprivileged()
	if err != nil {
		return nil, err
	}
	base, lock, err := makeBase(who)
	if err != nil {
		return nil, err
	}
	s := &Server{
		opts: opts,
		base: base,
		lock: lock,
		data: filepath.Join(base, "data"),
		run:  runner{bin: opts.Binaries, who: who, dir: filepath.Join(base, "home")},
		log:  serverLog{onLine: opts.OnLog},
	}
	if err = who.makeDir(s.run.dir); err == nil {
		s.sock, err = makeSocketDir(base, who)
	}
	if err != nil {
		_ = s.Stop(Immediate)
		return nil, err
	}
	return s, nil
}

// create makes the cluster and starts it.
func (s *Server) create(ctx context.Context) error {
	if err := makeCluster(ctx, s.run, s.data, s.opts.User); err != nil {
		return err
	}
	if err := s.bootstrap(ctx); err != nil {
		return err
	}
	config := configLines(s.opts.Settings)
	if s.opts.TLS {
		if err := s.installTLS(); err != nil {
			return err
		}
		config += configLines(map[string]string{
			"ssl": "on", "ssl_cert_file": "server.crt", "ssl_key_file": "server.key", "ssl_ca_file": "ca.crt",
		})
	}
	if err := s.appendConfig(config); err != nil {
		return err
	}
	if err := s.writeData("pg_hba.conf", []byte(s.opts.hbaLines())); err != nil {
		return err
	}
	return s.launchAnywhere(ctx)
}

// appendConfig adds lines to postgresql.conf, where the last one of a name counts.
func (s *Server) appendConfig(lines string) error {
	name := filepath.Join(s.data, "postgresql.conf")
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return fmt.Errorf("pgserver: %w", err)
	}
	_, err = f.WriteString("\n" + lines)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("pgserver: %w", err)
	}
	return nil
}

// writeData writes a file of the data directory that only the server can read.
func (s *Server) writeData(name string, content []byte) error {
	return s.run.who.writeFile(filepath.Join(s.data, name), content)
}

// errPortTaken says that another process took the port after this process found it free and before
// the server used it.
var errPortTaken = errors.New("pgserver: the port is taken")

// launchAnywhere starts the server on a port that is free.
func (s *Server) launchAnywhere(ctx context.Context) error {
	var err error
	for range 10 {
		if s.port, s.ipv6, err = freePort(); err != nil {
			return err
		}
		if err = s.launch(ctx); !errors.Is(err, errPortTaken) {
			return err
		}
	}
	return err
}

// freePort finds a TCP port that is free on 127.0.0.1 and, where the machine has it, on ::1.
func freePort() (port int, ipv6 bool, err error) {
	probe, err := net.Listen("tcp6", "[::1]:0")
	if err == nil {
		ipv6 = true
		_ = probe.Close()
	}
	for range 100 {
		var v4, v6 net.Listener
		if v4, err = net.Listen("tcp4", "127.0.0.1:0"); err != nil {
			break
		}
		port = v4.Addr().(*net.TCPAddr).Port
		if ipv6 {
			if v6, err = net.Listen("tcp6", net.JoinHostPort("::1", strconv.Itoa(port))); err == nil {
				_ = v6.Close()
			}
		}
		_ = v4.Close()
		if err == nil {
			return port, ipv6, nil
		}
	}
	return 0, false, fmt.Errorf("pgserver: looking for a free port: %w", err)
}

// launch starts the postmaster and waits until it takes connections.
func (s *Server) launch(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("pgserver: starting postgres: %w", err)
	}
	// No process of ours is left, but the number in a lock file may by now be another's.
	for _, name := range []string{
		filepath.Join(s.data, "postmaster.pid"),
		filepath.Join(s.sock, fmt.Sprintf(".s.PGSQL.%d.lock", s.port)),
	} {
		_ = os.Remove(name)
	}
	addresses := s.Host()
	if s.ipv6 {
		addresses += ",::1"
	}
	// On the command line these overrule all files. SIGQUIT is PostgreSQL's immediate shutdown:
	// when we die, a postmaster that gets it also ends children that are busy. The context of the
	// command is not ctx, which is over long before the server is.
	cmd := s.run.command(context.Background(), syscall.SIGQUIT, "postgres", "-D", s.data,
		"-k", s.sock, "-p", strconv.Itoa(s.port), "-c", "listen_addresses="+addresses,
		"-c", "logging_collector=off", "-c", "log_destination=stderr", "-c", "lc_messages=C")

	settled, forget := s.log.watch(func(line string) bool { return isReady(line) || isTaken(line) })
	defer forget()
	proc, err := spawn(cmd, &s.log)
	if err != nil {
		return fmt.Errorf("pgserver: starting postgres: %w", err)
	}
	s.proc = proc
	var line string
	select {
	case line = <-settled:
	case <-proc.gone:
		select {
		case line = <-settled: // what made it end, perhaps
		default:
		}
	case <-ctx.Done():
		proc.kill()
		return fmt.Errorf("pgserver: postgres was not ready in time: %w; its log ends with:\n%s",
			ctx.Err(), s.log.tail())
	}
	switch {
	case isTaken(line):
		if proc.running() {
			proc.stop(Immediate) // it would go on without this address
		}
		return fmt.Errorf("%w: %s", errPortTaken, line)
	case isReady(line) && proc.running():
		return nil
	default:
		return fmt.Errorf("pgserver: postgres did not start; its log ends with:\n%s", s.log.tail())
	}
}

// isReady also fits a standby: "... read-only connections".
func isReady(line string) bool {
	return strings.Contains(line, "database system is ready to accept")
}

func isTaken(line string) bool {
	return strings.Contains(line, "could not bind") && strings.Contains(line, "Address already in use")
}
