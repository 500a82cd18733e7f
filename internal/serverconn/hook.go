package serverconn

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pgsafe/pgsafe/internal/sqltext"
)

// hookState is what the application's function for new connections has left in the session, apart from settings and
// roles, which a reset restores.
type hookState struct {
	left    sqltext.State
	named   []string            // the statements that it has prepared by the protocol
	effects map[string]*Effects // of those that have any: pgx takes their names for texts
}

// lostWith reports whether a reset of effects would undo what the function has left, or a statement has undone it
// already.
func (h *hookState) lostWith(effects sqltext.State) bool {
	if effects&sqltext.Deallocated != 0 { // DISCARD ALL, perhaps
		return h.left != 0
	}
	return h.left&effects != 0
}

// baselineSQL finds what was set since the session began, in the order in which a reset sets it again: with the rights
// of the login ($1) first. The server does not list the application's own settings, which have a dot in their name
// (guc.c, add_placeholder_variable). A number comes without its unit, and is set so.
const baselineSQL = `SELECT name, setting FROM pg_catalog.pg_settings WHERE source = 'session'
UNION ALL SELECT 'session_authorization', session_user WHERE session_user <> $1
UNION ALL SELECT 'role', pg_catalog.current_setting('role') WHERE pg_catalog.current_setting('role') <> 'none'`

// hookLeft are the conditions under which the function has left something.
var hookLeft = []struct {
	state sqltext.State
	sql   string
}{
	{sqltext.Listening, "EXISTS (SELECT FROM pg_catalog.pg_listening_channels())"},
	{sqltext.Temporary, "pg_catalog.pg_my_temp_schema() <> 0"},
	{sqltext.Locks, "EXISTS (SELECT FROM pg_catalog.pg_locks " +
		"WHERE locktype = 'advisory' AND pid = pg_catalog.pg_backend_pid())"},
	{sqltext.Cursors, "EXISTS (SELECT FROM pg_catalog.pg_cursors WHERE is_holdable)"},
	{sqltext.Prepared, "EXISTS (SELECT FROM pg_catalog.pg_prepared_statements WHERE from_sql)"},
	{sqltext.Deallocated, "EXISTS (SELECT FROM pg_catalog.pg_prepared_statements WHERE NOT from_sql)"},
}

// hookLeftSQL has a column for each condition.
var hookLeftSQL = func() string {
	columns := make([]string, len(hookLeft))
	for i, l := range hookLeft {
		columns[i] = l.sql
	}
	return "SELECT " + strings.Join(columns, ", ")
}()

// hookNamedSQL lists the statements that the function has prepared by the protocol.
const hookNamedSQL = "SELECT name, statement FROM pg_catalog.pg_prepared_statements WHERE NOT from_sql"

var errNoBaseline = errors.New("pgsafe: the server's answer about a new connection cannot be read")

// readBaseline remembers what the application's function has left on a new connection, in one round trip.
func (c *Conn) readBaseline(ctx context.Context) error {
	batch := &pgconn.Batch{}
	batch.ExecParams(baselineSQL, [][]byte{[]byte(c.pgx.Config().User)}, []uint32{pgtype.NameOID}, nil, nil)
	batch.ExecParams(hookLeftSQL, nil, nil, nil, nil)
	batch.ExecParams(hookNamedSQL, nil, nil, nil, nil)
	results, err := c.pgx.PgConn().ExecBatch(ctx, batch).ReadAll()
	if err != nil {
		return fmt.Errorf("pgsafe: read the settings of a new connection: %w", err)
	}
	if len(results) != 3 || len(results[1].Rows) != 1 || len(results[1].Rows[0]) != len(hookLeft) {
		return errNoBaseline
	}
	for _, row := range results[0].Rows {
		value := string(row[1])
		c.session.baseline = append(c.session.baseline, setting{string(row[0]), &value})
	}
	for i, l := range hookLeft {
		if string(results[1].Rows[0][i]) == "t" {
			c.hook.left |= l.state
		}
	}
	for _, row := range results[2].Rows {
		c.hook.prepared(string(row[0]), c.config.Effects.Of(string(row[1])))
	}
	return nil
}

// prepared notes a statement that the function has prepared.
func (h *hookState) prepared(name string, effects *Effects) {
	h.named = append(h.named, name)
	if effects == nil {
		return
	}
	if h.effects == nil {
		h.effects = make(map[string]*Effects)
	}
	h.effects[name] = effects
}
