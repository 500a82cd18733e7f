package bench_test

import (
	"context"
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/session"
)

// handlers is how many requests are under way at the same time.
const handlers = 64

// requestQueries is the number of queries in a request.
const requestQueries = 5

// request is what a handler does: some queries, and a pause after each but the last.
func request(ctx context.Context, think time.Duration, query func(ctx context.Context) error) error {
	for i := range requestQueries {
		if i > 0 && think > 0 {
			<-time.After(think)
		}
		if err := query(ctx); err != nil {
			return err
		}
	}
	return nil
}

// inSession is a request in a session.
func inSession(ctx context.Context, think time.Duration, db *sql.DB) error {
	return session.Do(ctx, db, func(ctx context.Context) error {
		return request(ctx, think, func(ctx context.Context) error { return oneQuery(ctx, db) })
	})
}

// pinned is a request that holds one connection.
func pinned(ctx context.Context, think time.Duration, db *sql.DB) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	return request(ctx, think, func(ctx context.Context) error { return scanInt(conn.QueryRowContext(ctx, query, 42)) })
}

// benchRequests is 64 handlers on 8 connections, each request five queries with 0 or 1 ms between.
func benchRequests(b *testing.B, all *document) {
	t := all.table("Requests of five queries, 64 handlers on 8 connections. The first column: requests in a second, " +
		"processor time of one. The others: throughput, then processor time, as shares of the first.")
	for _, think := range []time.Duration{0, time.Millisecond} {
		b.Run(fmt.Sprintf("between=%v", think), func(b *testing.B) {
			uri := pgtest.Shared(b).Database(b)
			results := contest(b, b.Context(), handlers, roundsOf(), func(tb testing.TB) []entrant {
				return requestEntrants(tb, uri, think)
			})
			t.compared(fmt.Sprintf("%v between", think), results)
			report(b, results)
		})
	}
}

func requestEntrants(tb testing.TB, uri string, think time.Duration) (entrants []entrant) {
	add := func(label string, handle func(ctx context.Context) error) {
		entrants = append(entrants, entrant{label, func(ctx context.Context) error {
			ctx, cancel := context.WithCancel(ctx) // as net/http makes one for each request
			defer cancel()
			return handle(ctx)
		}})
	}
	for _, c := range allClients(tb, uri, tableConns) {
		add(c.label, func(ctx context.Context) error { return request(ctx, think, c.query) })
	}
	db := openPgsafeCapped(tb, uri, tableConns)
	add(labelBound, func(ctx context.Context) error { return inSession(ctx, think, db) })
	add("pgsafe-sql.Conn", func(ctx context.Context) error { return pinned(ctx, think, db) })
	return entrants
}
