// Package records counts and logs what pgsafe does about failures.
package records

import (
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsafe/pgsafe/internal/connect"
	"github.com/pgsafe/pgsafe/internal/ratelog"
	"github.com/pgsafe/pgsafe/internal/serverconn"
	"github.com/pgsafe/pgsafe/internal/sqlstate"
	tracing "github.com/pgsafe/pgsafe/internal/telemetry"
)

// Records counts and logs for one pool. Log records about events that come in storms are limited. It is safe for
// concurrent use.
type Records struct {
	Logger *slog.Logger
	Pool   slog.LogValuer  // what records call the pool
	Tracer *tracing.Tracer // nil for no counts

	outdated atomic.Pointer[string] // the SQLSTATE of the last error that concerned other connections too

	repeated, certificate, cancels, leaks ratelog.Limiter

	outage outage
}

// Recovery is a cause of pgsafe.recoveries.
type Recovery string

// The causes.
const (
	generation  Recovery = "generation"  // all connections are renewed
	Statement   Recovery = "statement"   // a statement that had not begun runs again
	Reconnect   Recovery = "connect"     // the server accepted a connection after it had refused
	Certificate Recovery = "certificate" // a connection was closed for its expired certificate
)

// Recovered counts what was done about a failure.
func (r *Records) Recovered(cause Recovery) {
	r.Tracer.Recovered(string(cause))
	limiter := &r.repeated
	switch cause {
	case Reconnect:
		return // the end of an outage has a record of its own
	case Certificate:
		limiter = &r.certificate
	}
	if skipped, ok := limiter.Allow(time.Now()); ok {
		r.Logger.Info("pgsafe: recovered", "pool", r.Pool, "cause", string(cause), "more", skipped)
	}
}

// ServerError notes a server's error that concerns other connections too.
func (r *Records) ServerError(conn *pgconn.PgConn, err *pgconn.PgError, verdict connect.Verdict) {
	r.outdated.Store(&err.Code)
	if c := serverconn.Of(conn); c != nil && verdict == connect.RenewAll {
		c.Outdate()
	}
}

// Renewed records the end of a generation of connections.
func (r *Records) Renewed() {
	r.Tracer.Recovered(string(generation))
	attrs := []any{"pool", r.Pool}
	if code := r.outdated.Swap(nil); code != nil {
		attrs = append(attrs, "sqlstate", *code)
	}
	r.Logger.Warn("pgsafe: the server ends its sessions or is no primary any more; all connections are renewed", attrs...)
}

// Canceled counts a cancel request. err says why the server did not take it; its connection is closed then.
func (r *Records) Canceled(err error, redact func(string) string) {
	r.Tracer.Canceled(err)
	if err == nil {
		return
	}
	if skipped, ok := r.cancels.Allow(time.Now()); ok {
		r.Logger.Warn("pgsafe: a statement could not be cancelled, and its connection is closed",
			"pool", r.Pool, "error", redact(err.Error()), "more", skipped)
	}
}

// Reset records the session state that statements had left behind, and a reset that failed.
func (r *Records) Reset(undone []serverconn.Effects, err error) {
	for _, e := range undone {
		for _, what := range e.State.Names() {
			r.Tracer.LeakedState(what, e.Summary)
		}
	}
	if err != nil {
		r.Logger.Warn("pgsafe: a session could not be reset, and its connection is closed",
			"pool", r.Pool, "sqlstate", sqlstate.Of(err))
	}
	if len(undone) == 0 {
		return
	}
	if skipped, ok := r.leaks.Allow(time.Now()); ok {
		r.Logger.Info("pgsafe: a statement left something in its session, which was undone", "pool", r.Pool,
			"left", strings.Join(undone[0].State.Names(), ","), "statement", undone[0].Summary, "more", skipped)
	}
}
