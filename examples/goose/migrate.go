// Package goose migrates a schema by goose, all of its migrations or none.
package goose

import (
	"context"
	"database/sql"
	"io/fs"

	"github.com/pressly/goose/v3"

	"github.com/pgsafe/pgsafe/session"
)

// Up runs the migrations that are missing, in one transaction. goose has a transaction for each
// migration (provider_run.go, runIndividually), which is a savepoint here. So a migration that fails
// undoes those before it too.
//
// A migration with NO TRANSACTION runs in the transaction as well. One that must not, such as CREATE
// INDEX CONCURRENTLY, fails (25001): call the provider without session.Tx for it.
func Up(ctx context.Context, db *sql.DB, migrations fs.FS) error {
	provider, err := goose.NewProvider(goose.DialectPostgres, db, migrations)
	if err != nil {
		return err
	}
	return session.Tx(ctx, db, nil, func(ctx context.Context) error {
		_, err := provider.Up(ctx)
		return err
	})
}
