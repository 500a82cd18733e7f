package connect

import (
	"cmp"
	"io"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsafe/pgsafe/internal/errno"
	"github.com/pgsafe/pgsafe/internal/failure"
	"github.com/pgsafe/pgsafe/internal/sqlstate"
	"github.com/pgsafe/pgsafe/internal/wire"
)

// defaultTimeout replaces a connect_timeout of 0, which sets no bound.
const defaultTimeout = 10 * time.Second

// firstAnswer bounds retries to an address that has never answered. A server that is starting
// answers soon, and then says so itself (postmaster.c, PostmasterMain: it listens before it
// recovers). A wrong address never answers, and the caller wants to know.
const firstAnswer = 3 * time.Second

// Patience returns how long, after the caller's first try began, connecting may be tried again
// after a failure of Dial. It is zero for a failure that does not pass by itself. A failure that
// lasts outweighs the failures of other servers: what that server found wrong is wrong everywhere.
// err is the error as Dial returned it.
func (d *Dialer) Patience(err error) time.Duration {
	timeout := cmp.Or(d.options.Server.Conn.ConnectTimeout, defaultTimeout)
	switch {
	case failure.Any(err, isLasting):
		return 0
	case failure.Any(err, isRecovering), d.connected.Load() && failure.Any(err, isAway):
		return timeout
	case failure.Any(err, isSilent):
		return min(timeout, firstAnswer)
	}
	return 0
}

// isRecovering recognises a server that says that it starts, stops or is full.
func isRecovering(err error) bool {
	pgErr, ok := err.(*pgconn.PgError) //nolint:errorlint // failure.Any looks at each layer
	if !ok {
		return false
	}
	switch pgErr.Code {
	case sqlstate.AdminShutdown, sqlstate.CrashShutdown, sqlstate.CannotConnectNow, sqlstate.TooManyConnections:
		return true
	}
	return failure.IsPoolerWait(pgErr)
}

// isAway recognises that there is no server, or none with the role that target_session_attrs asks
// for. Before the first connection, that means that the address is wrong.
func isAway(err error) bool {
	if e, ok := err.(syscall.Errno); ok && errno.Gone(e) { //nolint:errorlint // as above
		return true
	}
	return isSilent(err) || failure.IsRole(err)
}

// isSilent recognises a machine, or a proxy in front of a server, on which nothing answers.
func isSilent(err error) bool {
	if e, ok := err.(syscall.Errno); ok { //nolint:errorlint // as above
		return errno.Silent(e)
	}
	return err == io.EOF || err == io.ErrUnexpectedEOF //nolint:errorlint // as above
}

// isLasting recognises what time does not heal: an error of the application's own function, a wrong
// password, database, setting or certificate, a missing right, or a demand that the server does not
// meet.
func isLasting(err error) bool {
	switch err := err.(type) { //nolint:errorlint // as above
	case *hookError:
		return true
	case *pgconn.PgError:
		kind := failure.OfServer(err)
		return kind == failure.Auth || kind == failure.Config
	}
	return err == wire.ErrProtocol || failure.IsCertificate(err) || failure.IsDemand(err)
}

// SlowAfter is how long a dial may take before another one is made in its place for newer callers: half of the last
// server's time, since connect_timeout is the time for one server (pgconn, connectPreferred) and the last one has to
// be reached.
func (d *Dialer) SlowAfter() time.Duration {
	timeout := cmp.Or(d.options.Server.Conn.ConnectTimeout, defaultTimeout)
	return time.Duration(servers(&d.options.Server.Conn.Config)-1)*timeout + timeout/2
}

// servers counts the servers of a configuration. One that is tried with TLS and without is one.
func servers(config *pgconn.Config) int {
	type server struct {
		host string
		port uint16
	}
	all := map[server]bool{{config.Host, config.Port}: true}
	for _, f := range config.Fallbacks {
		all[server{f.Host, f.Port}] = true
	}
	return len(all)
}
