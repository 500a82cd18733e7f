package session

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/ctxsettings"
	"github.com/pgsafe/pgsafe/internal/scope"
	"github.com/pgsafe/pgsafe/internal/serverconn"
)

// TxOptions say how a transaction runs. The zero value is the server's default, once.
type TxOptions struct {
	// Isolation is the isolation level. A nested transaction cannot have a higher one than the outer
	// transaction.
	Isolation sql.IsolationLevel

	// ReadOnly transactions cannot write. Within one that can, it holds until the nested one ends.
	ReadOnly bool

	// Retries is how often the function may run again if the transaction loses to another one (SQLSTATE
	// 40001, 40P01). Zero means never. A nested transaction is not run again: only the whole can be.
	Retries int

	// CommitCheck is for how long Tx tries to find out what became of a COMMIT whose answer was lost, on
	// another connection. Zero does not try: the error is ErrCommitUnknown. It costs one round trip
	// before each COMMIT that has changed something. If the server that answers is not the same one, or
	// was promoted meanwhile, the outcome stays unknown. It has no effect in a nested transaction.
	CommitCheck time.Duration

	// StatementTimeout has the server end each statement of the transaction after that time. Zero leaves
	// the session's own limit. UntilDeadline takes the time that is left until the context's deadline.
	// It costs one round trip, and three in a nested transaction, whose limit ends with it.
	StatementTimeout time.Duration
}

// UntilDeadline is a TxOptions.StatementTimeout.
const UntilDeadline time.Duration = -1

// Tx calls f with a context whose statements on db are in one transaction. It commits if f returns nil.
// If f returns an error, panics or calls runtime.Goexit, it rolls back, and it does so as soon as ctx
// ends. The error is f's, BEGIN's or COMMIT's, ctx's, or one of this package's. opts may be nil.
//
// Within a transaction of db it is a savepoint: if f fails, what f did is undone, and the outer
// transaction goes on.
//
// With opts.Retries f may run several times, so everything it does outside the database must bear
// that. Attempt counts the runs. Between two runs there is a random pause of up to 4 ms, then twice as
// long each time up to 512 ms, but never beyond ctx's deadline.
func Tx(ctx context.Context, db *sql.DB, opts *TxOptions, f func(ctx context.Context) error) error {
	home, err := homeOf(db)
	if err != nil {
		return err
	}
	return newTransaction(home, opts, f).run(ctx)
}

// TxOn is Tx for a *sql.DB whose Connector a layer hides: c is that Connector.
func TxOn(ctx context.Context, c *pgsafe.Connector, opts *TxOptions, f func(ctx context.Context) error) error {
	home, err := homeOn(c)
	if err != nil {
		return err
	}
	return newTransaction(home, opts, f).run(ctx)
}

// Attempt returns how often the function that Tx has called with ctx has run, counted from 1. It is 0
// outside transactions.
func Attempt(ctx context.Context) int { return scope.Attempt(ctx) }

// transaction is one call of Tx.
type transaction struct {
	home    *scope.Home
	options TxOptions
	f       func(ctx context.Context) error
	begun   scope.Function
}

func newTransaction(home *scope.Home, opts *TxOptions, f func(ctx context.Context) error) *transaction {
	t := &transaction{home: home, f: f, begun: scope.FunctionOf(f)}
	if opts != nil {
		t.options = *opts
	}
	return t
}

// run runs the transaction within what ctx belongs to.
func (t *transaction) run(ctx context.Context) error {
	session, level := t.home.Of(ctx).Place()
	if level != nil && !level.IsBase() {
		return t.nest(ctx, session, level)
	}
	return t.repeat(ctx)
}

// driverOptions are the options for BEGIN.
func (t *transaction) driverOptions() driver.TxOptions {
	return driver.TxOptions{Isolation: driver.IsolationLevel(t.options.Isolation), ReadOnly: t.options.ReadOnly}
}

// nest runs f in a savepoint.
func (t *transaction) nest(ctx context.Context, session *scope.Session, outer *scope.Level) error {
	level, err := outer.Nest(ctx, ctxsettings.Of(ctx), t.driverOptions(), t.begun)
	if err != nil {
		return err
	}
	var limit string // the outer transaction's
	if t.statementTimeout(ctx) > 0 {
		row, err := level.QueryRow(ctx, "SHOW statement_timeout")
		if err != nil {
			_ = level.Rollback(ctx, nil) // it is over either way
			return err
		}
		limit = text(row[0])
	}
	commit := func(_ *transaction, ctx context.Context, level *scope.Level, interrupt func()) error {
		if limit != "" {
			_ = setLimit(ctx, level, limit) // RELEASE meets the reason too
		}
		err := level.Commit(ctx, interrupt)
		if errors.Is(err, sql.ErrTxDone) { // the outer transaction's end has undone it
			return fmt.Errorf("%w: %w", ErrRolledBack, level.Refusal())
		}
		return err
	}
	return t.within(ctx, scope.Scope{Session: session, Level: level}, commit)
}

// once runs f in a transaction. In a session with session state the transaction has its connection.
func (t *transaction) once(ctx context.Context, attempt int) (err error) {
	session, base := t.home.Of(ctx).Place() // the run before may have given the session state
	var level *scope.Level
	if base != nil {
		level, err = base.Nest(ctx, ctxsettings.Of(ctx), t.driverOptions(), t.begun)
	} else {
		level, err = t.home.Begin(ctx, session, t.driverOptions(), t.begun)
	}
	if err != nil {
		return err
	}
	if base == nil {
		defer level.Free()
	}
	return t.within(ctx, scope.Scope{Session: session, Level: level, Attempt: attempt}, (*transaction).commit)
}

// within calls f in a level that has begun, and ends the level.
func (t *transaction) within(
	ctx context.Context, s scope.Scope,
	commit func(t *transaction, ctx context.Context, level *scope.Level, interrupt func()) error,
) error {
	inner, cancel := context.WithCancelCause(s.Level.Trace(ctx))
	interrupt := func() { cancel(ErrEnded) }
	defer interrupt()
	stop := s.Level.RollbackAfter(ctx, interrupt)
	succeeded := false
	defer func() {
		if !succeeded && stop() { // f has failed, panicked or called Goexit, and that goes on
			_ = s.Level.Rollback(ctx, interrupt) // the level is over either way
		}
	}()
	if err := t.limit(ctx, s.Level); err != nil {
		return err
	}
	if err := t.f(t.home.With(inner, s)); err != nil {
		return err
	}
	succeeded = true
	if !stop() {
		return ctx.Err()
	}
	return commit(t, ctx, s.Level, interrupt)
}

// limit tells the server how long each statement may take.
func (t *transaction) limit(ctx context.Context, level *scope.Level) error {
	d := t.statementTimeout(ctx)
	if d <= 0 {
		return nil
	}
	return setLimit(ctx, level, strconv.FormatInt(max(1, d.Milliseconds()), 10)) // zero would mean no limit
}

// statementTimeout is how long each statement may take, zero or less for no limit.
func (t *transaction) statementTimeout(ctx context.Context) time.Duration {
	d := t.options.StatementTimeout
	if deadline, ok := ctx.Deadline(); ok && d == UntilDeadline {
		return max(time.Millisecond, time.Until(deadline))
	}
	return d
}

// setLimit sets the limit until the transaction ends, or what is done since a savepoint is undone.
func setLimit(ctx context.Context, level *scope.Level, limit string) error {
	text := "SET LOCAL statement_timeout = '" + limit + "'"
	_, err := scope.Run(ctx, level, text, func(c *serverconn.Conn) (struct{}, error) {
		return struct{}{}, c.Control(ctx, text)
	})
	return err
}
