package canceler_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgsafe/pgsafe/internal/canceler"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/wire"
)

// In a bubble of synctest time stands still while anything runs, so what polls or settles is seen.
func TestWaitForNotification(t *testing.T) {
	t.Run("a wait for a notification ends with its context and without a cancel request", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			conn, _, cancels := pipe(t, time.Hour)
			for range 2 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				began := time.Now()
				err := conn.WaitForNotification(ctx)
				cancel()
				check.Equal(t, errors.Is(err, context.DeadlineExceeded), true)
				check.Equal(t, time.Since(began), time.Second)
				check.Equal(t, conn.IsClosed() || canceler.HandlerOf(conn).Fenced(), false)
			}
			check.Equal(t, cancels.Load(), int64(0))
		})
	})
	for name, says := range map[string][]pgproto3.BackendMessage{
		"a notification comes in one piece with the answer before it": {ready(), notification()},
		"a setting changes after the answer before it": {ready(),
			&pgproto3.ParameterStatus{Name: "TimeZone", Value: "UTC"}},
		"the answer before it is torn from a notification": {
			&pgproto3.CommandComplete{CommandTag: []byte("LISTEN")}, notification(), ready(), notification(),
		},
	} {
		t.Run("a wait for a notification ends with its context although "+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn, server, cancels := pipe(t, time.Hour)
				go server.answer(says...)
				check.OK(t, conn.Exec(t.Context(), "listen c").Close())
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				began := time.Now()
				var err error
				for err == nil {
					err = conn.WaitForNotification(ctx)
				}
				check.Equal(t, errors.Is(err, context.DeadlineExceeded), true)
				check.Equal(t, time.Since(began), time.Second)
				check.Equal(t, cancels.Load(), int64(0))
				check.Equal(t, conn.IsClosed(), false)
			})
		})
	}
	t.Run("a statement after a wait for a notification has no deadline", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			conn, server, _ := pipe(t, time.Second)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			check.Equal(t, errors.Is(conn.WaitForNotification(ctx), context.DeadlineExceeded), true)
			go func() {
				server.read()
				time.Sleep(time.Hour)
				server.say(ready())
			}()
			check.OK(t, conn.Exec(t.Context(), "select 1").Close())
		})
	})
}

func TestAContextThatEndsEarly(t *testing.T) {
	t.Run("a statement whose context ended before it was written is cancelled after it was written", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			conn, server, cancels := pipe(t, time.Hour)
			ctx, cancel := context.WithCancel(t.Context())
			pipeline := conn.StartPipeline(ctx) // it watches its context, and writes nothing yet
			cancel()
			synctest.Wait()
			check.Equal(t, cancels.Load(), int64(0))
			pipeline.SendQueryParams("select 1", nil, nil, nil, nil)
			go func() {
				server.read()
				synctest.Wait()
				check.Equal(t, cancels.Load(), int64(1))
				server.say(queryCanceled(), ready())
			}()
			check.OK(t, pipeline.Sync())
			_, err := pipeline.GetResults()
			check.Equal(t, canceler.IsCanceled(err), true)
			_ = pipeline.Close()
			check.Equal(t, cancels.Load(), int64(1))
			check.Equal(t, conn.IsClosed(), false)
			check.OK(t, clear(conn, server))
		})
	})
	t.Run("a statement whose context ends while it is written is cancelled after it was written", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			conn, server, cancels := pipe(t, time.Hour)
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				_, _ = server.Read(make([]byte, 3)) // pgconn is amidst its write now
				cancel()
				synctest.Wait()
				check.Equal(t, cancels.Load(), int64(0))
				server.read()
				synctest.Wait()
				check.Equal(t, cancels.Load(), int64(1))
				server.say(queryCanceled(), ready())
			}()
			check.Equal(t, canceler.IsCanceled(conn.Exec(ctx, "select 1").Close()), true)
			check.Equal(t, conn.IsClosed(), false)
		})
	})
	t.Run("a statement that the network does not take costs the connection after the timeout", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			conn, _, cancels := pipe(t, time.Minute)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			began := time.Now()
			err := conn.Exec(ctx, "select 1").Close()
			check.Equal(t, errors.Is(err, context.DeadlineExceeded) && conn.IsClosed(), true)
			check.Equal(t, time.Since(began), time.Second+time.Minute)
			check.Equal(t, cancels.Load(), int64(0))
			<-conn.CleanupDone()
		})
	})
}

func TestTurns(t *testing.T) {
	t.Run("a burst of 50 requests that take a second each is under way within a second", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			most, last := burst(t, 50, time.Second)
			check.Equal(t, most, int64(50))
			check.Equal(t, last, 12*50*time.Millisecond) // four of them every 50 ms
		})
	})
	t.Run("a burst of 50 requests that take 10 ms each has four under way at a time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			most, last := burst(t, 50, 10*time.Millisecond)
			check.Equal(t, most, int64(4))
			check.Equal(t, last, 12*10*time.Millisecond)
		})
	})
	t.Run("a statement that is over before the turn of its request sends none", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := canceler.New(time.Hour)
			defer c.Close()
			var sent atomic.Int64
			conns, servers := pipes(t, c, 5, func() {
				sent.Add(1)
				time.Sleep(time.Millisecond)
			})
			ctx, cancel := context.WithCancel(t.Context())
			errs := make(chan error)
			for i, conn := range conns {
				go func() { errs <- conn.Exec(ctx, "select 1").Close() }()
				servers[i].read()
			}
			synctest.Wait()
			cancel()
			synctest.Wait()
			check.Equal(t, sent.Load(), int64(4))
			for _, server := range servers {
				go server.say(queryCanceled(), ready())
			}
			for range conns {
				check.Equal(t, canceler.IsCanceled(<-errs), true)
			}
			check.Equal(t, sent.Load(), int64(4))
		})
	})
	t.Run("a statement from a server that answers nothing returns after the timeout, in a burst soon after",
		func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := canceler.New(time.Second)
				defer c.Close()
				silent := make(chan struct{})
				defer close(silent)
				conns, servers := pipes(t, c, 50, func() { <-silent })
				ctx, cancel := context.WithCancel(t.Context())
				errs := make(chan error)
				for i, conn := range conns {
					go func() { errs <- conn.Exec(ctx, "select 1").Close() }()
					servers[i].read()
				}
				began := time.Now()
				cancel()
				for range conns {
					check.Equal(t, errors.Is(<-errs, context.Canceled), true)
				}
				check.Equal(t, time.Since(began), time.Second+12*50*time.Millisecond)
			})
		})
}

// burst cancels n statements at once whose requests take so long. It returns how many requests
// were under way at a time, and when the last began.
func burst(t *testing.T, n int, each time.Duration) (most int64, last time.Duration) {
	c := canceler.New(time.Hour)
	defer c.Close()
	var mu sync.Mutex
	var now int64
	var began time.Time
	ended := make(chan struct{}, n)
	conns, servers := pipes(t, c, n, func() {
		mu.Lock()
		now++
		most, last = max(most, now), time.Since(began)
		mu.Unlock()
		time.Sleep(each)
		mu.Lock()
		now--
		mu.Unlock()
		ended <- struct{}{}
	})
	ctx, cancel := context.WithCancel(t.Context())
	errs := make(chan error)
	for i, conn := range conns {
		go func() { errs <- conn.Exec(ctx, "select 1").Close() }()
		servers[i].read()
	}
	began = time.Now()
	cancel()
	for range conns {
		<-ended
	}
	for _, server := range servers {
		go server.say(queryCanceled(), ready())
	}
	for range conns {
		check.Equal(t, canceler.IsCanceled(<-errs), true)
	}
	return most, last
}

func TestCause(t *testing.T) {
	t.Run("Cause is the error of the context that a request was sent for, until Clear", func(t *testing.T) {
		c := canceler.New(time.Minute)
		defer c.Close()
		conn := connectAll(t, c, pgtest.Shared(t).URI("postgres"), 1)[0]
		handler := canceler.HandlerOf(conn)
		for _, want := range []error{context.DeadlineExceeded, context.Canceled} {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			if want == context.Canceled {
				ctx, cancel = context.WithCancel(t.Context())
				time.AfterFunc(100*time.Millisecond, cancel)
			}
			check.OK(t, conn.Exec(t.Context(), "begin").Close())
			check.Equal(t, canceler.IsCanceled(conn.Exec(ctx, "select pg_sleep(600)").Close()), true)
			cancel()
			check.Equal(t, handler.Cause(), want)
			check.OK(t, conn.Exec(t.Context(), "rollback").Close())
			check.Equal(t, handler.Cause(), want)
			check.OK(t, handler.Clear())
			check.Equal(t, handler.Cause(), nil)
		}
	})
	t.Run("a connection without a handler has no Cause", func(t *testing.T) {
		var none *canceler.Handler
		check.Equal(t, none.Cause(), nil)
	})
	t.Run("a timeout of the server's is not the Cause", func(t *testing.T) {
		c := canceler.New(time.Minute)
		defer c.Close()
		conn := connectAll(t, c, pgtest.Shared(t).URI("postgres"), 1)[0]
		err := conn.Exec(t.Context(), "set statement_timeout = 1; select pg_sleep(600)").Close()
		check.Equal(t, canceler.IsCanceled(err), true)
		check.Equal(t, canceler.HandlerOf(conn).Cause(), nil)
	})
}

func TestConfigurations(t *testing.T) {
	t.Run("a connection without a wire has no handler", func(t *testing.T) {
		config, err := pgconn.ParseConfig(pgtest.Shared(t).URI("postgres"))
		check.OK(t, err)
		c := canceler.New(time.Minute)
		defer c.Close()
		c.Watch(config)
		conn, err := pgconn.ConnectConfig(t.Context(), config)
		check.OK(t, err)
		check.Equal(t, canceler.HandlerOf(conn), nil)
		check.OK(t, conn.Close(t.Context()))
	})
	t.Run("the order of wire.Watch and Watch does not matter", func(t *testing.T) {
		for _, wireFirst := range []bool{false, true} {
			config, err := pgconn.ParseConfig(pgtest.Shared(t).URI("postgres"))
			check.OK(t, err)
			c := canceler.New(time.Minute)
			defer c.Close()
			if wireFirst {
				wire.Watch(config)
				c.Watch(config)
			} else {
				c.Watch(config)
				wire.Watch(config)
			}
			conn, err := pgconn.ConnectConfig(t.Context(), config)
			check.OK(t, err)
			check.Equal(t, canceler.HandlerOf(conn) != nil, true)
			check.OK(t, conn.Close(t.Context()))
		}
	})
}

// far is a server's end of a connection without a network.
type far struct{ net.Conn }

// read takes a request, which pgconn writes in one piece.
func (f far) read() { _, _ = f.Read(make([]byte, 1<<10)) }

// say says messages in one piece.
func (f far) say(messages ...pgproto3.BackendMessage) {
	var all []byte
	for _, m := range messages {
		all, _ = m.Encode(all) // none of them can fail
	}
	_, _ = f.Write(all)
}

func (f far) answer(messages ...pgproto3.BackendMessage) {
	f.read()
	f.say(messages...)
}

func ready() *pgproto3.ReadyForQuery { return &pgproto3.ReadyForQuery{TxStatus: 'I'} }

func notification() *pgproto3.NotificationResponse {
	return &pgproto3.NotificationResponse{PID: 1, Channel: "c", Payload: "p"}
}

func queryCanceled() *pgproto3.ErrorResponse {
	return &pgproto3.ErrorResponse{Severity: "ERROR", Code: "57014", Message: "canceling statement due to user request"}
}

// clear clears a connection, whose server answers.
func clear(conn *pgconn.PgConn, server far) error {
	go server.answer(ready())
	return canceler.HandlerOf(conn).Clear()
}

// pipe connects to a server of the test's own, and counts cancel requests, which are dealt with
// at once.
func pipe(t *testing.T, timeout time.Duration) (*pgconn.PgConn, far, *atomic.Int64) {
	c := canceler.New(timeout)
	t.Cleanup(c.Close)
	var cancels atomic.Int64
	conns, servers := pipes(t, c, 1, func() { cancels.Add(1) })
	return conns[0], servers[0], &cancels
}

// pipes connects to n servers of the test's own. Each cancel request is dealt with when canceled
// has returned.
func pipes(t *testing.T, c *canceler.Canceler, n int, canceled func()) ([]*pgconn.PgConn, []far) {
	t.Helper()
	conns, servers := make([]*pgconn.PgConn, n), make([]far, n)
	for i := range n {
		config, err := pgconn.ParseConfig("host=127.0.0.1 user=u sslmode=disable")
		check.OK(t, err)
		connected := false
		config.DialFunc = func(context.Context, string, string) (net.Conn, error) {
			near, server := net.Pipe()
			if connected {
				go func() {
					far{server}.read()
					canceled()
					_ = server.Close()
				}()
				return tcp{near}, nil
			}
			connected = true
			servers[i] = far{server}
			go far{server}.answer(&pgproto3.AuthenticationOk{}, &pgproto3.BackendKeyData{ProcessID: 1,
				SecretKey: []byte{1, 2, 3, 4}}, ready())
			return tcp{near}, nil
		}
		wire.Watch(config)
		c.Watch(config)
		conns[i], err = pgconn.ConnectConfig(t.Context(), config)
		check.OK(t, err)
	}
	t.Cleanup(func() {
		for i, conn := range conns {
			_ = servers[i].Close()
			_ = conn.Close(context.Background())
			<-conn.CleanupDone()
		}
	})
	return conns, servers
}

// tcp is a pipe with an address that pgconn can send a cancel request to.
type tcp struct{ net.Conn }

func (tcp) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5432} }
