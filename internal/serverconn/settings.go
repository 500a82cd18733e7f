package serverconn

import (
	"context"
	"crypto/rand"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pgsafe/pgsafe/internal/ctxsettings"
	"github.com/pgsafe/pgsafe/internal/sqltext"
	"github.com/pgsafe/pgsafe/internal/wire"
)

// Settings follow the context: see session.WithSettings. They are made true before each statement.
// What the session had before is never believed: a function can change it at any time, and no text
// shows that.

// session is what is known of the server's session.
type session struct {
	within *ctxsettings.Settings // what the last statement outside a transaction ran with
	local  bool                  // the transaction under way has its settings for itself only
	pooled bool                  // another process of the server answers than the connection was made to

	absent []string // names in use that the server does not know, or not any more

	used     bool          // a statement ran since the last reset
	effects  sqltext.State // what statements have left behind
	by       []*Effects    // the first statement for each effect
	baseline []setting     // what the application's function for new connections has set
}

// setting is one setting. A value of nil is the one with which the session began.
type setting struct {
	name  string
	value *string
}

var (
	// ErrOtherSettings is the error of what should run within a transaction with other settings.
	ErrOtherSettings = fmt.Errorf("pgsafe: %w: they differ from the settings of the transaction under way", ctxsettings.Err)
	errPooled        = fmt.Errorf("pgsafe: %w: the connection leads to a pooler, where this statement can have them "+
		"in a transaction only; begin it with this context", ctxsettings.Err)
	errGoesOn = fmt.Errorf("pgsafe: %w: they end with the transaction under way, and the statement goes on in another "+
		"one; begin that with BeginTx", ctxsettings.Err)
)

// applySQL sets settings one after another, for the session or for the transaction ($4), in one
// statement: if one is refused none is set. A NULL is the value with which the session began
// (guc.c, set_config_by_name). For the session it sets none if another process of the server
// answers than the connection was made to: behind a pooler, they would stay with that process and
// its next client.
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
func (c *Conn) applyArguments(list []setting, hold span) [][]byte {
	// pgconn keeps the number of 32 bits without its sign, which a pooler may have given it.
	pid := strconv.Itoa(int(int32(c.pgx.PgConn().PID())))
	return append(arrays(list), []byte(pid), []byte(hold))
}

// arrays returns the names and the values of settings as two arrays of text, in PostgreSQL's text
// format (arrayfuncs.c, array_in).
func arrays(list []setting) [][]byte {
	size := 2
	for _, s := range list {
		size += len(s.name) + 3
		if s.value != nil {
			size += len(*s.value) + 1
		}
	}
	names, values := append(make([]byte, 0, size), '{'), append(make([]byte, 0, size), '{')
	for i, s := range list {
		if i > 0 {
			names, values = append(names, ','), append(values, ',')
		}
		names = appendQuoted(names, s.name)
		if s.value == nil {
			values = append(values, "NULL"...)
		} else {
			values = appendQuoted(values, *s.value)
		}
	}
	return append(make([][]byte, 0, 4), append(names, '}'), append(values, '}'))
}

func appendQuoted(to []byte, text string) []byte {
	to = append(to, '"')
	for i := range len(text) {
		if text[i] == '"' || text[i] == '\\' {
			to = append(to, '\\')
		}
		to = append(to, text[i])
	}
	return append(to, '"')
}

// applyForSession makes the session have the settings that are wanted, in one round trip, until the
// next statement makes others true. After an error on a connection that stays open the session is
// as before: either nothing was sent, or the server has undone it.
func (c *Conn) applyForSession(ctx context.Context, want *ctxsettings.Settings) error {
	s := &c.session
	list := s.list(c.config.InUse.get(), want)
	switch {
	case len(list) == 0:
		return nil
	case c.isPooled() && want.Empty():
		return nil // none was ever set for the session
	case c.isPooled():
		return errPooled
	case c.pgx.PgConn().IsBusy():
		return ErrBusy
	}
	started := time.Now()
	result := c.pgx.PgConn().ExecParams(ctx, applySQL, c.applyArguments(list, forSession), applyTypes, nil, nil).Read()
	c.config.Tracer.Applied(c.pgx, started, result.Err)
	switch {
	case result.Err != nil && c.lacks(want, refusalIn(result.Err)):
		return c.applyForSession(ctx, want)
	case result.Err != nil:
		return c.settingsFailed(ctx, want, result.Err)
	case len(result.Rows) < len(list):
		c.foundPooler()
		return c.applyForSession(ctx, want)
	}
	c.config.InUse.add(want)
	return nil
}

// isPooled reports whether the connection leads to a pooler: settings for the session would reach
// other clients.
func (c *Conn) isPooled() bool { return c.facts.Pooled || c.session.pooled }

// foundPooler notes that another process of the server answers than the connection was made to: a
// pooler has taken the server's place.
func (c *Conn) foundPooler() {
	c.session.pooled = true
	c.prefixes = prefixes{} // they have a name
}

// list lists what has to be set so that exactly the wanted settings hold. The role is taken off
// first and put on last, because it may not be allowed to set the others.
func (s *session) list(inUse *names, want *ctxsettings.Settings) []setting {
	if inUse == nil && want.Empty() {
		return nil
	}
	list := make([]setting, 0, len(inUse.all())+len(want.Names())+2)
	if want.Role() != "" || inUse.hasRole() {
		list = append(list, s.initially("role"))
	}
	for _, name := range inUse.all() {
		if _, given := want.Value(name); !given && !slices.Contains(s.absent, name) {
			list = append(list, s.initially(name))
		}
	}
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
func (s *session) initially(name string) setting {
	for _, b := range s.baseline {
		if b.name == name {
			return b
		}
	}
	return setting{name: name}
}

// prefixSQL is applySQL for the transaction.
const prefixSQL = `SELECT pg_catalog.count(pg_catalog.set_config(name, value, true)) ` +
	`FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS s (name, value)`

// prefixName is the name of prefixSQL as a prepared statement. No text can prepare another statement under it ahead of
// time: each process has its own.
var prefixName = "pgsafe_settings_" + strings.ToLower(rand.Text())

// prefixes remembers what goes in front of statements with the settings of one context, and of
// those without settings.
type prefixes struct {
	names *names // that were in use then
	none  *wire.Prefix
	some  *wire.Prefix
	of    *ctxsettings.Settings // what some sets
}

// prefixFor returns what goes in front of a statement, nil if that is nothing.
func (c *Conn) prefixFor(want *ctxsettings.Settings) (*wire.Prefix, error) {
	p, inUse := &c.prefixes, c.config.InUse.get()
	if p.names != inUse {
		*p = prefixes{names: inUse}
	}
	kept := &p.none
	if !want.Empty() {
		if !want.Equal(p.of) {
			p.of, p.some = want, nil
		}
		kept = &p.some
	}
	if *kept != nil {
		return *kept, nil
	}
	list := c.session.list(inUse, want)
	if len(list) == 0 {
		return nil, nil //nolint:nilnil // nothing goes in front
	}
	name := prefixName
	if c.isPooled() {
		name = ""
	}
	prefix, err := wire.NewPrefix(name, prefixSQL, applyTypes[:2], arrays(list))
	if err != nil {
		return nil, errors.Join(ctxsettings.Err, err)
	}
	*kept = prefix
	return prefix, nil
}

// isolate decides how a statement gets its settings. What cannot go in front of it is set for the
// session, in one more round trip.
func (c *Conn) isolate(ctx context.Context, want *ctxsettings.Settings, s *statement) error {
	switch {
	case want == nil && c.config.InUse.get() == nil:
		c.session.within = nil // no context has had any
		return nil
	case c.pgx.IsClosed():
		return c.failedHarmless(ctx, driver.ErrBadConn)
	case c.InTransaction():
		return c.isolateInside(want, s)
	case want.Check() != nil:
		return fmt.Errorf("pgsafe: %w", want.Check())
	}
	c.session.within, c.session.local = want, false
	pipelines, err := c.shapeUp(want, s)
	switch {
	case err != nil:
		return err
	case !pipelines:
		err = c.applyForSession(ctx, want)
		c.wire.Start()
	default:
		s.prefix, err = c.prefixFor(want)
	}
	return err
}

// Nests returns why a savepoint cannot have the settings that are wanted, nil if it can.
func (c *Conn) Nests(want *ctxsettings.Settings) error {
	return c.isolateInside(want, &statement{kind: native})
}

// isolateInside looks at a statement within a transaction, which has the transaction's settings.
func (c *Conn) isolateInside(want *ctxsettings.Settings, s *statement) error {
	within := c.session.within
	switch {
	case want == nil: // it inherits the settings of the transaction
	case want.Check() != nil:
		return fmt.Errorf("pgsafe: %w", want.Check())
	case !want.Equal(within):
		return ErrOtherSettings
	}
	if c.session.local && s.kind != native && c.config.Shapes.of(s.text).goesOn {
		return errGoesOn
	}
	s.tag(c, within)
	return nil
}

// hasEarly reports whether a setting counts when the statement's transaction begins.
func (c *Conn) hasEarly(want *ctxsettings.Settings) bool {
	return c.config.InUse.get().hasEarly() || slices.ContainsFunc(want.Names(), isEarly)
}
