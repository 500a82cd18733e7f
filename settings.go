package pgsafe

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pgsafe/pgsafe/internal/ctxsettings"
	"github.com/pgsafe/pgsafe/internal/guard"
	"github.com/pgsafe/pgsafe/internal/sqltext"
)

// Settings that follow the context: see session.WithSettings. A lease looks before each statement whether the server's
// session carries what the statement's context asks for.

// serverSession is what is known of the server's session behind a physical connection. Only the connection's holder
// touches it.
type serverSession struct {
	carries  *ctxsettings.Settings // what was applied last
	doubtful bool                  // a statement may have changed what it carries, or it carries it for one transaction only
	local    bool                  // it carries it for one transaction only
	pooled   bool                  // its connection leads to a pooler, so that the next transaction may run in another

	left     sqltext.State // what statements have left behind
	leftBy   []*residue    // the first one for each thing
	baseline []setting     // what the application's function for new connections has set
}

// setting is one setting. A value of nil is that with which the session began.
type setting struct {
	name  string
	value *string
}

var (
	errSettingsInTx = fmt.Errorf("pgsafe: %w: they differ from those of the transaction under way", ctxsettings.Err)
	errPooled       = fmt.Errorf("pgsafe: %w: the connection leads to a pooler, where they hold in a transaction only; "+
		"begin it with this context", ctxsettings.Err)
	errNativeSettings = fmt.Errorf("pgsafe: %w: a connection of pgsafe_conn=native cannot follow the context", ctxsettings.Err)
)

// useFor is use for a statement that runs in ctx and leaves something behind, or nothing.
func (l *Conn) useFor(ctx context.Context, leaves *residue) error {
	if err := l.use(ctx); err != nil {
		return err
	}
	want := ctxsettings.Of(ctx)
	if want == nil {
		want = l.inherits
	}
	s := &l.phys.session
	if want != s.carries || s.doubtful {
		if err := l.follow(ctx, want); err != nil {
			return err
		}
	}
	l.inherits = want
	if leaves != nil {
		s.leave(leaves)
	}
	return nil
}

// follow makes the session carry what a statement wants that runs in ctx.
func (l *Conn) follow(ctx context.Context, want *ctxsettings.Settings) error {
	pc, s := l.phys.conn.PgConn(), &l.phys.session
	inTx := pc.TxStatus() != 'I'
	if s.local && !inTx {
		s.carries, s.local, s.doubtful = nil, false, false
	}
	switch {
	case pc.IsClosed():
		return l.endedHarmless(ctx, driver.ErrBadConn)
	case inTx && ctxsettings.Of(ctx) == nil:
		return nil // it inherits
	case want.Check() != nil:
		return fmt.Errorf("pgsafe: %w", want.Check())
	case want.Equal(s.carries) && (inTx || want.Empty() || !s.doubtful):
		return nil
	case inTx:
		return errSettingsInTx
	case s.pooled:
		return errPooled
	case pc.IsBusy():
		return errBusy
	}
	return l.applied(ctx, want, l.phys.apply(ctx, want))
}

// applied gives the error of applying settings its identity. The statement that wanted them has not begun.
func (l *Conn) applied(ctx context.Context, want *ctxsettings.Settings, err error) error {
	var pgErr *pgconn.PgError
	if err == nil || !errors.As(err, &pgErr) || guard.IsCanceled(err) && ctx.Err() != nil {
		return l.endedHarmless(ctx, err)
	}
	refusal := &settingsError{subject: subjectOf(want, pgErr), cause: withoutWords(pgErr)}
	if l.phys.conn.IsClosed() { // the server said goodbye
		return l.endedHarmless(ctx, refusal.cause)
	}
	return refusal
}

// settingsError says that the server refuses a setting or a role.
type settingsError struct {
	subject string
	cause   *pgconn.PgError
}

// Error names what is refused, and has no value in it.
func (e *settingsError) Error() string {
	return fmt.Sprintf("pgsafe: %v: the server refuses %s (SQLSTATE %s)", ctxsettings.Err, e.subject, e.cause.Code)
}

// Unwrap returns what it is, and the server's error without its words.
func (e *settingsError) Unwrap() []error { return []error{ctxsettings.Err, e.cause} }

// withoutWords leaves those of the server's words out that quote values (guc.c, parse_and_validate_value).
func withoutWords(err *pgconn.PgError) *pgconn.PgError {
	return &pgconn.PgError{
		Severity: err.Severity, SeverityUnlocalized: err.SeverityUnlocalized, Code: err.Code,
		File: err.File, Line: err.Line, Routine: err.Routine,
	}
}

// subjectOf finds what the server's words are about: they quote the name.
func subjectOf(want *ctxsettings.Settings, err *pgconn.PgError) string {
	for _, name := range want.Names() {
		if strings.Contains(err.Message, `"`+name+`"`) {
			return strconv.Quote(name)
		}
	}
	if role := want.Role(); role != "" && strings.Contains(err.Message, `"`+role+`"`) {
		return "the role " + strconv.Quote(role)
	}
	return "one of them"
}

// applySQL sets settings one after another, for the session or for the transaction ($4), in one statement: if one is
// refused none is set. A NULL is the value with which the session began (guc.c, set_config_by_name). For the session it
// sets none if another process of the server answers than the connection was made to: behind a pooler, they would stay
// with that process and whoever has it next.
const applySQL = `SELECT pg_catalog.set_config(name, value, $4) ` +
	`FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS s (name, value) ` +
	`WHERE $4 OR pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.=) $3`

var applyTypes = []uint32{pgtype.TextArrayOID, pgtype.TextArrayOID, pgtype.Int4OID, pgtype.BoolOID}

// span is for how long settings hold.
type span string

const (
	forSession     span = "f"
	forTransaction span = "t"
)

// applyArguments are the parameters of applySQL.
func applyArguments(conn *pgx.Conn, list []setting, hold span) ([][]byte, error) {
	names, values := make([]string, len(list)), make([]*string, len(list))
	for i, s := range list {
		names[i], values[i] = s.name, s.value
	}
	types := conn.TypeMap()
	namesText, e1 := types.Encode(pgtype.TextArrayOID, pgtype.TextFormatCode, names, nil)
	valuesText, e2 := types.Encode(pgtype.TextArrayOID, pgtype.TextFormatCode, values, nil)
	// pgconn keeps the number of 32 bits without its sign, which a pooler may have given it.
	pid := strconv.Itoa(int(int32(conn.PgConn().PID())))
	return [][]byte{namesText, valuesText, []byte(pid), []byte(hold)}, errors.Join(e1, e2)
}

// apply makes the session carry what is wanted, in one round trip. With an error on a connection that stays open it carries
// what it did before: either nothing was sent, or the server has undone it.
func (ph *physical) apply(ctx context.Context, want *ctxsettings.Settings) error {
	s := &ph.session
	list := s.changes(want)
	n, err := ph.setConfig(ctx, list, forSession)
	switch {
	case err != nil:
		return err
	case n < len(list):
		s.pooled = true
		return errPooled
	}
	s.carries, s.doubtful = want, false
	return nil
}

// setConfig runs applySQL and returns how many settings it has set. It goes past the tracers, which show texts and
// arguments.
func (ph *physical) setConfig(ctx context.Context, list []setting, hold span) (int, error) {
	if len(list) == 0 {
		return 0, nil
	}
	arguments, err := applyArguments(ph.conn, list, hold)
	if err != nil {
		return 0, fmt.Errorf("pgsafe: %w: they cannot be encoded", ctxsettings.Err)
	}
	result := ph.conn.PgConn().ExecParams(ctx, applySQL, arguments, applyTypes, nil, nil).Read()
	return len(result.Rows), result.Err
}

// changes is what has to be set, in this order: the role is taken off first and put on last, because it may not be
// allowed to set the others.
func (s *serverSession) changes(want *ctxsettings.Settings) []setting {
	var list []setting
	if want.Role() != "" || s.carries.Role() != "" {
		list = append(list, s.initially("role"))
	}
	for _, name := range s.carries.Names() {
		if _, stays := want.Value(name); !stays {
			list = append(list, s.initially(name))
		}
	}
	return appendSettings(list, want)
}

// appendSettings adds what is wanted to a list.
func appendSettings(list []setting, want *ctxsettings.Settings) []setting {
	for _, name := range want.Names() {
		value, _ := want.Value(name)
		list = append(list, setting{name, &value})
	}
	if role := want.Role(); role != "" {
		list = append(list, setting{"role", &role})
	}
	return list
}

// initially is a setting as a new connection has it.
func (s *serverSession) initially(name string) setting {
	for _, b := range s.baseline {
		if b.name == name {
			return b
		}
	}
	return setting{name: name}
}

// useForTx is useFor for BEGIN. Behind a pooler it returns what has to be applied within the transaction.
func (l *Conn) useForTx(ctx context.Context) (local *ctxsettings.Settings, err error) {
	err = l.useFor(ctx, nil)
	if errors.Is(err, errPooled) {
		return ctxsettings.Of(ctx), nil
	}
	return nil, err
}

// applyLocal makes a transaction that has just begun carry what is wanted, which may be nil, for as long as it lasts.
func (l *Conn) applyLocal(ctx context.Context, want *ctxsettings.Settings) error {
	if want.Empty() {
		return nil
	}
	s := &l.phys.session
	if _, err := l.phys.setConfig(ctx, appendSettings(nil, want), forTransaction); err != nil {
		return l.applied(ctx, want, err)
	}
	s.carries, s.local, s.doubtful = want, true, true
	return nil
}

// leaseKey marks the context with which a lease asks the pool for a connection, once others may ask it too.
type leaseKey struct{}

// forLease marks ctx. A connection that carries settings goes to a lease as it is.
func (c *Connector) forLease(ctx context.Context) context.Context {
	if !c.shared.Load() {
		return ctx
	}
	return context.WithValue(ctx, leaseKey{}, true)
}

// unsettlePooled takes the settings off a connection that the pool is about to hand to native code, which knows nothing
// of them. With false the pool closes it.
func (c *Connector) unsettlePooled(ctx context.Context, conn *pgx.Conn) bool {
	ph := physicalOf(conn)
	if ph == nil || ph.session.carries.Empty() || !c.shared.Load() || ctx.Value(leaseKey{}) != nil {
		return true
	}
	ctx, cancel := context.WithTimeout(guard.Patient(context.WithoutCancel(ctx), 0), cleaningTimeout)
	defer cancel()
	return ph.apply(ctx, nil) == nil
}
