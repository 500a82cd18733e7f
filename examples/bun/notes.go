// Package bun keeps notes by bun, over a *session.DB.
package bun

import (
	"context"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/pgsafe/pgsafe/session"
)

var _ bun.IConn = (*session.DB)(nil)

// Open returns bun over db: all of its queries go there, without a Conn(db) for each. Its BeginTx,
// RunInTx, ExecContext and QueryContext belong to the *sql.DB and do not know sessions: use the
// methods of db.
//
// Within Tx, a query with a limit needs Conn(db) for ScanAndCount: without it bun asks twice at
// once (query_select.go), and may get session.ErrBusy.
//
// bun writes all values into the text. So that pgx does not prepare each text, the connection
// string should say default_query_exec_mode=exec.
func Open(db *session.DB) *bun.DB {
	return bun.NewDB(db.Unwrap(), pgdialect.New(), bun.WithConnResolver(resolver{db}))
}

// resolver is asked by each query that was not given a connection or a transaction
// (baseQuery.resolveConn).
type resolver struct{ db *session.DB }

var _ bun.ConnResolver = resolver{}

func (r resolver) ResolveConn(context.Context, bun.Query) bun.IConn { return r.db }

func (r resolver) Close() error { return nil }

// Note is a row of notes. What the database fills in by itself is left to it.
type Note struct {
	ID   int64 `bun:",pk,autoincrement"`
	Text string
}

// Notes keeps notes. It is safe for concurrent use.
type Notes struct {
	db  *session.DB
	bun *bun.DB
}

// New returns the notes of db.
func New(db *session.DB) *Notes { return &Notes{db, Open(db)} }

// Add adds a note.
func (n *Notes) Add(ctx context.Context, text string) error {
	_, err := n.bun.NewInsert().Model(&Note{Text: text}).Exec(ctx)
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
	var texts []string
	err := n.bun.NewSelect().Model((*Note)(nil)).Column("text").Order("id").Scan(ctx, &texts)
	return texts, err
}
