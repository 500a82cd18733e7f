package goose_test

import (
	"context"
	"database/sql"
	"io/fs"
	"testing"
	"testing/fstest"

	pressly "github.com/pressly/goose/v3"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/examples/goose"
	"github.com/pgsafe/pgsafe/examples/internal/notestest"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/session"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// migrations makes files of goose, in this order.
func migrations(texts ...string) fs.FS {
	files := fstest.MapFS{}
	for i, text := range texts {
		files[string(rune('1'+i))+"_step.sql"] = &fstest.MapFile{Data: []byte("-- +goose Up\n" + text)}
	}
	return files
}

func exists(t *testing.T, db *sql.DB, table string) (found bool) {
	t.Helper()
	check.OK(t, db.QueryRowContext(t.Context(), "SELECT to_regclass($1) IS NOT NULL", table).Scan(&found))
	return found
}

func TestUp(t *testing.T) {
	const first, second = "CREATE TABLE first (id int);", "CREATE TABLE second (id int);"
	t.Run("all migrations of goose are applied", func(t *testing.T) {
		db := notestest.Open(t)
		check.OK(t, goose.Up(t.Context(), db, migrations(first, second)))
		check.OK(t, goose.Up(t.Context(), db, migrations(first, second)))
		check.Equal(t, exists(t, db, "first") && exists(t, db, "second"), true)
	})
	t.Run("a migration of goose that fails undoes those before it", func(t *testing.T) {
		db := notestest.Open(t)
		err := goose.Up(t.Context(), db, migrations(first, "SELECT 1/0;"))
		check.Equal(t, pgsafe.SQLState(err), "22012")
		check.Equal(t, exists(t, db, "first") || exists(t, db, "goose_db_version"), false)
	})
	t.Run("a migration of goose with NO TRANSACTION is in the transaction too", func(t *testing.T) {
		db := notestest.Open(t)
		plain := fstest.MapFS{"1_step.sql": {Data: []byte("-- +goose NO TRANSACTION\n-- +goose Up\n" + first)}}
		notestest.IsError(t, session.Tx(t.Context(), db, nil, func(ctx context.Context) error {
			check.OK(t, goose.Up(ctx, db, plain))
			return notestest.ErrUndo
		}), notestest.ErrUndo)
		check.Equal(t, exists(t, db, "first"), false)
	})
	t.Run("a migration of goose that must not run in a transaction fails in one", func(t *testing.T) {
		db := notestest.Open(t)
		index := fstest.MapFS{"1_step.sql": {Data: []byte("-- +goose NO TRANSACTION\n-- +goose Up\n" +
			"CREATE INDEX CONCURRENTLY by_text ON notes (text);")}}
		check.Equal(t, pgsafe.SQLState(goose.Up(t.Context(), db, index)), "25001")
		provider, err := pressly.NewProvider(pressly.DialectPostgres, db, index)
		check.OK(t, err)
		_, err = provider.Up(t.Context())
		check.OK(t, err)
		check.Equal(t, exists(t, db, "by_text"), true)
	})
	t.Run("a migration of goose with another context is outside the transaction", func(t *testing.T) {
		db := notestest.Open(t)
		notestest.IsError(t, session.Tx(t.Context(), db, nil, func(context.Context) error {
			check.OK(t, goose.Up(context.Background(), db, migrations(first)))
			return notestest.ErrUndo
		}), notestest.ErrUndo)
		check.Equal(t, exists(t, db, "first"), true)
	})
}
