package serverconn

import (
	"context"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pgsafe/pgsafe/internal/canceler"
	"github.com/pgsafe/pgsafe/internal/sqltext"
)

// resets are the statements that undo effects. They run in one implicit transaction, in this order: with the rights
// and the settings that the session began with, and what depends on temporary tables before those.
var resets = []struct {
	state sqltext.State
	sql   string
}{
	{settingsAndRole, "RESET SESSION AUTHORIZATION"},
	{settingsAndRole, "RESET ROLE"},
	{settingsAndRole, "RESET ALL"}, // to the values at the session's start (guc.c, ResetAllOptions)
	{sqltext.Listening, "UNLISTEN *"},
	{sqltext.Cursors, "CLOSE ALL"},
	{sqltext.Locks, "SELECT pg_catalog.pg_advisory_unlock_all()"},
	{sqltext.Prepared, deallocateByHand},
	{sqltext.Temporary, "DISCARD TEMP"},
	{sqltext.Unknown, "DISCARD SEQUENCES"},
}

const settingsAndRole = sqltext.Settings | sqltext.Role

// deallocateByHand spares the statements that were prepared by the protocol, which are the driver's.
const deallocateByHand = `DO LANGUAGE plpgsql $$
DECLARE name text;
BEGIN
	FOR name IN SELECT s.name FROM pg_catalog.pg_prepared_statements s WHERE s.from_sql LOOP
		EXECUTE pg_catalog.format('DEALLOCATE %I', name);
	END LOOP;
END $$`

// namedSQL lists the statements that native code has prepared by the protocol under names of its own, except those of
// the application's function for new connections. pgx's names begin with stmt (pgx.Conn.Prepare; internal/stmtcache,
// StatementName).
var namedSQL = `SELECT name FROM pg_catalog.pg_prepared_statements ` +
	`WHERE NOT from_sql AND NOT pg_catalog.starts_with(name, 'stmt') AND name <> '` + prefixName + `' ` +
	`AND NOT coalesce(name = ANY ($1), false)`

// seedSQL makes random() unpredictable again. RESET ALL spares the seed (guc_tables.c, GUC_NO_RESET_ALL).
const seedSQL = "SELECT pg_catalog.setseed($1)"

// toUndo returns the effects that a reset has to undo.
func (c *Conn) toUndo() sqltext.State {
	effects := c.session.effects
	if c.config.Reset == ResetAlways {
		effects |= sqltext.Unknown
	}
	if effects&sqltext.Unknown != 0 {
		effects |= sqltext.Whole
	}
	if effects&settingsAndRole != 0 {
		effects |= sqltext.Temporary | sqltext.Seed // CREATE TABLE may have made temporary tables; see seedSQL
	}
	return effects
}

// Reset undoes the effects of statements in the session. It closes the connection if that fails, if the configuration
// asks for it, or if a reset would undo what the application's function for new connections has left.
func (c *Conn) Reset(ctx context.Context) error {
	started := time.Now()
	var err error
	if effects := c.toUndo(); c.config.Reset == ResetClose || c.hook.lostWith(effects) {
		c.verdict = max(c.verdict, spent)
		c.Close()
	} else if err = c.cancel.Clear(); err == nil {
		err = c.reset(canceler.Patient(ctx, 0), effects)
	}
	c.config.Tracer.Reset(c.pgx, started, err)
	if c.config.OnReset != nil {
		c.config.OnReset(c.undone(), err)
	}
	c.session.forget()
	if err != nil {
		c.Close()
	}
	return err
}

// undone returns what the statements since the last reset have left that is gone now. Code that the texts do not show
// may have left nothing, so it is not in the list.
func (c *Conn) undone() []Effects {
	var list []Effects
	for _, e := range c.session.by {
		state := e.State &^ sqltext.Unknown
		if c.verdict != spent {
			state &^= sqltext.Permanent
		}
		if state != 0 {
			list = append(list, Effects{State: state, Summary: e.Summary})
		}
	}
	return list
}

// reset undoes effects in one round trip, or more if statements of the driver's are gone or native code has prepared
// some.
func (c *Conn) reset(ctx context.Context, effects sqltext.State) error {
	if effects == sqltext.Permanent {
		return nil
	}
	batch, err := c.resetBatch(effects)
	if err != nil {
		return err
	}
	results, err := c.pgx.PgConn().ExecBatch(ctx, batch).ReadAll()
	if err != nil {
		return err
	}
	if effects&sqltext.Listening != 0 {
		c.dropNotifications()
	}
	if effects&sqltext.Deallocated != 0 {
		c.prepared.planned = nil
		return c.pgx.DeallocateAll(ctx)
	}
	if effects&sqltext.Unknown != 0 {
		return c.deallocate(ctx, results[len(results)-1].Rows)
	}
	return nil
}

// resetBatch returns the statements that undo effects. With unknown ones, the last has the rows of namedSQL.
func (c *Conn) resetBatch(effects sqltext.State) (*pgconn.Batch, error) {
	batch := &pgconn.Batch{}
	for _, r := range resets {
		if effects&r.state != 0 {
			batch.ExecParams(r.sql, nil, nil, nil, nil)
		}
	}
	if effects&sqltext.Seed != 0 {
		seed := strconv.FormatFloat(2*rand.Float64()-1, 'g', -1, 64)
		batch.ExecParams(seedSQL, [][]byte{[]byte(seed)}, []uint32{pgtype.Float8OID}, nil, nil)
	}
	if effects&settingsAndRole != 0 && len(c.session.baseline) > 0 {
		batch.ExecParams(applySQL, c.applyArguments(c.session.baseline, forSession), applyTypes, nil, nil)
	}
	if effects&sqltext.Unknown != 0 {
		names, err := c.pgx.TypeMap().Encode(pgtype.TextArrayOID, pgtype.TextFormatCode, c.hook.named, nil)
		if err != nil {
			return nil, err
		}
		batch.ExecParams(namedSQL, [][]byte{names}, []uint32{pgtype.TextArrayOID}, nil, nil)
	}
	return batch, nil
}

// deallocate ends the prepared statements that rows name, which pgx then does not know any more either.
func (c *Conn) deallocate(ctx context.Context, rows [][][]byte) error {
	for _, row := range rows {
		if err := c.pgx.Deallocate(ctx, string(row[0])); err != nil {
			return err
		}
	}
	return nil
}

// dropNotifications drops the notifications that pgx keeps. With a context that is done pgx reads none off the network
// (pgconn, WaitForNotification).
func (c *Conn) dropNotifications() {
	done, cancel := context.WithCancel(context.Background())
	cancel()
	for {
		if _, err := c.pgx.WaitForNotification(done); err != nil {
			return
		}
	}
}
