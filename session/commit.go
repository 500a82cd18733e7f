package session

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/pgsafe/pgsafe/internal/scope"
)

// xact identifies a transaction, on one server and timeline.
type xact struct{ id, server string }

// xactSQL is NULL for a transaction that has changed nothing. On a standby, where all are such, the
// functions of serverSQL would fail. The name of the present WAL file begins with the timeline, which
// changes when a standby is promoted.
const xactSQL = "SELECT pg_catalog.pg_current_xact_id_if_assigned()::text, " +
	"CASE WHEN pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL THEN " + serverSQL + " END"

const serverSQL = "(SELECT system_identifier FROM pg_catalog.pg_control_system())::text || ' ' || " +
	"pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 8)"

// statusSQL is what the server knows of a transaction, NULL if it is another server than $2. That one may
// refuse the number, as being in the future.
const statusSQL = "SELECT CASE server WHEN $2 THEN pg_catalog.pg_xact_status($1::text::xid8) END, server " +
	"FROM (SELECT " + serverSQL + ") AS present (server)"

// errNotCommitted says that the server knows the transaction to be rolled back.
var errNotCommitted = errors.New("the server says that it was not committed")

// commit commits the transaction. If the answer is lost, it asks the server what became of it.
func (t *transaction) commit(ctx context.Context, level *scope.Level, interrupt func()) error {
	var x xact
	if t.options.CommitCheck > 0 && !t.options.ReadOnly {
		row, err := level.QueryRow(ctx, xactSQL)
		if err == nil { // else COMMIT meets the reason too
			x = xact{text(row[0]), text(row[1])}
		}
	}
	err := level.Commit(ctx, interrupt)
	if !errors.Is(err, ErrCommitUnknown) || x.id == "" {
		return err
	}
	return t.resolve(ctx, x, err)
}

// resolve finds out what became of a COMMIT whose answer was lost, which is unknown.
func (t *transaction) resolve(ctx context.Context, x xact, unknown error) error {
	ctx, cancel := context.WithTimeout(scope.Detach(ctx), t.options.CommitCheck)
	defer cancel()
	for wait := firstPause; ; wait = min(2*wait, lastPause) {
		row, err := t.home.QueryRow(ctx, statusSQL, x.id, x.server)
		switch {
		case err != nil:
		case text(row[1]) != x.server: // another server, or one that was promoted, may have lost it
			return unknown
		case text(row[0]) == "committed":
			return nil
		case text(row[0]) == "aborted":
			return fmt.Errorf("%w: %w", ErrRolledBack, errNotCommitted)
		case text(row[0]) == "": // too long ago for the server to know
			return unknown
		}
		if pause(ctx, wait) != nil {
			return unknown
		}
	}
}

// text returns a value as a string, "" for NULL.
func text(v driver.Value) string {
	s, _ := v.(string)
	return s
}
