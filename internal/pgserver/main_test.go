package pgserver_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe/internal/pgserver"
	"github.com/pgsafe/pgsafe/internal/pgtest"
)

// helperEnv turns the test binary into a program that starts a server, reports it, and stops it when its
// standard input ends.
const helperEnv = "PGSERVER_TEST_HELPER"

func TestMain(m *testing.M) {
	if os.Getenv(helperEnv) != "" {
		if err := helper(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	pgtest.Main(m)
}

// about is the helper's report on its server.
type about struct {
	Pid     int
	DataDir string
	URI     string
}

func helper() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := pgserver.Start(ctx, pgserver.Options{})
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(about{s.Pid(), s.DataDir(), s.URI("")}); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	return s.Stop(pgserver.Immediate)
}

// start starts a server that the test stops, if it did not do so itself.
func start(t *testing.T, opts pgserver.Options) *pgserver.Server {
	t.Helper()
	s, err := pgserver.Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the server's log:\n%s", s.Log())
		}
		if err := s.Stop(pgserver.Immediate); err != nil {
			t.Errorf("Stop: %v", err)
		}
	})
	return s
}

// ask connects to uri and returns the first column of what sql yields.
func ask[T any](t *testing.T, uri, sql string) T {
	t.Helper()
	got, err := tryAsk[T](t, uri, sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return got
}

func tryAsk[T any](t *testing.T, uri, sql string) (got T, err error) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), uri)
	if err != nil {
		return got, err
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	return got, conn.QueryRow(t.Context(), sql).Scan(&got)
}

func run(t *testing.T, uri, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), uri)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}
