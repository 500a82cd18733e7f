package pgserver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// StandbyOptions says in what a standby differs from its primary. The zero value is: in nothing.
type StandbyOptions struct {
	Settings map[string]string // as in Options, on top of the primary's
	OnLog    func(line string) // as in Options, for the standby's log; the primary's is not inherited
}

// Standby makes a physical replica of s and starts it, with s's options. It returns when the
// replica takes connections and streams from s. It is a server of its own, with another port, to be
// stopped by itself; it lives on when s is stopped.
//
// It needs pg_basebackup, from s's installation or from another one of the same major version that
// Find's places hold; some packages of PostgreSQL come without.
func (s *Server) Standby(ctx context.Context, opts StandbyOptions) (*Server, error) {
	if err := checkSettings(opts.Settings); err != nil {
		return nil, err
	}
	tool, err := baseBackup(ctx, s.run.bin)
	if err != nil {
		return nil, err
	}
	inherited := s.opts
	inherited.OnLog = opts.OnLog
	replica, err := newServer(inherited)
	if err != nil {
		return nil, err
	}
	if err := replica.follow(ctx, s, tool, opts.Settings, replica.launchAnywhere); err != nil {
		_ = replica.Stop(Immediate)
		return nil, err
	}
	return replica, nil
}

// Rejoin makes s, which does not run, a standby of primary: of its own former standby, say, that
// was promoted meanwhile. It loses its data and keeps its port, and its own settings are primary's.
// It returns when it streams from primary.
func (s *Server) Rejoin(ctx context.Context, primary *Server) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.removed || s.proc.running() {
		return errors.New("pgserver: Rejoin is for a server that is halted or killed")
	}
	tool, err := baseBackup(ctx, s.run.bin)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(s.data); err != nil {
		return fmt.Errorf("pgserver: %w", err)
	}
	return s.follow(ctx, primary, tool, nil, s.relaunch)
}

// follow makes s, which has no data, a replica of primary, and starts it.
func (s *Server) follow(
	ctx context.Context, primary *Server, tool Binaries, settings map[string]string, launch func(context.Context) error,
) error {
	// Replication goes through the unix socket, which s's operating system user can use as well as
	// the primary's: it is the same. The password lies in a file, since arguments and environments
	// can be seen.
	line := "*:*:*:*:" + passfileEscape(primary.opts.Password) + "\n"
	passfile := filepath.Join(s.run.dir, "passfile")
	if err := s.run.who.writeFile(passfile, []byte(line)); err != nil {
		return err
	}
	if err := s.run.who.makeDir(s.data); err != nil {
		return err
	}
	backup := s.run
	backup.bin = tool
	err := backup.run(ctx, []string{"PGPASSFILE=" + passfile}, "", "pg_basebackup", "-D", s.data,
		"-h", primary.sock, "-p", strconv.Itoa(primary.port), "-U", primary.opts.User, "-w",
		"-X", "stream", "-c", "fast", "--no-sync")
	if err != nil {
		return err
	}
	if primary.ca != nil {
		s.ca = primary.ca // its server files came with the copy
		if err := s.clientTLS(); err != nil {
			return err
		}
	}
	config := maps.Clone(settings)
	if config == nil {
		config = map[string]string{}
	}
	config["primary_conninfo"] = fmt.Sprintf("host=%s port=%d user=%s passfile=%s",
		conninfoQuote(primary.sock), primary.port, conninfoQuote(primary.opts.User), conninfoQuote(passfile))
	if err := s.appendConfig(configLines(config)); err != nil {
		return err
	}
	if err := s.writeData("standby.signal", nil); err != nil {
		return err
	}
	streams, forget := s.log.watch(func(line string) bool {
		return strings.Contains(line, "started streaming WAL from primary")
	})
	defer forget()
	if err := launch(ctx); err != nil {
		return err
	}
	select {
	case <-streams:
		return nil
	case <-s.proc.gone:
		return fmt.Errorf("pgserver: the standby ended; its log ends with:\n%s", s.log.tail())
	case <-ctx.Done():
		return fmt.Errorf("pgserver: the standby did not begin to stream: %w; its log ends with:\n%s",
			ctx.Err(), s.log.tail())
	}
}

// Promote makes a standby a primary, and returns when it takes writes. On a primary it fails.
func (s *Server) Promote(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.proc.running() {
		return ErrStopped
	}
	return s.run.run(ctx, nil, "", "pg_ctl", "promote", "-w", "-s", "-t", "120", "-D", s.data)
}

// baseBackup returns an installation with a pg_basebackup that fits bin's servers.
func baseBackup(ctx context.Context, bin Binaries) (Binaries, error) {
	const program = "pg_basebackup"
	err := executable(bin.path(program))
	if err == nil {
		return bin, nil
	}
	for dir := range candidates(ctx) {
		other, err := inspect(ctx, dir)
		if err == nil && other.Major == bin.Major && executable(other.path(program)) == nil {
			return other, nil
		}
	}
	return Binaries{}, errors.Join(
		fmt.Errorf("pgserver: a standby needs pg_basebackup of PostgreSQL %d, which this machine lacks: %w", bin.Major, err),
		errors.New("a distribution's package of the server has it (apt-get install postgresql, brew install postgresql)"))
}

func passfileEscape(text string) string {
	return strings.NewReplacer(`\`, `\\`, `:`, `\:`).Replace(text)
}

func conninfoQuote(text string) string {
	return `'` + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text) + `'`
}
