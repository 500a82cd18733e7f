package pgtest_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe/internal/pgtest"
)

func TestProxy(t *testing.T) {
	for name, c := range map[string]*pgtest.Cluster{
		"a plain server": pgtest.Shared(t), "a server with a password": pgtest.SharedTLS(t),
	} {
		t.Run("a proxy counts round trips and messages of "+name, func(t *testing.T) {
			p := pgtest.NewProxy(t, c)
			conn := connect(t, p.URI(""))
			if p.Connections() != 1 || p.RoundTrips() != 0 {
				t.Errorf("after connecting: %d connections, %d round trips", p.Connections(), p.RoundTrips())
			}
			for _, step := range []struct {
				what       string
				do         func(ctx context.Context) error
				roundTrips int64
				messages   map[byte]int64
			}{
				{"a simple query", func(ctx context.Context) error {
					_, err := conn.Exec(ctx, "SELECT 1", pgx.QueryExecModeSimpleProtocol)
					return err
				}, 1, map[byte]int64{'Q': 1}},
				{"an extended query for the first time", func(ctx context.Context) error {
					_, err := conn.Exec(ctx, "SELECT $1::int", 1)
					return err
				}, 2, map[byte]int64{'P': 1, 'D': 1, 'B': 1, 'E': 1, 'S': 2}},
				{"and again", func(ctx context.Context) error {
					_, err := conn.Exec(ctx, "SELECT $1::int", 2)
					return err
				}, 1, map[byte]int64{'B': 1, 'E': 1, 'S': 1}},
				{"a message larger than a read", func(ctx context.Context) error {
					_, err := conn.Exec(ctx, "SELECT 1 -- "+string(make123(200_000)), pgx.QueryExecModeSimpleProtocol)
					return err
				}, 1, map[byte]int64{'Q': 1}},
			} {
				p.Reset()
				if err := step.do(t.Context()); err != nil {
					t.Fatalf("%s: %v", step.what, err)
				}
				if got := p.RoundTrips(); got != step.roundTrips {
					t.Errorf("%s: %d round trips, want %d", step.what, got, step.roundTrips)
				}
				if got := p.Messages(); !maps.Equal(got, step.messages) {
					t.Errorf("%s: messages %v, want %v", step.what, got, step.messages)
				}
			}
		})
	}

	c := pgtest.Shared(t)

	t.Run("a proxy forwards cancel requests and counts them separately", func(t *testing.T) {
		p := pgtest.NewProxy(t, c)
		conn := connect(t, p.URI(""))
		done := make(chan error, 1)
		go func() {
			_, err := conn.Exec(context.WithoutCancel(t.Context()), "SELECT pg_sleep(600)")
			done <- err
		}()
		pgtest.Eventually(t, "the statement runs", func() bool {
			return get[bool](t, c.Admin(t), "SELECT state = 'active' AND query LIKE '%pg_sleep(600)%' "+
				"FROM pg_stat_activity WHERE pid = $1", conn.PgConn().PID())
		})
		if err := conn.PgConn().CancelRequest(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err == nil {
			t.Error("the statement was not cancelled")
		}
		if p.Cancels() != 1 || p.Connections() != 1 {
			t.Errorf("%d cancel requests, %d connections", p.Cancels(), p.Connections())
		}
	})

	t.Run("a proxy refuses TLS and continues without it", func(t *testing.T) {
		p := pgtest.NewProxy(t, pgtest.SharedTLS(t))
		cfg, err := pgx.ParseConfig(p.URI(""))
		if err != nil {
			t.Fatal(err)
		}
		prefer, err := pgx.ParseConfig(p.URI("")[:len(p.URI(""))-len("disable")] + "prefer")
		if err != nil {
			t.Fatal(err)
		}
		cfg.TLSConfig, cfg.Fallbacks = prefer.TLSConfig, prefer.Fallbacks
		conn, err := pgx.ConnectConfig(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer closed(t, conn)
		if get[bool](t, conn, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") {
			t.Error("TLS")
		}
	})

	t.Run("a hanging proxy sends nothing", func(t *testing.T) {
		p := pgtest.NewProxy(t, c)
		open := connect(t, p.URI(""))
		p.Hang()
		p.Hang()
		for name, try := range map[string]func(ctx context.Context) error{
			"an open connection": func(ctx context.Context) error { return open.Ping(ctx) },
			"a new connection": func(ctx context.Context) error {
				_, err := pgx.Connect(ctx, p.URI(""))
				return err
			},
		} {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			if err := try(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v", name, err)
			}
			cancel()
		}
		p.Flow()
		p.Flow()
		connect(t, p.URI(""))
	})

	t.Run("a proxy delivers the data that it held back", func(t *testing.T) {
		p := pgtest.NewProxy(t, c)
		conn := connect(t, p.URI(""))
		p.Reset()
		p.Hang()
		done := make(chan error, 1)
		go func() { done <- conn.Ping(context.WithoutCancel(t.Context())) }()
		pgtest.Eventually(t, "the query is on its way", func() bool { return p.RoundTrips() == 1 })
		p.Flow()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})

	t.Run("a proxy cuts connections and accepts new ones", func(t *testing.T) {
		p := pgtest.NewProxy(t, c)
		conn := connect(t, p.URI(""))
		p.Cut()
		if err := conn.Ping(t.Context()); err == nil {
			t.Error("the connection lives")
		}
		connect(t, p.URI(""))
	})

	t.Run("a proxy ends connections with a reset", func(t *testing.T) {
		p := pgtest.NewProxy(t, c)
		conn := connect(t, p.URI(""))
		p.Abort()
		if err := conn.Ping(t.Context()); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
			t.Errorf("the connection ended with %v", err)
		}
	})

	for name, where := range map[string]pgtest.Direction{
		"to the server": pgtest.ToServer, "to the client": pgtest.ToClient, "both ways": pgtest.ToServer | pgtest.ToClient,
	} {
		t.Run("a proxy loses the data sent "+name+" on open connections", func(t *testing.T) {
			p := pgtest.NewProxy(t, c)
			conn := connect(t, p.URI(""))
			p.Lose(where)
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			if err := conn.Ping(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the connection answered: %v", err)
			}
			if err := connect(t, p.URI("")).Ping(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}

	t.Run("a proxy forwards everything late and in pieces", func(t *testing.T) {
		p := pgtest.NewProxy(t, c)
		p.Drip(1)
		p.Delay(time.Millisecond)
		conn := connect(t, p.URI(""))
		if got := get[int](t, conn, "SELECT length($1::text)", string(make123(10_000))); got != 10_000 {
			t.Errorf("%d characters arrived", got)
		}
		equalOpen(t, p, 1)
		closed(t, conn)
		equalOpen(t, p, 0)
	})

	t.Run("a hanging proxy can be closed", func(t *testing.T) {
		p := pgtest.NewProxy(t, c)
		connect(t, p.URI(""))
		p.Hang()
	})
}

func equalOpen(t *testing.T, p *pgtest.Proxy, want int) {
	t.Helper()
	pgtest.Eventually(t, "clients hold as many connections as they should", func() bool { return p.Open() == want })
}

func TestSilence(t *testing.T) {
	s := pgtest.NewSilence(t)
	var conns []net.Conn
	for range 3 {
		conn, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", s.Port()))
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	pgtest.Eventually(t, "they are open", func() bool { return s.Open() == 3 })
	for _, conn := range conns {
		_ = conn.Close()
	}
	pgtest.Eventually(t, "none is open", func() bool { return s.Open() == 0 })
	if all, atOnce := s.Accepted(); all != 3 || atOnce != 3 {
		t.Errorf("%d connections, %d at once", all, atOnce)
	}
}

func make123(n int) []byte {
	text := make([]byte, n)
	for i := range text {
		text[i] = "123"[i%3]
	}
	return text
}
