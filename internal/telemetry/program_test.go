package telemetry_test

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

var update = flag.Bool("update", false, "write the actual output to testdata")

// golden compares seen with a file in testdata.
func golden(t *testing.T, name, seen string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		check.OK(t, os.WriteFile(path, []byte(seen), 0o644))
	}
	want, err := os.ReadFile(path)
	check.OK(t, err)
	if seen != string(want) {
		t.Errorf("%s differs; run go test ./internal/telemetry -update and read the difference. Seen:\n%s", path, seen)
	}
}

// TestAProgramHasTheseSpansAndMetrics compares all spans of a program that uses the whole API.
func TestAProgramHasTheseSpansAndMetrics(t *testing.T) {
	r := newRecorder(t)
	db := r.open(pgtest.SharedTLS(t), "")
	db.SetMaxOpenConns(1)

	r.Within("ping", func(ctx context.Context) { check.OK(t, db.PingContext(ctx)) })
	r.Within("GET /people", func(ctx context.Context) {
		exec(t, db, ctx, "insert into people (id, name) values ($1, 'Ada')", 1)
		exec(t, db, ctx, "INSERT INTO people SELECT id + 1, name || 'x' FROM people -- a comment")
		query(t, db, ctx, "SELECT id FROM people WHERE name LIKE 'A%' LIMIT 10")
		var none string
		row := db.QueryRowContext(ctx, "SELECT name FROM people WHERE id = $1", 99)
		if err := row.Scan(&none); !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("got %v", err)
		}
	})
	r.Within("POST /people", func(ctx context.Context) {
		tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelSerializable})
		check.OK(t, err)
		exec(t, tx, ctx, "UPDATE people SET name = $1 WHERE id = $2", "Grace", 1)
		query(t, tx, ctx, "WITH p AS (SELECT * FROM people) SELECT count(*) FROM p JOIN people q ON q.id = p.id")
		check.OK(t, tx.Commit())
	})
	r.Within("POST /people again", func(ctx context.Context) {
		tx, err := db.BeginTx(ctx, nil)
		check.OK(t, err)
		if _, err := tx.ExecContext(ctx, "INSERT INTO people (id, name) VALUES (1, 's3cretPw')"); err == nil {
			t.Error("the key was taken twice")
		}
		check.OK(t, tx.Rollback())
	})
	r.Within("GET /report", func(ctx context.Context) {
		tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
		check.OK(t, err)
		query(t, tx, ctx, "TABLE people")
		query(t, tx, context.Background(), "SELECT 1")
		check.OK(t, tx.Commit())
	})
	r.Within("native", func(ctx context.Context) {
		conn, err := db.Conn(ctx)
		check.OK(t, err)
		defer conn.Close()
		check.OK(t, pgsafe.Raw(conn, func(c *pgx.Conn) error { return native(ctx, c) }))
	})
	connector, _ := pgsafe.ConnectorOf(db)
	pgtest.Eventually(t, "the reset after native code is over, so that no caller waits for it", func() bool {
		return connector.Stats().InUse == 0
	})
	r.Within("prepared", func(ctx context.Context) {
		for _, text := range []string{
			"SELECT name FROM people WHERE id = $1",     // has run, so that the server knows it
			"SELECT name FROM people WHERE id = $1 + 0", // is new to the server
		} {
			stmt, err := db.PrepareContext(ctx, text)
			check.OK(t, err)
			defer stmt.Close()
			var name string
			check.OK(t, stmt.QueryRowContext(ctx, 1).Scan(&name))
		}
	})
	r.Within("password", func(ctx context.Context) {
		exec(t, db, ctx, "CREATE ROLE "+role(t)+" PASSWORD 's3cretPw'")
	})
	measured := r.Dump()
	check.OK(t, db.Close())
	golden(t, "metrics.golden", measured)
	tree := r.Tree()
	for _, secret := range []string{"s3cretPw", pgtest.TLSPassword, "Ada", "Grace", "comment", "already exists"} {
		if strings.Contains(tree, secret) || strings.Contains(measured, secret) {
			t.Errorf("the spans or the metrics show %q", secret)
		}
	}
	golden(t, "program.golden", tree)
}

// role returns the name of a role that is dropped when the test ends.
func role(t *testing.T) string {
	admin := pgtest.SharedTLS(t).Admin(t)
	t.Cleanup(func() { _, _ = admin.Exec(context.Background(), "DROP ROLE IF EXISTS telemetry_role") })
	return "telemetry_role"
}

// native uses what only pgx has.
func native(ctx context.Context, c *pgx.Conn) error {
	rows := [][]any{{10, "x"}, {11, "y"}}
	if _, err := c.CopyFrom(ctx, pgx.Identifier{"people"}, []string{"id", "name"}, pgx.CopyFromRows(rows)); err != nil {
		return err
	}
	alike, unlike := &pgx.Batch{}, &pgx.Batch{}
	alike.Queue("DELETE FROM people WHERE id = $1", 10)
	alike.Queue("DELETE FROM people WHERE id = $1", 11)
	unlike.Queue("SELECT 1")
	unlike.Queue("SELECT * FROM people")
	for _, b := range []*pgx.Batch{alike, unlike} {
		if err := c.SendBatch(ctx, b).Close(); err != nil {
			return err
		}
	}
	if _, err := c.Prepare(ctx, "by_name", "SELECT * FROM people WHERE name = $1"); err != nil {
		return err
	}
	_, err := c.Exec(ctx, "by_name", "x")
	return err
}
