// Package gorm keeps notes by gorm, over a *session.DB.
package gorm

import (
	"context"
	"database/sql"
	"errors"
	"slices"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/pgsafe/pgsafe/examples/nest"
	"github.com/pgsafe/pgsafe/session"
)

// A *session.DB fits as it is. Then gorm's own transactions are refused within Tx, and it begins
// one for each write unless it is told SkipDefaultTransaction (callbacks/transaction.go,
// BeginTransaction): pool makes them savepoints instead.
var (
	_ gorm.ConnPool   = (*session.DB)(nil)
	_ gorm.TxBeginner = (*session.DB)(nil)

	_ gorm.ConnPoolBeginner = pool{}
	_ gorm.GetDBConnector   = pool{}
)

// Open returns gorm over db. With PrepareStmt it fails, and a gorm.Session must not have it: gorm
// would run a statement that it has prepared once in whatever transaction it was prepared in, or
// outside of any (PreparedStmtDB.prepare). pgx prepares statements anyway.
func Open(db *session.DB, opts ...gorm.Option) (*gorm.DB, error) {
	return gorm.Open(postgres.New(postgres.Config{Conn: pool{db}}), slices.Concat(opts, []gorm.Option{unprepared{}})...)
}

// unprepared is asked before gorm begins to keep prepared statements, by a goroutine that does not
// end.
type unprepared struct{}

// Apply refuses PrepareStmt.
func (unprepared) Apply(config *gorm.Config) error {
	if config.PrepareStmt {
		return errors.New("gorm's PrepareStmt does not go with transactions of the context")
	}
	return nil
}

// AfterInitialize does nothing.
func (unprepared) AfterInitialize(*gorm.DB) error { return nil }

type pool struct{ *session.DB }

// BeginTx begins all of gorm's transactions, also the transaction of each write.
func (p pool) BeginTx(ctx context.Context, opts *sql.TxOptions) (gorm.ConnPool, error) {
	return nest.Begin(ctx, p.DB, opts)
}

// GetDBConn lets gorm's DB() find the *sql.DB.
func (p pool) GetDBConn() (*sql.DB, error) { return p.Unwrap(), nil }

// Note is a row of notes. What the database fills in by itself is left to it.
type Note struct {
	ID   int64
	Text string
}

// Notes keeps notes. It is safe for concurrent use.
type Notes struct{ db *gorm.DB }

// New returns the notes of db, be that over a *session.DB or not.
func New(db *gorm.DB) *Notes { return &Notes{db} }

// Add adds a note.
func (n *Notes) Add(ctx context.Context, text string) error {
	return n.db.WithContext(ctx).Create(&Note{Text: text}).Error
}

// AddAll adds all notes or none.
func (n *Notes) AddAll(ctx context.Context, texts ...string) error {
	return n.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		for _, text := range texts {
			if err := tx.Create(&Note{Text: text}).Error; err != nil {
				return err
			}
		}
		return nil
	})
}

// List returns the texts of all notes.
func (n *Notes) List(ctx context.Context) ([]string, error) {
	var texts []string
	err := n.db.WithContext(ctx).Model(&Note{}).Order("id").Pluck("text", &texts).Error
	return texts, err
}
