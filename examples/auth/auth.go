// Package auth logs users in. It has a separate pool with the profile auth: few connections, waits
// of at most two seconds, and a reset after each use. So logins work while the application's pool
// is full, and a storm of logins takes no connection from the application. No session state of one
// login reaches the next.
package auth

import (
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"database/sql"
	"errors"
	"net/http"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/session"
)

// ErrDenied is returned by Check if there is no such user, or the password is another.
var ErrDenied = errors.New("auth: no such user, or another password")

const (
	iterations = 100_000
	keyBytes   = 32
)

// Logins are the users and their passwords. They are safe for concurrent use.
type Logins struct{ db *sql.DB }

// Open opens a pool, with pgsafe.AuthProfile() or a profile like it.
func Open(dsn string, profile pgsafe.Profile) (*Logins, error) {
	db, err := pgsafe.Open(dsn, pgsafe.WithProfile(profile))
	if err != nil {
		return nil, err
	}
	return &Logins{db}, nil
}

// Close closes the pool.
func (l *Logins) Close() error { return l.db.Close() }

// Add adds a user.
func (l *Logins) Add(ctx context.Context, user, password string) error {
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // it never fails
	key, err := pbkdf2.Key(sha256.New, password, salt, iterations, keyBytes)
	if err != nil {
		return err
	}
	_, err = l.db.ExecContext(ctx, "INSERT INTO logins (name, salt, key) VALUES ($1, $2, $3)", user, salt, key)
	return err
}

// Check returns nil if the password is the user's, and ErrDenied if not. It counts both outcomes in
// the transaction that reads the password, so that each of many attempts at once is counted.
func (l *Logins) Check(ctx context.Context, user, password string) error {
	var denied error
	err := session.Tx(ctx, l.db, nil, func(ctx context.Context) error {
		var salt, want []byte
		row := l.db.QueryRowContext(ctx, "SELECT salt, key FROM logins WHERE name = $1 FOR UPDATE", user)
		if err := row.Scan(&salt, &want); errors.Is(err, sql.ErrNoRows) {
			denied = ErrDenied
			return nil
		} else if err != nil {
			return err
		}
		key, err := pbkdf2.Key(sha256.New, password, salt, iterations, keyBytes)
		if err != nil {
			return err
		}
		column := "granted"
		if subtle.ConstantTimeCompare(key, want) == 0 {
			column, denied = "denied", ErrDenied
		}
		_, err = l.db.ExecContext(ctx, "UPDATE logins SET "+column+" = "+column+" + 1 WHERE name = $1", user)
		return err
	})
	return errors.Join(err, denied)
}

// Middleware lets requests pass that have a user and the password (RFC 7617). It answers 401 to
// others, and 503 when too many want to log in at once.
func (l *Logins) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		err := l.Check(r.Context(), user, password)
		switch {
		case err == nil:
			next.ServeHTTP(w, r)
		case pgsafe.KindOf(err) == pgsafe.KindPoolExhausted, pgsafe.KindOf(err) == pgsafe.KindUnavailable:
			w.Header().Set("Retry-After", "2")
			http.Error(w, "try again", http.StatusServiceUnavailable)
		case errors.Is(err, ErrDenied):
			w.Header().Set("WWW-Authenticate", `Basic realm="notes"`)
			http.Error(w, "who are you?", http.StatusUnauthorized)
		default:
			http.Error(w, "something is wrong", http.StatusInternalServerError)
		}
	})
}
