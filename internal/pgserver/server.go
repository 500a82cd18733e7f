package pgserver

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"
)

// Mode is how a server shuts down.
type Mode int

const (
	// Fast rolls back what is going on, tells the clients (SQLSTATE 57P01) and writes a checkpoint.
	Fast Mode = iota
	// Immediate drops everything, as in a crash. Clients are told (57P02) if they listen.
	Immediate
)

// ErrStopped is the error of methods that need a server that is not, or no more, there.
var ErrStopped = errors.New("pgserver: the server is stopped")

// Server is one PostgreSQL server of ours. Its methods may be called by several goroutines; those
// that change whether it runs take turns.
type Server struct {
	opts Options
	run  runner
	base string // holds all of it
	data string
	sock string
	port int
	ipv6 bool
	lock *os.File
	log  serverLog

	ca              *authority // nil without TLS
	caFile          string
	ownCert, ownKey string // the superuser's, with ClientCert

	mu      sync.Mutex // held while the server changes between running and not
	proc    *process   // nil before the first start
	removed bool
	frozen  []int // processes that Freeze has stopped, besides the postmaster
}

// Host is where the server listens on TCP. With a TLS certificate that names localhost, that works
// as well.
func (s *Server) Host() string { return "127.0.0.1" }

// Port is the TCP port, and part of the unix socket's name. It stays the same until Stop.
func (s *Server) Port() int { return s.port }

// SocketDir is the directory of the unix socket: what libpq takes as host. Only the server's and
// the caller's operating system users can enter it.
func (s *Server) SocketDir() string { return s.sock }

// DataDir is the server's data directory.
func (s *Server) DataDir() string { return s.data }

// Binaries is the installation that the server is from.
func (s *Server) Binaries() Binaries { return s.run.bin }

// User is the superuser.
func (s *Server) User() string { return s.opts.User }

// Password is the superuser's, empty if it has none.
func (s *Server) Password() string { return s.opts.Password }

// Log returns what the server has logged, at most the last megabyte. Lines arrive a moment after
// what they tell of; Options.OnLog sees each.
func (s *Server) Log() string { return s.log.String() }

// Pid is the postmaster's process, or 0 when the server is not running.
func (s *Server) Pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.proc.running() {
		return 0
	}
	return s.proc.cmd.Process.Pid
}

// Stop shuts the server down, waits until all its processes are gone, and removes its files. A
// server that does not obey is killed, so Stop takes half a minute at worst. Stopping it again does
// nothing. The error is of removing the files.
func (s *Server) Stop(mode Mode) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.removed {
		return nil
	}
	if s.proc.running() {
		s.proc.stop(mode)
	}
	s.removed = true
	return s.remove()
}

// remove deletes the files. The files of a server that lost its parent directory are gone already.
func (s *Server) remove() error {
	var err error
	for _, dir := range []string{s.sock, s.base} {
		if dir != "" {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}
	return errors.Join(err, s.lock.Close())
}

// Halt shuts the server down and waits, as Stop does, but keeps its files: Restart brings it back.
func (s *Server) Halt(mode Mode) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.removed {
		return ErrStopped
	}
	if s.proc.running() {
		s.proc.stop(mode)
	}
	return nil
}

// Kill ends all the server's processes at once, as a crash would: no client is told anything, but
// its connection breaks. It waits until they are gone. Restart brings the server back.
func (s *Server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.removed {
		return ErrStopped
	}
	if s.proc.running() {
		s.proc.kill()
	}
	return nil
}

// Restart shuts the server down (Fast) if it runs, and starts it on the same port with the same
// data. It returns when the server takes connections.
func (s *Server) Restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.removed {
		return ErrStopped
	}
	if s.proc.running() {
		s.proc.stop(Fast)
	}
	return s.relaunch(ctx)
}

// relaunch waits for the port if another process has it: an outgoing connection may get any free
// port.
func (s *Server) relaunch(ctx context.Context) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := s.launch(ctx)
		if !errors.Is(err, errPortTaken) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

// Reload makes the server read its configuration, pg_hba.conf and TLS files again. Connections made
// after it returned are under the new ones; open ones follow when they next wait for a command.
func (s *Server) Reload(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.proc.running() {
		return ErrStopped
	}
	// The server logs this first, and accepts no connection before it has done the rest.
	begun, forget := s.log.watch(func(line string) bool { return strings.Contains(line, "received SIGHUP") })
	defer forget()
	s.proc.signal(sigHup)
	select {
	case <-begun:
		return nil
	case <-s.proc.gone:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Pause stops the postmaster from doing anything: open connections go on, new ones are accepted by
// the kernel and never answered. Resume ends it, and so do Stop, Halt, Kill and Restart.
func (s *Server) Pause() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.proc.running() {
		return ErrStopped
	}
	s.proc.signal(sigStop)
	awaitStop(s.proc.cmd.Process.Pid)
	return nil
}

// Resume ends Pause.
func (s *Server) Resume() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.proc.running() {
		return ErrStopped
	}
	s.proc.signal(sigCont)
	return nil
}

// Freeze stops the postmaster and all its processes, like a machine that swaps or migrates:
// connections stay open, and no client gets an answer. Thaw ends it. On all systems except Linux
// the processes cannot be found, and it returns errors.ErrUnsupported.
func (s *Server) Freeze() error {
	if runtime.GOOS != "linux" {
		return errors.ErrUnsupported
	}
	if err := s.Pause(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frozen = childrenOf(s.proc.cmd.Process.Pid) // there will be no more
	signalAll(s.frozen, sigStop)
	return nil
}

// Thaw ends Freeze, and may be called again.
func (s *Server) Thaw() error {
	s.mu.Lock()
	signalAll(s.frozen, sigCont)
	s.frozen = nil
	s.mu.Unlock()
	return s.Resume()
}
