package serverconn

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

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

// Reset undoes the effects of statements in the session, and closes the connection if that fails.
func (c *Conn) Reset(ctx context.Context) error {
	effects := c.session.effects
	if c.config.Reset == ResetAlways {
		effects |= ^sqltext.Deallocated
	}
	started := time.Now()
	err := c.cancel.Clear()
	if err == nil {
		err = c.reset(canceler.Patient(ctx, 0), effects)
	}
	c.config.Tracer.Reset(c.pgx, started, err)
	if c.config.OnReset != nil {
		undone := make([]Effects, len(c.session.by))
		for i, e := range c.session.by {
			undone[i] = *e
		}
		c.config.OnReset(undone, err)
	}
	c.session.forget()
	if err != nil {
		c.Close()
	}
	return err
}

// reset undoes effects in one round trip, or two if statements of the driver's are gone.
func (c *Conn) reset(ctx context.Context, effects sqltext.State) error {
	batch := &pgconn.Batch{}
	for _, r := range resets {
		if effects&r.state != 0 {
			batch.ExecParams(r.sql, nil, nil, nil, nil)
		}
	}
	if effects&settingsAndRole != 0 && len(c.session.baseline) > 0 {
		arguments, err := c.applyArguments(c.session.baseline, forSession)
		if err != nil {
			return err
		}
		batch.ExecParams(applySQL, arguments, applyTypes, nil, nil)
	}
	if _, err := c.pgx.PgConn().ExecBatch(ctx, batch).ReadAll(); err != nil {
		return err
	}
	if effects&settingsAndRole != 0 {
		c.session.applied, c.session.stale, c.session.local = nil, false, false
	}
	if effects&sqltext.Listening != 0 {
		c.dropNotifications()
	}
	if effects&sqltext.Deallocated != 0 {
		c.prepared.planned = nil
		return c.pgx.DeallocateAll(ctx)
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

// baselineSQL finds what was set since the session began. The server does not list the application's own settings,
// which have a dot in their name (guc.c, add_placeholder_variable). A number comes without its unit, and is set so.
const baselineSQL = `SELECT name, setting FROM pg_catalog.pg_settings WHERE source = 'session'
UNION ALL SELECT 'role', pg_catalog.current_setting('role') WHERE pg_catalog.current_setting('role') <> 'none'`

// readBaseline remembers what the application's function has set on a new connection. A reset restores it.
func (c *Conn) readBaseline(ctx context.Context) error {
	results, err := c.pgx.PgConn().Exec(ctx, baselineSQL).ReadAll()
	if err != nil {
		return fmt.Errorf("pgsafe: read the settings of a new connection: %w", err)
	}
	if len(results) != 1 {
		return errors.New("pgsafe: the server does not tell the settings of a new connection")
	}
	for _, row := range results[0].Rows {
		value := string(row[1])
		c.session.baseline = append(c.session.baseline, setting{string(row[0]), &value})
	}
	return nil
}
