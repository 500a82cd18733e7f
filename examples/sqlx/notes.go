// Package sqlx keeps notes by sqlx, over a *session.DB.
//
// What sqlx has for statements takes its own interfaces, and those cannot be met from outside:
// QueryerContext and ExtContext want a *sqlx.Row, whose rows are not exported. A *session.DB fits
// where sqlx asks for database/sql's own methods, and sqlx binds the arguments and scans the rows.
// Package scany of these examples has Select and Get that take it as it is.
package sqlx

import (
	"context"

	"github.com/jmoiron/sqlx"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/session"
)

var (
	_ sqlx.ExecerContext   = (*session.DB)(nil)
	_ sqlx.PreparerContext = (*session.DB)(nil)
)

// sqlx writes placeholders as the driver's name tells it to, and knows the names of drivers from a
// list of its own (bind.go, defaultBinds). Without this, named arguments and Rebind leave question
// marks, which PostgreSQL does not take.
func init() { sqlx.BindDriver(pgsafe.DriverName, sqlx.DOLLAR) }

// Note is a row of notes. What the database fills in by itself is left to it.
type Note struct {
	ID   int64
	Text string
}

// Notes keeps notes. It is safe for concurrent use.
type Notes struct {
	db   *session.DB
	sqlx *sqlx.DB
}

// New returns the notes of db.
func New(db *session.DB) *Notes { return &Notes{db, sqlx.NewDb(db.Unwrap(), pgsafe.DriverName)} }

// Add adds a note.
func (n *Notes) Add(ctx context.Context, text string) error {
	query, args, err := n.sqlx.BindNamed("INSERT INTO notes (text) VALUES (:text)", Note{Text: text})
	if err != nil {
		return err
	}
	_, err = n.db.ExecContext(ctx, query, args...)
	return err
}

// AddAll adds all notes or none.
func (n *Notes) AddAll(ctx context.Context, texts ...string) error {
	return n.db.Tx(ctx, nil, func(ctx context.Context) error {
		for _, text := range texts {
			if err := n.Add(ctx, text); err != nil {
				return err
			}
		}
		return nil
	})
}

// List returns the texts of all notes.
func (n *Notes) List(ctx context.Context) ([]string, error) {
	rows, err := n.db.QueryContext(ctx, "SELECT id, text FROM notes ORDER BY id")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var notes []Note
	if err := sqlx.StructScan(rows, &notes); err != nil {
		return nil, err
	}
	var texts []string
	for _, note := range notes {
		texts = append(texts, note.Text)
	}
	return texts, nil
}
