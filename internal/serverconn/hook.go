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
	left  sqltext.State
	named []byte // the statements that it has prepared by the protocol, as an array of PostgreSQL
}

// lostWith reports whether a reset of effects would undo what the function has left, or a statement has undone it
// already.
func (h *hookState) lostWith(effects sqltext.State) bool {
	if effects&sqltext.Deallocated != 0 { // DISCARD ALL, perhaps
		return h.left != 0
	}
	return h.left&effects != 0
}

// statements returns the names of the function's prepared statements.
func (h *hookState) statements() []byte {
	if h.named == nil {
		return []byte("{}")
	}
	return h.named
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

// hookSQL has a column for each condition, and then the names of the function's statements.
var hookSQL = func() string {
	var sql strings.Builder
	sql.WriteString("SELECT ")
	for _, l := range hookLeft {
		sql.WriteString(l.sql + ", ")
	}
	sql.WriteString("ARRAY (SELECT name FROM pg_catalog.pg_prepared_statements WHERE NOT from_sql)")
	return sql.String()
}()

var errNoBaseline = errors.New("pgsafe: the server's answer about a new connection cannot be read")

// readBaseline remembers what the application's function has left on a new connection, in one round trip.
func (c *Conn) readBaseline(ctx context.Context) error {
	batch := &pgconn.Batch{}
	batch.ExecParams(baselineSQL, [][]byte{[]byte(c.pgx.Config().User)}, []uint32{pgtype.NameOID}, nil, nil)
	batch.ExecParams(hookSQL, nil, nil, nil, nil)
	results, err := c.pgx.PgConn().ExecBatch(ctx, batch).ReadAll()
	if err != nil {
		return fmt.Errorf("pgsafe: read the settings of a new connection: %w", err)
	}
	if len(results) != 2 || len(results[1].Rows) != 1 || len(results[1].Rows[0]) != len(hookLeft)+1 {
		return errNoBaseline
	}
	for _, row := range results[0].Rows {
		value := string(row[1])
		c.session.baseline = append(c.session.baseline, setting{string(row[0]), &value})
	}
	row := results[1].Rows[0]
	for i, l := range hookLeft {
		if string(row[i]) == "t" {
			c.hook.left |= l.state
		}
	}
	c.hook.named = row[len(hookLeft)]
	return nil
}
