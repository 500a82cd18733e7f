package connect

import (
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsafe/pgsafe/internal/failure"
	"github.com/pgsafe/pgsafe/internal/sqlstate"
)

// A Verdict is what a server's error on one connection means for the other connections of its pool.
type Verdict uint8

// The verdicts.
const (
	// Nothing: the error concerns its own connection at most.
	Nothing Verdict = iota

	// SuspectOthers: an administrator, or a shutdown, ended the session. If it was a shutdown the
	// others end too, which each of them shows.
	SuspectOthers

	// RenewAll: the server ends all sessions, or is not the primary any more.
	RenewAll
)

var verdicts = [...]string{"nothing", "suspect others", "renew all"}

// String returns the verdict in words.
func (v Verdict) String() string { return verdicts[v] }

// watchErrors calls OnServerError for the errors on config's connection.
func (d *Dialer) watchErrors(config *pgconn.Config) {
	if d.options.OnServerError == nil {
		return
	}
	onError, onNotice := config.OnPgError, config.OnNotice
	config.OnPgError = func(conn *pgconn.PgConn, err *pgconn.PgError) bool {
		if v := d.target.verdict(conn, err); v != Nothing {
			d.options.OnServerError(conn, err, v)
		}
		return onError == nil || onError(conn, err)
	}
	config.OnNotice = func(conn *pgconn.PgConn, notice *pgconn.Notice) {
		if err := (*pgconn.PgError)(notice); isLastWord(err) {
			d.options.OnServerError(conn, err, RenewAll)
		}
		if onNotice != nil {
			onNotice(conn, notice)
		}
	}
}

// verdict judges an error. A FATAL error of class 08 is Nothing: PgBouncer ends one client with it
// (query_wait_timeout, client_idle_timeout, a server connection that broke).
func (t target) verdict(conn *pgconn.PgConn, err *pgconn.PgError) Verdict {
	if err.Code == sqlstate.ReadOnlySQLTransaction {
		if t.primary && t.isRefusal(conn) {
			return RenewAll
		}
		return Nothing
	}
	if !failure.IsFatal(err) {
		return Nothing
	}
	switch err.Code {
	case sqlstate.AdminShutdown:
		return SuspectOthers
	case sqlstate.CrashShutdown, sqlstate.CannotConnectNow:
		return RenewAll
	}
	return Nothing
}

// isLastWord recognises what a session says that has to end at once, after an immediate shutdown or
// the crash of another session. It is a WARNING (postgres.c, quickdie), and no error follows. The
// routine tells it from a RAISE with the same SQLSTATE.
func isLastWord(notice *pgconn.PgError) bool {
	return notice.Routine == "quickdie" && failure.Severity(notice) == "WARNING"
}

// target is what target_session_attrs asks for.
type target struct {
	primary bool // a primary
	writes  bool // a primary that takes writes by default
}

// targetOf recognises pgx's functions, which is what pgconn.ParseConfigWithOptions makes of
// target_session_attrs.
func targetOf(config *pgconn.Config) target {
	if config.ValidateConnect == nil {
		return target{}
	}
	writes := sameFunc(config.ValidateConnect, pgconn.ValidateConnectTargetSessionAttrsReadWrite)
	primary := sameFunc(config.ValidateConnect, pgconn.ValidateConnectTargetSessionAttrsPrimary)
	return target{primary: writes || primary, writes: writes}
}

// isRefusal reports whether the server itself refused a write (PreventCommandIfReadOnly,
// utility.c). Within a transaction it may have been the application, which began the transaction as
// READ ONLY. Servers since 14 report both parameters. A primary that takes no writes by default is
// still a primary, and a new connection to it would be no different.
func (t target) isRefusal(conn *pgconn.PgConn) bool {
	switch {
	case conn.ParameterStatus("in_hot_standby") == "on":
		return true
	case conn.ParameterStatus("default_transaction_read_only") == "on":
		return t.writes
	}
	return conn.TxStatus() == 'I'
}
