package gorm_test

import (
	"context"
	"errors"
	"testing"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	notes "github.com/pgsafe/pgsafe/examples/gorm"
	"github.com/pgsafe/pgsafe/examples/internal/fit"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/session"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestNotes(t *testing.T) {
	db := fit.Open(t)
	fit.Check(t, db, notes.New(wrap(t, db)))
}

func TestGorm(t *testing.T) {
	t.Run("it finds the *sql.DB", func(t *testing.T) {
		db := fit.Open(t)
		if found, err := wrap(t, db).DB(); found != db.Unwrap() || err != nil {
			t.Errorf("got %p, %v", found, err)
		}
	})
	t.Run("statements that gorm prepares are refused", func(t *testing.T) {
		if _, err := notes.Open(fit.Open(t), &gorm.Config{PrepareStmt: true}); err == nil {
			t.Error("no error")
		}
	})
	t.Run("it migrates", func(t *testing.T) {
		type Thing struct {
			ID   int64
			Name string `gorm:"uniqueIndex"`
		}
		db := wrap(t, fit.Open(t))
		for range 2 { // the second time it looks at what is there
			check.OK(t, db.AutoMigrate(&Thing{}))
		}
		check.OK(t, db.Create(&Thing{Name: "one"}).Error)
		if err := db.Create(&Thing{Name: "one"}).Error; !errors.Is(err, gorm.ErrDuplicatedKey) {
			t.Errorf("the error is %v", err)
		}
	})
	t.Run("without the pool of this package its own transactions are refused within Tx", func(t *testing.T) {
		db := fit.Open(t)
		plain := open(t, db)
		err := db.Tx(t.Context(), nil, func(ctx context.Context) error { return notes.New(plain).Add(ctx, "one") })
		if !errors.Is(err, session.ErrNested) {
			t.Errorf("the error is %v", err)
		}
		check.OK(t, db.Tx(t.Context(), nil, func(ctx context.Context) error {
			return notes.New(plain.Session(&gorm.Session{SkipDefaultTransaction: true})).Add(ctx, "one")
		}))
	})
}

func TestTenants(t *testing.T) {
	t.Run("existing code on a plain *sql.DB keeps them apart", func(t *testing.T) {
		tenants := fit.NewTenants(t)
		tenants.Check(t, notes.New(open(t, tenants.DB)), fit.Bare)
	})
	t.Run("so does code in sessions", func(t *testing.T) {
		tenants := fit.NewTenants(t)
		db := session.Wrap(tenants.DB)
		tenants.Check(t, notes.New(wrap(t, db)), fit.Scopes(db)...)
	})
}

func wrap(t *testing.T, db *session.DB) *gorm.DB {
	t.Helper()
	g, err := notes.Open(db, config())
	check.OK(t, err)
	return g
}

// open gives gorm what it runs on as it is.
func open(t *testing.T, conn gorm.ConnPool) *gorm.DB {
	t.Helper()
	g, err := gorm.Open(postgres.New(postgres.Config{Conn: conn}), config())
	check.OK(t, err)
	return g
}

func config() *gorm.Config { return &gorm.Config{Logger: logger.Discard, TranslateError: true} }
