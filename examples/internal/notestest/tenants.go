package notestest

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/session"
)

// Tenants is a database with the notes of two tenants, "1" and "2": each of their texts is the
// tenant it belongs to.
type Tenants struct {
	DB    *sql.DB // four connections of a user that sees the notes of app.tenant only
	owner *sql.DB
	user  string
}

// tenantsFor is a flag, so that `go test -race ./gorm -run Tenants -tenants 60s` works longer.
var tenantsFor = flag.Duration("tenants", 500*time.Millisecond, "for how long TestTenants works")

// NewTenants makes a database for the test.
func NewTenants(t *testing.T) *Tenants {
	t.Helper()
	uri := pgtest.Shared(t).Database(t)
	owner := OpenAt(t, uri)
	user := fmt.Sprintf("app_%d", rand.Uint64())
	for _, statements := range []string{
		schema,
		"INSERT INTO notes (text, tenant) SELECT n::text, n FROM generate_series(1, 2) n, generate_series(1, 10)",
		"CREATE ROLE " + user + " LOGIN PASSWORD 'app'",
		"GRANT SELECT, INSERT ON notes TO " + user,
	} {
		_, err := owner.ExecContext(t.Context(), statements)
		check.OK(t, err)
	}
	t.Cleanup(func() {
		_, err := owner.Exec("DROP OWNED BY " + user + "; DROP ROLE " + user)
		check.OK(t, err)
	})
	u, err := url.Parse(uri)
	check.OK(t, err)
	u.User = url.UserPassword(user, "app")
	query := u.Query()
	query.Set("pool_max_conns", "4")
	u.RawQuery = query.Encode()
	return &Tenants{OpenAt(t, u.String()), owner, user}
}

// scope calls f in no session, in a session, or in a transaction.
type scope func(ctx context.Context, db *sql.DB, f func(ctx context.Context) error) error

var scopes = []scope{
	func(ctx context.Context, _ *sql.DB, f func(ctx context.Context) error) error { return f(ctx) },
	func(ctx context.Context, db *sql.DB, f func(ctx context.Context) error) error {
		return session.Do(ctx, db, f)
	},
	func(ctx context.Context, db *sql.DB, f func(ctx context.Context) error) error {
		return session.Tx(ctx, db, nil, f)
	},
}

// Check has 16 goroutines read and write notes for both tenants and without a tenant, in sessions,
// in transactions and in neither. Contexts end, backends are terminated and calls panic at random, and
// some leave another tenant set in the server's session. It checks that no call ever reads a note of
// another tenant.
func (d *Tenants) Check(t *testing.T, notes Notes) {
	t.Helper()
	c := &tenantCode{db: d.DB, notes: notes}
	errs := make([]error, 16)
	ctx, cancel := context.WithTimeout(t.Context(), *tenantsFor)
	defer cancel()
	var wg sync.WaitGroup
	for worker := range errs {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(worker)))
			for ctx.Err() == nil && errs[worker] == nil {
				errs[worker] = c.once(t.Context(), rnd)
			}
		})
	}
	d.terminate(ctx, t)
	wg.Wait()
	check.OK(t, errors.Join(errs...))
	t.Logf("%d notes read, %d of them of others; %d calls succeeded, %d were ended by their contexts, %d by the end of "+
		"their backends, %d panicked", c.seen.Load(), c.strangers.Load(), c.succeeded.Load(), c.ended.Load(),
		c.lost.Load(), c.panicked.Load())
	if misplaced := d.misplaced(t); c.strangers.Load() > 0 || misplaced > 0 {
		t.Errorf("%d notes of others were read, and %d written for others", c.strangers.Load(), misplaced)
	}
	if c.seen.Load() == 0 || c.succeeded.Load() == 0 || c.ended.Load() == 0 {
		t.Error("nothing was read, or nothing was ended: the test shows nothing")
	}
	AllReleased(t, d.DB)
}

// terminate ends a backend of the user every 50 ms, until ctx ends.
func (d *Tenants) terminate(ctx context.Context, t *testing.T) {
	t.Helper()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		_, err := d.owner.ExecContext(t.Context(), `SELECT pg_terminate_backend(pid) FROM (
			SELECT pid FROM pg_stat_activity WHERE usename = $1 ORDER BY random() LIMIT 1) AS one`, d.user)
		check.OK(t, err)
	}
}

// misplaced counts the notes whose tenant is not their writer's.
func (d *Tenants) misplaced(t *testing.T) int {
	t.Helper()
	var n int
	check.OK(t, d.owner.QueryRowContext(t.Context(), "SELECT count(*) FROM notes WHERE text <> tenant::text").Scan(&n))
	return n
}

type tenantCode struct {
	db    *sql.DB
	notes Notes

	seen, strangers                  atomic.Int64 // notes
	succeeded, ended, lost, panicked atomic.Int64 // calls
}

// errPanicked stands for a panic of a call.
var errPanicked = errors.New("the call has panicked")

// once makes one call, and returns the error that should not be.
func (c *tenantCode) once(ctx context.Context, rnd *rand.Rand) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	tenant := rnd.IntN(3) // 0 is no tenant
	if tenant > 0 {
		ctx = session.WithSettings(ctx, map[string]string{"app.tenant": strconv.Itoa(tenant)})
	}
	if rnd.IntN(3) == 0 {
		timer := time.AfterFunc(rand.N(2*time.Millisecond), cancel)
		defer timer.Stop()
	}
	scope, way, panics := scopes[rnd.IntN(len(scopes))], rnd.IntN(4), rnd.IntN(10) == 0
	err := recovered(func() error {
		return scope(ctx, c.db, func(ctx context.Context) error {
			err := c.call(ctx, way, strconv.Itoa(tenant))
			if panics {
				panic(errPanicked)
			}
			return err
		})
	})
	switch {
	case err == nil:
		c.succeeded.Add(1)
	case errors.Is(err, errPanicked):
		c.panicked.Add(1)
	case isLost(err):
		c.lost.Add(1)
	case ctx.Err() != nil:
		c.ended.Add(1)
	case tenant == 0 && pgsafe.SQLState(err) == "42501": // a note without a tenant violates the policy
	default:
		return err
	}
	return nil
}

// recovered turns a panic of f into its error.
func recovered(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errPanicked
		}
	}()
	return f()
}

// isLost reports whether the connection of a call is gone.
func isLost(err error) bool {
	kind := pgsafe.KindOf(err)
	return errors.Is(err, session.ErrLost) || kind == pgsafe.KindUnavailable || kind == pgsafe.KindCommitUnknown
}

func (c *tenantCode) call(ctx context.Context, way int, tenant string) error {
	switch way {
	case 0:
		return c.notes.Add(ctx, tenant)
	case 1:
		return c.notes.AddAll(ctx, tenant, tenant)
	case 2: // a function, say, leaves another tenant in the session
		_, err := c.db.ExecContext(ctx, "SELECT set_config('app.' || 'tenant', '2', false) WHERE $1", true)
		return err
	}
	texts, err := c.notes.List(ctx)
	if err != nil {
		// What was read before it counts. gorm appends one without a text for the row that failed
		// (scan.go, Scan).
		texts = slices.DeleteFunc(texts, func(text string) bool { return text == "" })
	}
	for _, text := range texts {
		c.seen.Add(1)
		if text != tenant {
			c.strangers.Add(1)
		}
	}
	return err
}
