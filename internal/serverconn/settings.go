package serverconn

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pgsafe/pgsafe/internal/ctxsettings"
	"github.com/pgsafe/pgsafe/internal/sqltext"
)

// Settings follow the context: see session.WithSettings. Before each statement the connection compares what its
// session has with what the statement wants.

// session is what is known of the server's session.
type session struct {
	applied *ctxsettings.Settings // the settings that were applied last
	stale   bool                  // a statement may have changed them, or they hold for one transaction only
	local   bool                  // they hold for one transaction only
	pooled  bool                  // another process of the server answers than the connection was made to

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
	errSettingsInTx = fmt.Errorf("pgsafe: %w: they differ from the settings of the transaction under way", ctxsettings.Err)
	errPooled       = fmt.Errorf("pgsafe: %w: the connection leads to a pooler, where they hold in a transaction only; "+
		"begin it with this context", ctxsettings.Err)
)

// apply makes the session have the settings that a statement wants.
func (c *Conn) apply(ctx context.Context, want *ctxsettings.Settings) error {
	pc, s := c.pgx.PgConn(), &c.session
	inTx := pc.TxStatus() != 'I'
	if s.local && !inTx {
		s.applied, s.local, s.stale = nil, false, false
	}
	switch {
	case pc.IsClosed():
		return c.failedHarmless(ctx, driver.ErrBadConn)
	case inTx && ctxsettings.Of(ctx) == nil:
		return nil // the statement inherits those of the transaction
	case want.Check() != nil:
		return fmt.Errorf("pgsafe: %w", want.Check())
	case want.Equal(s.applied) && (inTx || want.Empty() || !s.stale):
		return nil
	case inTx:
		return errSettingsInTx
	case c.facts.Pooled || s.pooled:
		return errPooled
	case pc.IsBusy():
		return ErrBusy
	}
	return c.settingsFailed(ctx, want, c.applyForSession(ctx, want))
}

// applySQL sets settings one after another, for the session or for the transaction ($4), in one statement: if one is
// refused none is set. A NULL is the value with which the session began (guc.c, set_config_by_name). For the session
// it sets none if another process of the server answers than the connection was made to: behind a pooler, they would
// stay with that process and its next client.
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
func (c *Conn) applyArguments(list []setting, hold span) ([][]byte, error) {
	names, values := make([]string, len(list)), make([]*string, len(list))
	for i, s := range list {
		names[i], values[i] = s.name, s.value
	}
	types := c.pgx.TypeMap()
	namesText, e1 := types.Encode(pgtype.TextArrayOID, pgtype.TextFormatCode, names, nil)
	valuesText, e2 := types.Encode(pgtype.TextArrayOID, pgtype.TextFormatCode, values, nil)
	// pgconn keeps the number of 32 bits without its sign, which a pooler may have given it.
	pid := strconv.Itoa(int(int32(c.pgx.PgConn().PID())))
	return [][]byte{namesText, valuesText, []byte(pid), []byte(hold)}, errors.Join(e1, e2)
}

// applyForSession sets what is wanted, in one round trip. After an error on a connection that stays open the session
// is as before: either nothing was sent, or the server has undone it.
func (c *Conn) applyForSession(ctx context.Context, want *ctxsettings.Settings) error {
	s := &c.session
	list := s.changes(want)
	n, err := c.setConfig(ctx, list, forSession)
	switch {
	case err != nil:
		return err
	case n < len(list):
		s.pooled = true
		return errPooled
	}
	s.applied, s.stale = want, false
	return nil
}

// applyInside makes a transaction that has just begun have the settings that are wanted, until it ends.
func (c *Conn) applyInside(ctx context.Context, want *ctxsettings.Settings) error {
	if want.Empty() {
		return nil
	}
	if _, err := c.setConfig(ctx, appendSettings(nil, want), forTransaction); err != nil {
		return c.settingsFailed(ctx, want, err)
	}
	c.session.applied, c.session.local, c.session.stale = want, true, true
	return nil
}

// setConfig runs applySQL and returns how many settings it has set. It bypasses the tracers, which show texts and
// arguments.
func (c *Conn) setConfig(ctx context.Context, list []setting, hold span) (int, error) {
	if len(list) == 0 {
		return 0, nil
	}
	arguments, err := c.applyArguments(list, hold)
	if err != nil {
		return 0, fmt.Errorf("pgsafe: %w: they cannot be encoded", ctxsettings.Err)
	}
	started := time.Now()
	result := c.pgx.PgConn().ExecParams(ctx, applySQL, arguments, applyTypes, nil, nil).Read()
	c.config.Tracer.Applied(c.pgx, started, result.Err)
	return len(result.Rows), result.Err
}

// changes lists what has to be set. The role is taken off first and put on last, because it may not be allowed to set
// the others.
func (s *session) changes(want *ctxsettings.Settings) []setting {
	var list []setting
	if want.Role() != "" || s.applied.Role() != "" {
		list = append(list, s.initially("role"))
	}
	for _, name := range s.applied.Names() {
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
func (s *session) initially(name string) setting {
	for _, b := range s.baseline {
		if b.name == name {
			return b
		}
	}
	return setting{name: name}
}
