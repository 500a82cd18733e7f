package main

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/pgsafe/pgsafe"
)

// cancelAfter is how long a statement runs before it is cancelled.
const cancelAfter = 50 * time.Millisecond

// cancelPatience is how long the server may take to end it.
const cancelPatience = 5 * time.Second

// checkRollback makes a table in a transaction, rolls back, and looks for it.
func checkRollback(ctx context.Context, p *patient) Result {
	db, _, err := p.open(nil)
	if err != nil {
		return failed("%v", err)
	}
	defer db.Close()
	table := tableName()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return describe(err)
	}
	if _, err := tx.ExecContext(ctx, "CREATE TABLE "+table+" (n int)"); err != nil {
		return errorsOf(mayNotWrite(err), tx.Rollback())
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO "+table+" VALUES (1)"); err != nil {
		return errorsOf(describe(err), tx.Rollback())
	}
	if err := tx.Rollback(); err != nil {
		return describe(err)
	}
	if r, gone := lookFor(ctx, db, table); !gone {
		return r
	}
	return ok("a table made in a transaction is gone after its rollback")
}

// checkCancel does the same with a transaction whose context is cancelled in the middle of a
// statement.
func checkCancel(ctx context.Context, p *patient) Result {
	db, _, err := p.open(nil)
	if err != nil {
		return failed("%v", err)
	}
	defer db.Close()
	table := tableName()
	txCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	tx, err := db.BeginTx(txCtx, nil)
	if err != nil {
		return describe(err)
	}
	defer tx.Rollback() // database/sql has done so by then, unless we return early
	var pid int
	if err := tx.QueryRowContext(txCtx, "SELECT pg_backend_pid()").Scan(&pid); err != nil {
		return describe(err)
	}
	if _, err := tx.ExecContext(txCtx, "CREATE TABLE "+table+" (n int)"); err != nil {
		return mayNotWrite(err)
	}
	timer := time.AfterFunc(cancelAfter, cancel)
	defer timer.Stop()
	began := time.Now()
	_, err = tx.ExecContext(txCtx, "SELECT pg_sleep(30)")
	back := time.Since(began) - cancelAfter
	if !errors.Is(err, context.Canceled) || pgsafe.KindOf(err) != pgsafe.KindCanceled {
		return failed("a cancelled statement returned kind %s", pgsafe.KindOf(err))
	}
	if r, ended := awaitEnd(ctx, db, pid); !ended {
		return r
	}
	ended := time.Since(began) - cancelAfter
	if r, gone := lookFor(ctx, db, table); !gone {
		return r
	}
	return ok("a table made in a transaction that was cancelled is gone; the statement returned after %s, "+
		"and the server had ended it after %s", shortly(max(0, back)), shortly(max(0, ended)))
}

func tableName() string { return "pgsafe_doctor_" + randomName() }

// mayNotWrite tells a role that has no right to make a table from a failure.
func mayNotWrite(err error) Result {
	switch state := pgsafe.SQLState(err); state {
	case "42501":
		return skipped("cannot run here: no right to create a table (SQLSTATE %s)", state)
	case "3F000":
		return skipped("cannot run here: no schema to create a table in (SQLSTATE %s)", state)
	case "25006":
		return skipped("cannot run here: transactions are read-only (SQLSTATE %s)", state)
	}
	return describe(err)
}

func errorsOf(r Result, err error) Result {
	if err != nil {
		r.Notes = append(r.Notes, "the rollback failed as well")
		r.Status = StatusFailed
	}
	return r
}

// lookFor reports whether the table is gone, and what it means if it is not.
func lookFor(ctx context.Context, db *sql.DB, table string) (Result, bool) {
	var there bool
	if err := db.QueryRowContext(ctx, "SELECT to_regclass($1) IS NOT NULL", table).Scan(&there); err != nil {
		return describe(err), false
	}
	if there {
		return failed("the table %s is still there", table), false
	}
	return Result{}, true
}

// awaitEnd waits until the server's process is at work on nothing. If this very query runs in it,
// it is.
func awaitEnd(ctx context.Context, db *sql.DB, pid int) (Result, bool) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(cancelPatience)
	for {
		var busy bool
		err := db.QueryRowContext(ctx, `SELECT EXISTS (SELECT FROM pg_stat_activity
			WHERE pid = $1 AND pid <> pg_backend_pid() AND state <> 'idle')`, pid).Scan(&busy)
		switch {
		case err != nil:
			return describe(err), false
		case !busy:
			return Result{}, true
		case time.Now().After(deadline):
			return failed("the server still works on a statement that was cancelled %s ago", cancelPatience), false
		}
		<-tick.C
	}
}
