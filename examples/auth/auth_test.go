package auth_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/examples/auth"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const schema = `CREATE TABLE logins (name text PRIMARY KEY, salt bytea NOT NULL, key bytea NOT NULL,
	granted int NOT NULL DEFAULT 0, denied int NOT NULL DEFAULT 0)`

func TestLogins(t *testing.T) {
	uri := pgtest.Shared(t).Database(t)
	app, err := pgsafe.Open(uri, pgsafe.WithProfile(pgsafe.Profile{MaxConns: 1}))
	check.OK(t, err)
	defer func() { _ = app.Close() }()
	_, err = app.ExecContext(t.Context(), schema)
	check.OK(t, err)
	profile := pgsafe.AuthProfile()
	profile.MaxConns, profile.MinIdleConns = 1, 0
	logins, err := auth.Open(uri, profile)
	check.OK(t, err)
	defer func() { _ = logins.Close() }()
	check.OK(t, logins.Add(t.Context(), "ann", "p@ss[word"))

	handler := logins.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	status := func(user, password string) int {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.SetBasicAuth(user, password)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w.Code
	}
	t.Run("the right password is let in, and others are not, while the application's own pool is full", func(t *testing.T) {
		tx, err := app.BeginTx(t.Context(), nil)
		check.OK(t, err)
		defer func() { _ = tx.Rollback() }()
		check.Equal(t, status("ann", "p@ss[word"), 200)
		check.Equal(t, status("ann", "password"), 401)
		check.Equal(t, status("bob", "p@ss[word"), 401)
	})
	t.Run("each attempt is counted", func(t *testing.T) {
		var granted, denied int
		check.OK(t, app.QueryRowContext(t.Context(), "SELECT granted, denied FROM logins").Scan(&granted, &denied))
		check.Equal(t, granted, 1)
		check.Equal(t, denied, 1)
	})
	t.Run("too many at once are told to try again, and soon", func(t *testing.T) {
		tx, err := app.BeginTx(t.Context(), nil)
		check.OK(t, err)
		_, err = tx.ExecContext(t.Context(), "SELECT FROM logins FOR UPDATE")
		check.OK(t, err)
		first := make(chan int)
		go func() { first <- status("ann", "p@ss[word") }() // waits for the row, and has the only connection
		pgtest.Eventually(t, "it waits", func() (waits bool) {
			check.OK(t, tx.QueryRowContext(t.Context(), "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)").Scan(&waits))
			return waits
		})
		check.Equal(t, status("ann", "p@ss[word"), 503)
		check.OK(t, tx.Rollback())
		check.Equal(t, <-first, 200)
	})
}
