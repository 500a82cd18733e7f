package pgsafe

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsafe/pgsafe/internal/guard"
	"github.com/pgsafe/pgsafe/internal/sqltext"
)

// A connection comes to its next user without what statements of the one before have left in the server's session. What a
// statement can leave behind is read off its text, once for each text; only a connection on which such a one ran is
// reset, when it comes back.

// residue is what the statements of one text leave behind.
type residue struct {
	state   sqltext.State
	summary string
}

// residueLimit is how many texts are remembered, as telemetry does for each server.
const residueLimit = 2048

// newResidue reads a text. It returns nil for one that leaves nothing behind.
func newResidue(sql string) *residue {
	if !sqltext.MayLeave(sql) {
		return nil
	}
	text := sqltext.Read(sql)
	state := text.Leaves
	if sqltext.Doubtful(sql) {
		state |= sqltext.Guess(sql)
	}
	if state == 0 {
		return nil
	}
	return &residue{state: state, summary: text.Summary}
}

// residueOf returns what a text leaves behind, nil if nothing. Texts are remembered by their beginning, so the rest of a
// long one is looked at each time.
func (c *Connector) residueOf(sql string) *residue {
	r := c.residues.Get(sql)
	rest := sqltext.Unread(sql)
	if rest == "" {
		return r
	}
	state := sqltext.Guess(rest)
	switch {
	case state == 0:
		return r
	case r != nil:
		return &residue{state: r.state | state, summary: r.summary}
	}
	return &residue{state: state, summary: sqltext.Read(sql).Summary}
}

// leave notes a statement that is about to run.
func (s *serverSession) leave(r *residue) {
	if r.state&^s.left != 0 {
		s.leftBy = append(s.leftBy, r)
		s.left |= r.state
	}
	if r.state&(sqltext.Settings|sqltext.Role) != 0 {
		s.doubtful = true
	}
}

// cleaningTimeout bounds the reset of a connection, which is closed if it takes longer.
const cleaningTimeout = closeWait

// soiled tells whether the lease's connection has to be reset before anybody else uses it. Behind a pooler there is
// nothing to reset: the statements ran in sessions that belong to it.
func (l *Conn) soiled() bool {
	if nameless(l.phys.conn) {
		l.phys.session.forget()
		return false
	}
	return l.phys.session.left != 0 || l.connector.profile.Reset == ResetAlways
}

// cleanAside resets the lease's connection in the background, out of the way of who gives it back. Who uses the lease next
// waits for it. The lease is kept, though perhaps without its connection, and so it returns true.
func (l *Conn) cleanAside() bool {
	c, done := l.connector, make(chan struct{})
	l.cleaning = done
	c.lot.setAside(l)
	clean := func() {
		defer close(done)
		// What is handed to the line is not looked at again, and the server may have gone meanwhile: the pool drops such a one.
		if !c.clean(l.phys) || c.stale(l.phys) || !c.lot.park(l) {
			release([]*stdConn{c.lot.strip(l)})
		}
	}
	if !c.inBackground(clean) {
		clean() // the connector is closed, and so will be the connection
	}
	return true
}

// inBackground runs f in a goroutine that ends before Close returns. It reports false after Close.
func (c *Connector) inBackground(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.work.Go(f)
	return true
}

// awaitCleaning waits until the lease's connection has been reset, if it is being, or ctx ends.
func (l *Conn) awaitCleaning(ctx context.Context) error {
	if l.cleaning == nil {
		return nil
	}
	select {
	case <-l.cleaning:
		l.cleaning = nil
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// beingCleaned tells whether the lease's connection is being reset: its last user did not wait for that.
func (l *Conn) beingCleaned() bool {
	select {
	case <-l.cleaning:
		l.cleaning = nil
		return false
	default:
		return l.cleaning != nil
	}
}

// clean resets a connection, and closes it if that fails.
func (c *Connector) clean(ph *physical) bool {
	ctx, cancel := context.WithTimeout(guard.Patient(c.ctx, 0), cleaningTimeout)
	defer cancel()
	left := ph.session.left
	if c.profile.Reset == ResetAlways {
		left |= ^sqltext.Deallocated
	}
	err := ph.guard.Clear()
	if err == nil {
		err = ph.reset(ctx, left)
	}
	c.cleaned(ph.session.leftBy, err)
	ph.session.forget()
	if err != nil {
		closeNow(ph.conn)
	}
	return err == nil
}

// cleaned tells what was left behind, and by which statements.
func (c *Connector) cleaned(leftBy []*residue, err error) {
	if c.tracer != nil {
		for _, r := range leftBy {
			for _, what := range r.state.Names() {
				c.tracer.LeakedState(what, r.summary)
			}
		}
	}
	if err != nil && c.ctx.Err() == nil {
		c.logger.Warn("pgsafe: a session could not be reset, and its connection is closed",
			"pool", c, "sqlstate", SQLState(err))
	}
	if len(leftBy) == 0 {
		return
	}
	if skipped, ok := c.sparing[leakedState].allow(time.Now()); ok {
		c.logger.Info("pgsafe: a statement left something in its session, which was reset",
			"pool", c, "left", strings.Join(leftBy[0].state.Names(), ","), "statement", leftBy[0].summary, "more", skipped)
	}
}

// leakedState is where records of sessions that were reset are limited.
const leakedState recovery = "leaked state"

// forget is called when nothing is left behind any more.
func (s *serverSession) forget() { s.left, s.leftBy = 0, nil }

// resets are the statements that undo what was left behind. They run in one implicit transaction, in this order: with the
// rights and the settings that the session began with, and what depends on temporary tables before those.
var resets = []struct {
	state sqltext.State
	sql   string
}{
	{settingsAndRole, "RESET SESSION AUTHORIZATION"},
	{settingsAndRole, "RESET ROLE"},
	{settingsAndRole, "RESET ALL"}, // to what the connection string, ALTER ROLE and ALTER DATABASE say (guc.c, ResetAllOptions)
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

// reset undoes what is left, in one round trip (two if statements of the driver's are gone).
func (ph *physical) reset(ctx context.Context, left sqltext.State) error {
	batch := &pgconn.Batch{}
	for _, r := range resets {
		if left&r.state != 0 {
			batch.ExecParams(r.sql, nil, nil, nil, nil)
		}
	}
	if left&settingsAndRole != 0 && len(ph.session.baseline) > 0 {
		arguments, err := applyArguments(ph.conn, ph.session.baseline, forSession)
		if err != nil {
			return err
		}
		batch.ExecParams(applySQL, arguments, applyTypes, nil, nil)
	}
	if _, err := ph.conn.PgConn().ExecBatch(ctx, batch).ReadAll(); err != nil {
		return err
	}
	if left&settingsAndRole != 0 {
		s := &ph.session
		s.carries, s.doubtful, s.local = nil, false, false
	}
	if left&sqltext.Listening != 0 {
		ph.dropNotifications()
	}
	if left&sqltext.Deallocated != 0 {
		return ph.prepareAnew(ctx)
	}
	return nil
}

// dropNotifications takes those that pgx keeps. With a context that is done it reads none off the network (pgconn,
// WaitForNotification).
func (ph *physical) dropNotifications() {
	done, cancel := context.WithCancel(context.Background())
	cancel()
	for {
		if _, err := ph.conn.WaitForNotification(done); err != nil {
			return
		}
	}
}

// prepareAnew makes pgx and us forget statements that are gone, or some of which are.
func (ph *physical) prepareAnew(ctx context.Context) error {
	ph.statements = newStatements(ph.conn)
	return ph.conn.DeallocateAll(ctx)
}

// baselineSQL finds what was set since the session began. The server does not list the application's own settings, those
// with a dot in their name (guc.c, add_placeholder_variable). A number is told without its unit, and taken so.
const baselineSQL = `SELECT name, setting FROM pg_catalog.pg_settings WHERE source = 'session'
UNION ALL SELECT 'role', pg_catalog.current_setting('role') WHERE pg_catalog.current_setting('role') <> 'none'`

// keepBaseline remembers what the application's function has set on a new connection, which a reset has to restore.
func (ph *physical) keepBaseline(ctx context.Context) error {
	if ph.session.pooled {
		return nil
	}
	results, err := ph.conn.PgConn().Exec(ctx, baselineSQL).ReadAll()
	if err != nil {
		return fmt.Errorf("pgsafe: read the settings of a new connection: %w", err)
	}
	if len(results) != 1 {
		return errors.New("pgsafe: the server does not tell the settings of a new connection")
	}
	for _, row := range results[0].Rows {
		value := string(row[1])
		ph.session.baseline = append(ph.session.baseline, setting{string(row[0]), &value})
	}
	return nil
}
