// Command http is a service on net/http and database/sql: it keeps a list of notes. All of pgsafe
// that it names is the driver, the kinds of errors, and the middleware that makes each request a
// session.
//
//	DATABASE_URL='postgres://app:p@ss[word@localhost/notes' go run ./examples/http
//	curl -d 'milk' localhost:8080/notes
//	curl localhost:8080/notes
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/session"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Getenv("DATABASE_URL"), "localhost:8080")
	stop()
	if err != nil {
		log.Fatal(err)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, dsn, address string) error {
	db, err := sql.Open("pgsafe", dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := prepare(ctx, db); err != nil {
		return err
	}
	server := &http.Server{Addr: address, Handler: handler(db), ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() {
		if err := server.Shutdown(context.WithoutCancel(ctx)); err != nil {
			log.Print(err)
		}
	})
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func prepare(ctx context.Context, db *sql.DB) error {
	_, err := db.ExecContext(ctx, "create table if not exists notes (text text primary key)")
	return err
}

func handler(db *sql.DB) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /notes", func(w http.ResponseWriter, r *http.Request) {
		notes, err := list(r.Context(), db)
		if err != nil {
			fail(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(notes); err != nil {
			log.Print(err)
		}
	})
	mux.HandleFunc("POST /notes", func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<10))
		if err != nil {
			http.Error(w, "a note has at most 1,024 bytes", http.StatusRequestEntityTooLarge)
			return
		}
		if _, err := db.ExecContext(r.Context(), "insert into notes values ($1)", string(text)); err != nil {
			fail(w, err)
			return
		}
		w.WriteHeader(http.StatusCreated)
	})
	return session.Middleware(db)(mux)
}

func list(ctx context.Context, db *sql.DB) ([]string, error) {
	rows, err := db.QueryContext(ctx, "select text from notes order by text")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	notes := []string{}
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		notes = append(notes, text)
	}
	return notes, rows.Err()
}

// fail answers with the status that the kind of the error calls for, and keeps the error itself to
// the log.
func fail(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	switch kind := pgsafe.KindOf(err); {
	case kind == pgsafe.KindUnique:
		status = http.StatusConflict
	case kind.Transient():
		status = http.StatusServiceUnavailable
	}
	log.Print(err)
	http.Error(w, http.StatusText(status), status)
}
