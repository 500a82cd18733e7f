package serverconn

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsafe/pgsafe/internal/ctxsettings"
)

// BeginTransaction begins a transaction under the settings that are wanted. They go with BEGIN, in
// one round trip.
func (c *Conn) BeginTransaction(ctx context.Context, want *ctxsettings.Settings, opts driver.TxOptions) error {
	if err := c.ready(); err != nil {
		return err
	}
	list := c.session.list(c.config.InUse.get(), want)
	switch {
	case c.pgx.IsClosed():
		return c.failedHarmless(ctx, driver.ErrBadConn)
	case want.Check() != nil:
		return fmt.Errorf("pgsafe: %w", want.Check())
	case ctx.Err() != nil: // pgx would close the connection (tx.go, Conn.BeginTx)
		return c.Failed(ctx, driver.ErrBadConn)
	case c.InTransaction(): // the server only warns
		if err := c.Nests(want); err != nil {
			return err
		}
		list = nil
	default:
		c.session.within, c.session.local = want, false
	}
	if len(list) == 0 {
		_, err := c.BeginTx(ctx, opts)
		return c.failedHarmless(ctx, err)
	}
	return c.beginWith(ctx, want, list, opts)
}

// beginWith sends the settings and BEGIN in one packet. The settings come first, for the session: a
// query inside would be the transaction's first one, after which no SET TRANSACTION ISOLATION LEVEL
// may come (variable.c, check_XactIsoLevel). Behind a pooler they can only be set inside.
func (c *Conn) beginWith(
	ctx context.Context, want *ctxsettings.Settings, list []setting, opts driver.TxOptions,
) error {
	begin, err := beginSQL(opts)
	if err != nil {
		return err
	}
	if c.isPooled() && c.hasEarly(want) {
		return errPooled
	}
	b := beginning{c, want, begin, list}
	run := b.before
	if c.isPooled() {
		run = b.inside
	}
	setErr, err := run(ctx)
	switch {
	case setErr == nil && err == nil:
		c.config.InUse.add(want)
		return nil
	case !c.pgx.IsClosed() && c.InTransaction():
		_ = c.Rollback(ctx) // it closes the connection if it fails
	}
	if refusal := refusalIn(setErr); !c.pgx.IsClosed() && c.lacks(want, refusal) {
		return c.BeginTransaction(ctx, want, opts)
	}
	if setErr != nil {
		return c.settingsFailed(ctx, want, setErr)
	}
	return c.failedHarmless(ctx, err)
}

// beginning is a BEGIN with settings. Its methods return the error of the settings and of the rest.
type beginning struct {
	conn  *Conn
	want  *ctxsettings.Settings
	begin string
	list  []setting
}

// before sets the settings for the session and begins a transaction. If there is no room for them
// in the session, because another process answers than the connection was made to, it sets them
// inside.
func (b beginning) before(ctx context.Context) (setErr, err error) {
	c, traced := b.conn, b.traceStart(ctx)
	p := c.pgx.PgConn().StartPipeline(ctx)
	b.sendSettings(p, forSession)
	p.SendPipelineSync()
	p.SendQueryParams(b.begin, nil, nil, nil, nil)
	if err = p.Sync(); err != nil {
		b.traceEnd(traced, pgconn.CommandTag{}, err)
		return nil, err
	}
	set, _, setErr := read(p)
	if setErr == nil && set == len(b.list) { // they stay with the session, whatever becomes of BEGIN
		c.config.InUse.add(b.want)
	}
	_, _ = p.GetResults() // the first Sync; what it fails with, the next one repeats
	_, tag, err := read(p)
	err = cmp.Or(err, p.Close())
	b.traceEnd(traced, tag, err)
	if setErr != nil || err != nil || set == len(b.list) {
		return setErr, err
	}
	c.foundPooler()
	c.session.local = true
	arguments := c.applyArguments(b.list, forTransaction)
	return c.pgx.PgConn().ExecParams(ctx, applySQL, arguments, applyTypes, nil, nil).Read().Err, nil
}

// inside begins a transaction and sets the settings for it.
func (b beginning) inside(ctx context.Context) (setErr, err error) {
	c, traced := b.conn, b.traceStart(ctx)
	c.session.local = true
	p := c.pgx.PgConn().StartPipeline(ctx)
	p.SendQueryParams(b.begin, nil, nil, nil, nil)
	b.sendSettings(p, forTransaction)
	if err = p.Sync(); err != nil {
		b.traceEnd(traced, pgconn.CommandTag{}, err)
		return nil, err
	}
	_, tag, err := read(p)
	b.traceEnd(traced, tag, err)
	if err == nil {
		_, _, setErr = read(p)
	}
	return setErr, cmp.Or(err, p.Close())
}

func (b beginning) sendSettings(p *pgconn.Pipeline, hold span) {
	p.SendQueryParams(applySQL, b.conn.applyArguments(b.list, hold), applyTypes, nil, nil)
}

// read reads one result: the number of its rows, and its tag.
func read(p *pgconn.Pipeline) (rows int, tag pgconn.CommandTag, err error) {
	results, err := p.GetResults()
	if err != nil {
		return 0, tag, err
	}
	r, ok := results.(*pgconn.ResultReader)
	if !ok {
		return 0, tag, errors.New("pgsafe: the server left out a result")
	}
	for r.NextRow() {
		rows++
	}
	tag, err = r.Close()
	return rows, tag, err
}

// traceStart and traceEnd show BEGIN to the tracer, and the settings to none.
func (b beginning) traceStart(ctx context.Context) context.Context {
	if c := b.conn; c.tracer != nil {
		return c.tracer.TraceQueryStart(ctx, c.pgx, pgx.TraceQueryStartData{SQL: b.begin})
	}
	return ctx
}

func (b beginning) traceEnd(ctx context.Context, tag pgconn.CommandTag, err error) {
	if c := b.conn; c.tracer != nil {
		c.tracer.TraceQueryEnd(ctx, c.pgx, pgx.TraceQueryEndData{CommandTag: tag, Err: err})
	}
}

// isolationLevels are database/sql's in the words of BEGIN (stdlib.Conn.BeginTx).
var isolationLevels = map[sql.IsolationLevel]pgx.TxIsoLevel{
	sql.LevelDefault: "", sql.LevelReadUncommitted: pgx.ReadUncommitted, sql.LevelReadCommitted: pgx.ReadCommitted,
	sql.LevelRepeatableRead: pgx.RepeatableRead, sql.LevelSnapshot: pgx.RepeatableRead,
	sql.LevelSerializable: pgx.Serializable,
}

// beginSQL is the text that pgx makes of the options (tx.go, renderBeginSQL).
func beginSQL(opts driver.TxOptions) (string, error) {
	level, known := isolationLevels[sql.IsolationLevel(opts.Isolation)]
	if !known {
		return "", fmt.Errorf("unsupported isolation: %v", opts.Isolation)
	}
	text := "begin"
	if level != "" {
		text += " isolation level " + string(level)
	}
	if opts.ReadOnly {
		text += " " + string(pgx.ReadOnly)
	}
	return text, nil
}
