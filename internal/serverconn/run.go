package serverconn

import (
	"context"
	"database/sql/driver"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/pgsafe/pgsafe/internal/ctxsettings"
	"github.com/pgsafe/pgsafe/internal/sqlstate"
)

// Exec runs a statement without rows, under the settings that are wanted.
func (c *Conn) Exec(
	ctx context.Context, want *ctxsettings.Settings, query string, args []driver.NamedValue,
) (driver.Result, error) {
	if err := c.ready(ctx, want, c.config.Effects.Of(query)); err != nil {
		return nil, err
	}
	res, err := c.ExecContext(ctx, query, args)
	if c.hasStalePlan(err) {
		c.config.Tracer.RepeatHere(c.pgx)
		res, err = c.ExecContext(ctx, query, args)
	}
	return res, c.Failed(ctx, err)
}

// Query runs a statement with rows, under the settings that are wanted.
func (c *Conn) Query(
	ctx context.Context, want *ctxsettings.Settings, query string, args []driver.NamedValue,
) (*stdlib.Rows, error) {
	if err := c.ready(ctx, want, c.config.Effects.Of(query)); err != nil {
		return nil, err
	}
	rows, err := c.QueryContext(ctx, query, args)
	if c.hasStalePlan(err) {
		c.config.Tracer.RepeatHere(c.pgx)
		rows, err = c.QueryContext(ctx, query, args)
	}
	if err != nil {
		return nil, c.Failed(ctx, err)
	}
	return rows.(*stdlib.Rows), nil
}

// ready makes the connection fit for a statement. It returns ErrBusy while rows are open: pgx would
// give their reader to the statement before it finds that the connection is busy
// (pgconn.go, PgConn.execExtendedPrefix).
func (c *Conn) ready(ctx context.Context, want *ctxsettings.Settings, effects *Effects) error {
	if c.pgx.PgConn().IsBusy() {
		return ErrBusy
	}
	return c.begin(ctx, want, effects)
}

// begin makes sure that the cancellation of the last statement cannot hit the next one, and applies
// the settings that are wanted.
func (c *Conn) begin(ctx context.Context, want *ctxsettings.Settings, effects *Effects) error {
	if c.cancel.Fenced() {
		if err := c.cancel.Clear(); err != nil {
			c.verdict = max(c.verdict, closedHere)
			return &UnbegunError{err}
		}
	}
	c.wire.Start()
	c.session.used = true
	if s := &c.session; want != s.applied || s.stale {
		if err := c.apply(ctx, want); err != nil {
			return err
		}
		c.wire.Start()
	}
	if effects != nil {
		c.session.note(effects)
	}
	return nil
}

// Raw makes the connection fit for native code.
func (c *Conn) Raw(ctx context.Context, want *ctxsettings.Settings) error {
	return c.begin(ctx, want, nil)
}

// Ping asks the server for a sign of life. If there is none the connection is closed, unless ctx has ended: then
// nothing is known of the connection.
func (c *Conn) Ping(ctx context.Context) error {
	if err := c.ready(ctx, c.session.applied, nil); err != nil {
		return err
	}
	err := c.pgx.Ping(ctx)
	if err == nil || ctx.Err() != nil {
		return c.Failed(ctx, err)
	}
	c.Close()
	return c.failedHarmless(ctx, err)
}

// hasStalePlan reports whether a statement can run once more because the server refused its plan before it began:
// the type of its result has changed (plancache.c, RevalidateCachedQuery), or it is gone. pgx has dropped it from its
// cache by then (pgx.Conn.exec). The same codes from inside a function come with a context.
func (c *Conn) hasStalePlan(err error) bool {
	if err == nil {
		return false
	}
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || pgErr.Where != "" || !c.reusable() {
		return false
	}
	return pgErr.Code == sqlstate.InvalidSQLStatementName ||
		pgErr.Code == sqlstate.FeatureNotSupported && pgErr.Routine == "RevalidateCachedQuery"
}

// reusable reports whether the connection is open, in no transaction, and has no result half read.
func (c *Conn) reusable() bool {
	pc := c.pgx.PgConn()
	return !pc.IsClosed() && !pc.IsBusy() && pc.TxStatus() == 'I'
}
