// Package gorm keeps notes by gorm.
package gorm

import (
	"context"
	"database/sql"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
)

// Open returns gorm over db.
//
// SkipDefaultTransaction is worth setting. gorm else begins a transaction for each write
// (callbacks/transaction.go, BeginTransaction), which within session.Tx is a savepoint: two more
// round trips. More than 64 savepoints with writes in one transaction overflow a cache of the server
// (PGPROC_MAX_CACHED_SUBXIDS), which makes all its sessions slower.
func Open(db *sql.DB) (*gorm.DB, error) {
	return gorm.Open(postgres.New(postgres.Config{Conn: db}), &gorm.Config{SkipDefaultTransaction: true})
}

// Note is a row of notes, without the columns that the database fills in.
type Note struct {
	ID   int64
	Text string
}

// Notes keeps notes. It is safe for concurrent use.
type Notes struct{ db *gorm.DB }

// New returns the notes of db.
func New(db *gorm.DB) *Notes { return &Notes{db} }

// Add adds a note. Without WithContext it would be outside of the context's transaction.
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
