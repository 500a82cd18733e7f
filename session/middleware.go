package session

import (
	"context"
	"net/http"
)

// Middleware runs each request of next in a session. The ResponseWriter is passed on as it is, so that next can stream,
// hijack the connection and whatever else it can do. The session ends when ServeHTTP does.
func (db *DB) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if db.scopeOf(r.Context()) != nil {
			next.ServeHTTP(w, r)
			return
		}
		from := &route{}
		s := db.begin(r.Context())
		s.from = from
		from.request = r.WithContext(&s.ctx)
		_ = s.run(func(context.Context) error {
			next.ServeHTTP(w, from.request)
			return nil
		})
	})
}

// route is what a request's session is called.
type route struct{ request *http.Request }

// begun names the pattern that http.ServeMux has found. The path is not told, it may hold anything.
func (r *route) begun() string {
	if r.request.Pattern != "" {
		return "of " + r.request.Pattern
	}
	return "of a " + r.request.Method + " request"
}
