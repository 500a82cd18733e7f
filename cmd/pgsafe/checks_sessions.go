package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgsafe/pgsafe"
)

// sessionCount is how many sessions are opened one after another, and how many at once.
const sessionCount = maxConns

// checkOneByOne opens sessions one after another, each on a new connection.
func checkOneByOne(ctx context.Context, p *patient) Result {
	db, connector, err := p.open(nil)
	if err != nil {
		return failed("%v", err)
	}
	defer db.Close()
	t := &Timings{What: "connect, one after another"}
	for range sessionCount {
		began := time.Now()
		conn, err := db.Conn(ctx)
		if err == nil {
			_, err = pidOf(conn) // a *sql.Conn takes its connection at its first use
		}
		if err != nil {
			r := describe(err)
			r.Timings = t
			return r
		}
		t.Times = append(t.Times, time.Since(began))
		if err := discard(conn); err != nil {
			return describe(err)
		}
	}
	r := ok("%d sessions, %d connections", sessionCount, connector.Stats().Opened)
	if connector.Stats().Opened != sessionCount {
		r.Status = StatusFailed
		r.Detail += ": each session was to have one of its own"
	}
	r.Timings = t
	return r
}

// farewellPatience is how long a server may take to end a session.
const farewellPatience = time.Second

// discard ends a session for good, so that the pool cannot hand it out again, and waits until the
// server has forgotten it: pgx would not, and the next session might be one too many.
func discard(conn *sql.Conn) error {
	err := pgsafe.Raw(conn, func(c *pgx.Conn) error {
		raw := c.PgConn().Conn()
		bye, err := (&pgproto3.Terminate{}).Encode(nil)
		if err == nil {
			err = raw.SetDeadline(time.Now().Add(farewellPatience))
		}
		if err == nil {
			// Whatever goes wrong with these, the session is over.
			_, _ = raw.Write(bye)
			_, _ = io.Copy(io.Discard, raw)
		}
		_ = c.Close(context.Background()) // its error has no reader
		return err
	})
	return errors.Join(err, conn.Close())
}

// checkAtOnce opens sessions at the same time and holds them all.
func checkAtOnce(ctx context.Context, p *patient) Result {
	db, _, err := p.open(nil)
	if err != nil {
		return failed("%v", err)
	}
	defer db.Close()
	var (
		attempts sync.WaitGroup
		conns    [sessionCount]*sql.Conn
		pids     [sessionCount]uint32
		times    [sessionCount]time.Duration
		errs     [sessionCount]error
	)
	start := make(chan struct{})
	for i := range sessionCount {
		attempts.Go(func() {
			<-start
			began := time.Now()
			if conns[i], errs[i] = db.Conn(ctx); errs[i] == nil {
				pids[i], errs[i] = pidOf(conns[i])
			}
			times[i] = time.Since(began)
		})
	}
	close(start)
	attempts.Wait()

	t := &Timings{What: "connect, all at once"}
	backends := make(map[uint32]bool)
	for i, conn := range conns {
		if errs[i] == nil {
			t.Times = append(t.Times, times[i])
			backends[pids[i]] = true
		}
		if conn != nil {
			if err := discard(conn); errs[i] == nil {
				errs[i] = err
			}
		}
	}
	r := atOnce(len(t.Times), len(backends), errs[:])
	r.Timings = t
	return r
}

func atOnce(opened, backends int, errs []error) Result {
	for _, err := range errs {
		if err == nil {
			continue
		}
		r := describe(err)
		if opened > 0 && strings.HasPrefix(pgsafe.SQLState(err), "53") {
			// The server works, but the limit is worth knowing.
			r.Status = StatusWarning
			r.Detail = fmt.Sprintf("only %d of %d: %s", opened, sessionCount, r.Detail)
		}
		return r
	}
	if backends < opened {
		return ok("%d sessions at once; the server shows %d processes behind them: a pooler is in between", opened, backends)
	}
	return ok("%d sessions at once", opened)
}
