package session

import (
	"context"
	"database/sql"
	"net/http"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/scope"
)

// Middleware returns a function that wraps a handler so that each request runs in a session of db. The
// ResponseWriter is passed on as it is, so the handler can stream and hijack the connection. The session
// ends when ServeHTTP does. Middleware panics with ErrForeign if db is not of the pgsafe driver.
func Middleware(db *sql.DB, opts ...Option) func(http.Handler) http.Handler {
	if _, err := homeOf(db); err != nil {
		panic(err)
	}
	o := newOptions(opts)
	return wrap(o, func() *scope.Home {
		home, _ := homeOf(db) // it moves a limit that was set meanwhile
		return home
	})
}

// MiddlewareOn is Middleware for a *sql.DB whose Connector a layer hides: c is that Connector.
func MiddlewareOn(c *pgsafe.Connector, opts ...Option) func(http.Handler) http.Handler {
	home, err := homeOn(c)
	if err != nil {
		panic(err)
	}
	return wrap(newOptions(opts), func() *scope.Home { return home })
}

func wrap(o options, home func() *scope.Home) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_ = do(r.Context(), home(), o, func(ctx context.Context) error {
				next.ServeHTTP(w, r.WithContext(ctx))
				return nil
			})
		})
	}
}
