package pgsafe

import (
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsafe/pgsafe/internal/connect"
	"github.com/pgsafe/pgsafe/internal/ratelog"
	"github.com/pgsafe/pgsafe/internal/serverconn"
	tracing "github.com/pgsafe/pgsafe/internal/telemetry"
)

// records counts and logs what pgsafe does about failures. Records about events that come in storms are limited.
type records struct {
	logger *slog.Logger
	pool   slog.LogValuer
	tracer *tracing.Tracer

	outdated atomic.Pointer[string] // the SQLSTATE of the last error that concerned other connections too

	repeated, reconnected, certificate, cancels, leaks ratelog.Limiter
}

// recovery is a cause of pgsafe.recovery.count.
type recovery string

const (
	recoveredGeneration  recovery = "generation"  // all connections are renewed
	recoveredStatement   recovery = "statement"   // a statement that had not begun runs again
	recoveredConnect     recovery = "connect"     // the server accepted a connection after it had refused
	recoveredCertificate recovery = "certificate" // a connection was closed for its expired certificate
)

// recovered counts what was done about a failure.
func (r *records) recovered(cause recovery) {
	r.tracer.Recovered(string(cause))
	limiter := &r.repeated
	switch cause {
	case recoveredConnect:
		limiter = &r.reconnected
	case recoveredCertificate:
		limiter = &r.certificate
	}
	if skipped, ok := limiter.Allow(time.Now()); ok {
		r.logger.Info("pgsafe: recovered", "pool", r.pool, "cause", string(cause), "more", skipped)
	}
}

// serverError notes a server's error that concerns other connections too.
func (r *records) serverError(conn *pgconn.PgConn, err *pgconn.PgError, verdict connect.Verdict) {
	r.outdated.Store(&err.Code)
	if c := serverconn.Of(conn); c != nil && verdict == connect.RenewAll {
		c.Outdate()
	}
}

// renewed records the end of a generation of connections.
func (r *records) renewed() {
	r.tracer.Recovered(string(recoveredGeneration))
	attrs := []any{"pool", r.pool}
	if code := r.outdated.Swap(nil); code != nil {
		attrs = append(attrs, "sqlstate", *code)
	}
	r.logger.Warn("pgsafe: the server ends its sessions or is no primary any more; all connections are renewed", attrs...)
}

// canceled counts a cancel request. err says why the server did not take it; its connection is closed then.
func (r *records) canceled(err error, redact func(string) string) {
	r.tracer.Canceled(err)
	if err == nil {
		return
	}
	if skipped, ok := r.cancels.Allow(time.Now()); ok {
		r.logger.Warn("pgsafe: a statement could not be cancelled, and its connection is closed",
			"pool", r.pool, "error", redact(err.Error()), "more", skipped)
	}
}

// reset records the session state that statements had left behind, and a reset that failed.
func (r *records) reset(undone []serverconn.Effects, err error) {
	for _, e := range undone {
		for _, what := range e.State.Names() {
			r.tracer.LeakedState(what, e.Summary)
		}
	}
	if err != nil {
		r.logger.Warn("pgsafe: a session could not be reset, and its connection is closed",
			"pool", r.pool, "sqlstate", SQLState(err))
	}
	if len(undone) == 0 {
		return
	}
	if skipped, ok := r.leaks.Allow(time.Now()); ok {
		r.logger.Info("pgsafe: a statement left something in its session, which was reset", "pool", r.pool,
			"left", strings.Join(undone[0].State.Names(), ","), "statement", undone[0].Summary, "more", skipped)
	}
}
