package main

import (
	"context"
	"database/sql"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/pgsafe/pgsafe/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestNotes(t *testing.T) {
	db, err := sql.Open("pgsafe", pgtest.Shared(t).Database(t))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := prepare(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler(db))
	defer server.Close()
	for _, step := range []struct {
		name, method, body string
		status             int
		answer             string
	}{
		{"the list of notes is empty at first", "GET", "", 200, "[]"},
		{"a note is added", "POST", "milk", 201, ""},
		{"the same note is a conflict", "POST", "milk", 409, "Conflict"},
		{"a long note is refused", "POST", strings.Repeat("x", 2000), 413, "a note has at most 1,024 bytes"},
		{"a note is listed", "GET", "", 200, `["milk"]`},
	} {
		t.Run(step.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), step.method, server.URL+"/notes", strings.NewReader(step.body))
			if err != nil {
				t.Fatal(err)
			}
			res, err := server.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			answer, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != step.status || strings.TrimSpace(string(answer)) != step.answer {
				t.Errorf("got %d %s", res.StatusCode, answer)
			}
		})
	}
	t.Run("a full or absent database gives status 503", func(t *testing.T) {
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		gone, err := sql.Open("pgsafe", "host=127.0.0.1 dbname=d user=u sslmode=disable port="+port(t))
		if err != nil {
			t.Fatal(err)
		}
		defer gone.Close()
		w := httptest.NewRecorder()
		handler(gone).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/notes", nil))
		if w.Code != http.StatusServiceUnavailable {
			t.Errorf("got %d", w.Code)
		}
	})
}

func TestRun(t *testing.T) {
	t.Run("a bad connection string ends the server at once", func(t *testing.T) {
		if err := run(context.Background(), "postgres://h:port/", "127.0.0.1:0"); err == nil {
			t.Error("no error")
		}
	})
	t.Run("the server ends with its context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cluster := pgtest.Shared(t)
		done := make(chan error)
		go func() { done <- run(ctx, cluster.Database(t), "127.0.0.1:0") }()
		cancel()
		<-done // nil, or that the table could not be made in time
	})
}

func port(t *testing.T) string { return strconv.Itoa(pgtest.ClosedPort(t)) }
