package serverconn

import (
	"context"
	"database/sql/driver"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/pgsafe/pgsafe/internal/ctxsettings"
	"github.com/pgsafe/pgsafe/internal/sqlstate"
)

// Exec runs a statement without rows, under the settings that are wanted.
func (c *Conn) Exec(
	ctx context.Context, want *ctxsettings.Settings, query string, args []driver.NamedValue,
) (driver.Result, error) {
	s := statement{kind: executed, text: query, args: args}
	if err := c.begin(ctx, want, &s); err != nil {
		return nil, err
	}
	res, err := run(c, &s, func() (driver.Result, error) {
		if s.isDirect {
			return c.execDirect(ctx, &s)
		}
		return c.ExecContext(ctx, s.text, s.args)
	})
	return res, c.failed(ctx, want, err)
}

// Query runs a statement with rows, under the settings that are wanted.
func (c *Conn) Query(
	ctx context.Context, want *ctxsettings.Settings, query string, args []driver.NamedValue,
) (*stdlib.Rows, error) {
	s := statement{kind: queried, text: query, args: args}
	if err := c.begin(ctx, want, &s); err != nil {
		return nil, err
	}
	rows, err := run(c, &s, func() (driver.Rows, error) { return c.QueryContext(ctx, s.text, s.args) })
	if err != nil {
		return nil, c.failed(ctx, want, err)
	}
	return rows.(*stdlib.Rows), nil
}

// execDirect runs a statement that has no arguments. pgx.Conn.Exec would take the simple protocol,
// in front of which no settings can go. The tracer sees what it would see from there.
func (c *Conn) execDirect(ctx context.Context, s *statement) (driver.Result, error) {
	args := make([]any, len(s.args))
	for i, arg := range s.args {
		args[i] = arg.Value
	}
	if c.tracer != nil {
		ctx = c.tracer.TraceQueryStart(ctx, c.pgx, pgx.TraceQueryStartData{SQL: s.text, Args: args})
	}
	tag, err := c.execText(ctx, s)
	if c.tracer != nil {
		c.tracer.TraceQueryEnd(ctx, c.pgx, pgx.TraceQueryEndData{CommandTag: tag, Err: err})
	}
	if err != nil && pgconn.SafeToRetry(err) { // as stdlib.Conn.ExecContext does
		return nil, driver.ErrBadConn
	}
	return driver.RowsAffected(tag.RowsAffected()), err
}

func (c *Conn) execText(ctx context.Context, s *statement) (pgconn.CommandTag, error) {
	text := s.text
	if rewriter := readOptions(c.mode, s.args).rewriter; rewriter != nil {
		var err error
		if text, _, err = rewriter.RewriteQuery(ctx, c.pgx, text, nil); err != nil {
			return pgconn.CommandTag{}, err
		}
	}
	return c.pgx.PgConn().ExecParams(ctx, text, nil, nil, nil, nil).Close()
}

// run runs a statement with its prefix. It runs once more if the server refused a plan or a name
// before the statement began.
func run[T any](c *Conn, s *statement, f func() (T, error)) (T, error) {
	res, err := attempt(c, s, f)
	if err != nil && c.wire.Forgotten() && c.reusable() {
		c.config.Tracer.RepeatHere(c.pgx)
		res, err = attempt(c, s, f)
	}
	for err != nil && c.reusable() && c.lacks(c.session.within, c.wire.Refusal()) {
		prefix, failed := c.prefixFor(c.session.within)
		if failed != nil {
			return res, failed
		}
		s.prefix = prefix
		c.wire.Start()
		res, err = attempt(c, s, f)
	}
	if c.hasStalePlan(err) {
		c.config.Tracer.RepeatHere(c.pgx)
		res, err = attempt(c, s, f)
	}
	return res, err
}

// attempt runs a statement once. Nothing else gets its prefix.
func attempt[T any](c *Conn, s *statement, f func() (T, error)) (T, error) {
	if s.prefix == nil {
		return f()
	}
	c.wire.Arm(s.prefix)
	defer func() {
		c.wire.Arm(nil)
		if c.wire.Applied() {
			c.config.InUse.add(c.session.within)
		}
	}()
	return f()
}

// failed is Failed for a statement that had settings in front of it.
func (c *Conn) failed(ctx context.Context, want *ctxsettings.Settings, err error) error {
	if err == nil {
		return nil
	}
	if refusal := c.wire.Refusal(); refusal != nil {
		return c.settingsFailed(ctx, want, refusal)
	}
	return c.Failed(ctx, err)
}

// begin makes the connection fit for a statement with the settings that are wanted.
func (c *Conn) begin(ctx context.Context, want *ctxsettings.Settings, s *statement) error {
	if err := c.ready(); err != nil {
		return err
	}
	if err := c.isolate(ctx, want, s); err != nil {
		return err
	}
	if s.kind == executed || s.kind == queried {
		if effects := c.effectsOf(s.text); effects != nil {
			c.session.note(effects)
		}
	}
	return nil
}

// ready makes the connection fit for the next statement. It returns ErrBusy while rows are open:
// pgx would give their reader to the statement before it finds that the connection is busy
// (pgconn.go, PgConn.execExtendedPrefix).
func (c *Conn) ready() error {
	if c.pgx.PgConn().IsBusy() {
		return ErrBusy
	}
	return c.clear()
}

// clear makes sure that the cancellation of the last statement cannot hit the next one.
func (c *Conn) clear() error {
	if c.cancel.Fenced() {
		if err := c.cancel.Clear(); err != nil {
			c.verdict = max(c.verdict, closedHere)
			return &UnbegunError{err}
		}
	}
	c.wire.Start()
	c.session.used = true
	return nil
}

// Raw makes the connection fit for native code, and the session have the settings that are wanted.
func (c *Conn) Raw(ctx context.Context, want *ctxsettings.Settings) error {
	if err := c.clear(); err != nil {
		return err
	}
	if err := c.isolate(ctx, want, &statement{kind: native}); err != nil {
		return err
	}
	c.session.note(nativeCode)
	return nil
}

// Ping asks the server for a sign of life. If there is none the connection is closed, unless ctx
// has ended: then nothing is known of the connection.
func (c *Conn) Ping(ctx context.Context) error {
	if err := c.ready(); err != nil {
		return err
	}
	err := c.pgx.Ping(ctx)
	if err == nil || ctx.Err() != nil {
		return c.Failed(ctx, err)
	}
	c.Close()
	return c.failedHarmless(ctx, err)
}

// hasStalePlan reports whether a statement can run once more because the server refused its plan
// before it began: the type of its result has changed (plancache.c, RevalidateCachedQuery), or it
// is gone. pgx has dropped it from its cache by then (pgx.Conn.exec). The same codes from inside a
// function come with a context.
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
