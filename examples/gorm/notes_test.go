package gorm_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/pgsafe/pgsafe"
	notes "github.com/pgsafe/pgsafe/examples/gorm"
	"github.com/pgsafe/pgsafe/examples/internal/notestest"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/scope"
	"github.com/pgsafe/pgsafe/session"
)

// gorm's cache of prepared statements has a goroutine that never ends (internal/lru/lru.go, NewLRU).
func TestMain(m *testing.M) {
	pgtest.Main(m, goleak.IgnoreAnyFunction("gorm.io/gorm/internal/lru.NewLRU[...].func1"))
}

// configs are the settings of gorm that change how it runs a statement.
var configs = map[string]gorm.Config{
	"its defaults":                              {},
	"SkipDefaultTransaction":                    {SkipDefaultTransaction: true},
	"PrepareStmt":                               {PrepareStmt: true},
	"PrepareStmt and SkipDefaultTransaction":    {PrepareStmt: true, SkipDefaultTransaction: true},
	"DisableNestedTransaction and its defaults": {DisableNestedTransaction: true},
}

func TestNotes(t *testing.T) {
	for name, config := range configs {
		t.Run("gorm with "+name+" on the application's *sql.DB", func(t *testing.T) {
			notestest.Check(t, func(db *sql.DB) notestest.Notes {
				return notes.New(open(t, postgres.Config{Conn: db}, config))
			})
		})
		t.Run("gorm with "+name+" that opens the *sql.DB by the driver's name", func(t *testing.T) {
			g := open(t, postgres.Config{DriverName: pgsafe.DriverName, DSN: notestest.NewDatabase(t)}, config)
			db, err := g.DB()
			check.OK(t, err)
			defer db.Close()
			notestest.CheckOn(t, db, notes.New(g))
		})
	}
	t.Run("gorm as this example opens it", func(t *testing.T) {
		notestest.Check(t, func(db *sql.DB) notestest.Notes {
			g, err := notes.Open(db)
			check.OK(t, err)
			g.Logger = logger.Discard
			return notes.New(g)
		})
	})
}

func TestSavepoints(t *testing.T) {
	for name, want := range map[string]int{"its defaults": 2, "SkipDefaultTransaction": 0} {
		t.Run("two creates within a transaction of gorm with "+name, func(t *testing.T) {
			db := notestest.Open(t)
			n := notes.New(open(t, postgres.Config{Conn: db}, configs[name]))
			check.OK(t, session.Tx(t.Context(), db, nil, func(ctx context.Context) error {
				check.OK(t, n.Add(ctx, "one"))
				check.OK(t, n.Add(ctx, "two"))
				var ids int // of rows that another subtransaction than the transaction itself wrote
				row := db.QueryRowContext(ctx, "SELECT count(DISTINCT xmin::text) FROM notes WHERE xmin <> pg_current_xact_id()::xid")
				check.OK(t, row.Scan(&ids))
				check.Equal(t, ids, want)
				return nil
			}))
		})
	}
}

func TestOutside(t *testing.T) {
	undone := func(t *testing.T, db *sql.DB, f func(ctx context.Context)) {
		t.Helper()
		notestest.IsError(t, session.Tx(t.Context(), db, nil, func(ctx context.Context) error {
			f(ctx)
			return notestest.ErrUndo
		}), notestest.ErrUndo)
	}
	t.Run("gorm without WithContext is outside the transaction", func(t *testing.T) {
		db := notestest.Open(t)
		g := open(t, postgres.Config{Conn: db}, gorm.Config{})
		undone(t, db, func(context.Context) { check.OK(t, g.Create(&notes.Note{Text: "outside"}).Error) })
		notestest.Listed(t, t.Context(), notes.New(g), "outside")
	})
	t.Run("gorm that opens another *sql.DB is outside the transaction", func(t *testing.T) {
		uri := notestest.NewDatabase(t)
		g := open(t, postgres.Config{DSN: uri}, gorm.Config{})
		other, err := g.DB()
		check.OK(t, err)
		defer other.Close()
		undone(t, notestest.OpenAt(t, uri), func(ctx context.Context) { check.OK(t, notes.New(g).Add(ctx, "outside")) })
		notestest.Listed(t, t.Context(), notes.New(g), "outside")
	})
	t.Run("plain code within gorm's own transaction is outside of it where there is no session.Tx", func(t *testing.T) {
		db := notestest.Open(t)
		g := open(t, postgres.Config{Conn: db}, gorm.Config{})
		notestest.IsError(t, g.WithContext(t.Context()).Transaction(func(tx *gorm.DB) error {
			_, err := db.ExecContext(tx.Statement.Context, "INSERT INTO notes (text) VALUES ('outside')")
			check.OK(t, err)
			return notestest.ErrUndo
		}), notestest.ErrUndo)
		notestest.Listed(t, t.Context(), notes.New(g), "outside")
	})
	t.Run("plain code within gorm's own transaction, itself in session.Tx, waits for it in vain", func(t *testing.T) {
		before := scope.BusyTimeout
		scope.BusyTimeout = 20 * time.Millisecond
		defer func() { scope.BusyTimeout = before }()
		db := notestest.Open(t)
		g := open(t, postgres.Config{Conn: db}, gorm.Config{})
		undone(t, db, func(ctx context.Context) {
			check.OK(t, g.WithContext(ctx).Transaction(func(*gorm.DB) error {
				notestest.IsError(t, notes.New(g).Add(ctx, "one"), session.ErrBusy)
				return nil
			}))
		})
	})
}

func TestMigrate(t *testing.T) {
	t.Run("gorm's migration of a schema is rolled back with its transaction", func(t *testing.T) {
		type Thing struct {
			ID   int64
			Name string `gorm:"uniqueIndex"`
		}
		db := notestest.Open(t)
		g := open(t, postgres.Config{Conn: db}, gorm.Config{TranslateError: true})
		notestest.IsError(t, session.Tx(t.Context(), db, nil, func(ctx context.Context) error {
			g := g.WithContext(ctx)
			for range 2 { // the second time it looks at what is there
				check.OK(t, g.AutoMigrate(&Thing{}))
			}
			check.OK(t, g.Create(&Thing{Name: "one"}).Error)
			if err := g.Create(&Thing{Name: "one"}).Error; !errors.Is(err, gorm.ErrDuplicatedKey) {
				t.Errorf("the error is %v", err)
			}
			return notestest.ErrUndo
		}), notestest.ErrUndo)
		check.Equal(t, g.Migrator().HasTable(&Thing{}), false)
	})
}

func TestTenants(t *testing.T) {
	t.Run("row-level security follows the context through gorm", func(t *testing.T) {
		tenants := notestest.NewTenants(t)
		tenants.Check(t, notes.New(open(t, postgres.Config{Conn: tenants.DB}, gorm.Config{})))
	})
}

func open(t *testing.T, how postgres.Config, config gorm.Config) *gorm.DB {
	t.Helper()
	config.Logger = logger.Discard
	g, err := gorm.Open(postgres.New(how), &config)
	check.OK(t, err)
	return g
}
