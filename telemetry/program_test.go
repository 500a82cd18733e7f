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
)

var update = flag.Bool("update", false, "write what is seen into testdata")

// golden compares what is seen with a file.
func golden(t *testing.T, name, seen string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		must(t, os.WriteFile(path, []byte(seen), 0o644))
	}
	want, err := os.ReadFile(path)
	must(t, err)
	if seen != string(want) {
		t.Errorf("%s differs; run go test ./telemetry -update and read the difference. Seen:\n%s", path, seen)
	}
}

// TestProgram runs what a program does, and compares all of its spans.
func TestProgram(t *testing.T) {
	r := newRecorder(t)
	db := r.open(pgtest.SharedTLS(t), "")
	db.SetMaxOpenConns(1)

	r.within("GET /people", func(ctx context.Context) {
		exec(t, db, ctx, "insert into people (id, name) values ($1, 'Ada')", 1)
		exec(t, db, ctx, "INSERT INTO people SELECT id + 1, name || 'x' FROM people -- a comment")
		query(t, db, ctx, "SELECT id FROM people WHERE name LIKE 'A%' LIMIT 10")
		var none string
		if err := db.QueryRowContext(ctx, "SELECT name FROM people WHERE id = $1", 99).Scan(&none); !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("got %v", err)
		}
	})
	r.within("POST /people", func(ctx context.Context) {
		tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelSerializable})
		must(t, err)
		exec(t, tx, ctx, "UPDATE people SET name = $1 WHERE id = $2", "Grace", 1)
		query(t, tx, ctx, "WITH p AS (SELECT * FROM people) SELECT count(*) FROM p JOIN people q ON q.id = p.id")
		must(t, tx.Commit())
	})
	r.within("POST /people again", func(ctx context.Context) {
		tx, err := db.BeginTx(ctx, nil)
		must(t, err)
		if _, err := tx.ExecContext(ctx, "INSERT INTO people (id, name) VALUES (1, 's3cretPw')"); err == nil {
			t.Error("the key was taken twice")
		}
		must(t, tx.Rollback())
	})
	r.within("GET /report", func(ctx context.Context) {
		tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
		must(t, err)
		query(t, tx, ctx, "TABLE people")
		query(t, tx, context.Background(), "SELECT 1")
		must(t, tx.Commit())
	})
	r.within("native", func(ctx context.Context) {
		conn, err := db.Conn(ctx)
		must(t, err)
		defer conn.Close()
		must(t, pgsafe.Raw(conn, func(c *pgx.Conn) error { return native(ctx, c) }))
	})
	r.within("prepared", func(ctx context.Context) {
		stmt, err := db.PrepareContext(ctx, "SELECT name FROM people WHERE id = $1")
		must(t, err)
		defer stmt.Close()
		var name string
		must(t, stmt.QueryRowContext(ctx, 1).Scan(&name))
	})
	r.within("password", func(ctx context.Context) {
		exec(t, db, ctx, "CREATE ROLE "+role(t)+" PASSWORD 's3cretPw'")
	})
	measured := r.dump()
	must(t, db.Close())
	golden(t, "metrics.golden", measured)
	tree := r.tree()
	for _, secret := range []string{"s3cretPw", pgtest.TLSPassword, "Ada", "Grace", "comment", "already exists"} {
		if strings.Contains(tree, secret) || strings.Contains(measured, secret) {
			t.Errorf("the spans or the metrics show %q", secret)
		}
	}
	golden(t, "program.golden", tree)
}

// role returns the name of a role that ends with the test.
func role(t *testing.T) string {
	admin := pgtest.SharedTLS(t).Admin(t)
	t.Cleanup(func() { _, _ = admin.Exec(context.Background(), "DROP ROLE IF EXISTS telemetry_role") })
	return "telemetry_role"
}

// native is what only pgx can do.
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

type runner interface {
	ExecContext(context.Context, string, ...any) (sql.Result, error)
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
}

func exec(t *testing.T, db runner, ctx context.Context, text string, args ...any) {
	t.Helper()
	_, err := db.ExecContext(ctx, text, args...)
	must(t, err)
}

func query(t *testing.T, db runner, ctx context.Context, text string, args ...any) {
	t.Helper()
	rows, err := db.QueryContext(ctx, text, args...)
	must(t, err)
	for rows.Next() {
	}
	must(t, rows.Err())
	must(t, rows.Close())
}
