package connect

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsafe/pgsafe/internal/sqlstate"
)

// poolers finds out whether connections lead to a pooler that gives each transaction another server
// connection, as PgBouncer does. A statement that was prepared by name is found by chance only
// then. What is found holds for all connections that follow.
type poolers struct {
	onFound func()

	found   atomic.Bool
	servers sync.Map // of origin: where a server answered for itself
}

// origin is an address and the kind of process ids that clients get from it.
type origin struct {
	address string
	large   bool // the process id is one that no server on Linux has
}

// maxPID is the largest process id of a server on Linux (PID_MAX_LIMIT, include/linux/threads.h).
// Other systems have smaller ones. PgBouncer makes up numbers of 31 or 32 bits (welcome_client,
// src/proto.c): at most one in 512 passes for a process id. The address of a known server is asked
// again only if it begins to send larger numbers, because a pooler was put there.
const maxPID = 1 << 22

// senseTimeout bounds the one question to the server behind.
const senseTimeout = 10 * time.Second

// behind reports whether the new connection leads to a pooler: the process that answers is not the
// one that the client was told of. It costs the first connection to a server a round trip. A
// connection without an answer is an error: a pooler that has no server connection free must not
// pass for a server.
func (p *poolers) behind(ctx context.Context, conn *pgconn.PgConn) (bool, error) {
	if p.found.Load() {
		return true, nil
	}
	from := origin{fmt.Sprint(conn.Conn().RemoteAddr()), conn.PID() > maxPID}
	if _, known := p.servers.Load(from); known {
		return false, nil
	}
	pid, err := backendPID(ctx, conn)
	switch {
	case err == nil && pid == conn.PID():
		p.servers.Store(from, nil)
		return false, nil
	case err == nil:
		if p.found.CompareAndSwap(false, true) {
			p.onFound()
		}
		return true, nil
	case conn.IsClosed(), sqlstate.Of(err) == sqlstate.QueryCanceled:
		return false, err
	}
	return false, nil // the server does not know the function: the next connection asks again
}

// backendPID asks the process that answers. The connection keeps the context of its last statement
// (pgconn.go, MultiResultReader), so it gets a context that holds nothing of the caller's.
func backendPID(ctx context.Context, conn *pgconn.PgConn) (uint32, error) {
	own, cancel := context.WithTimeout(context.Background(), senseTimeout)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	results, err := conn.Exec(own, "SELECT pg_backend_pid()").ReadAll()
	if err != nil {
		return 0, err
	}
	if len(results) != 1 || len(results[0].Rows) != 1 {
		return 0, fmt.Errorf("pgsafe: %d results of pg_backend_pid", len(results))
	}
	n, err := strconv.ParseInt(string(results[0].Rows[0][0]), 10, 32)
	return uint32(n), err
}

// avoidNames makes a connection run its statements without names. Describing them once, and sending
// text and arguments together, costs no further round trip (QueryExecModeCacheDescribe, pgx's
// conn.go): each sequence of messages ends with a Sync, and no sequence relies on another. pgx
// reads the mode at each statement (Conn.exec, Conn.Query), so config may be that of an open
// connection.
func avoidNames(config *pgx.ConnConfig) {
	switch {
	case config.DefaultQueryExecMode != pgx.QueryExecModeCacheStatement: // the application's choice
	case config.DescriptionCacheCapacity > 0:
		config.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	default:
		config.DefaultQueryExecMode = pgx.QueryExecModeExec
	}
}

// copyCatcher is the tracer of a connection until pgx has begun to make it. It catches the copy of
// the configuration that the connection uses, which pgx.ConnectConfig makes and gives to a
// ConnectTracer only.
type copyCatcher struct {
	pgx.QueryTracer // the connection's own, nil for none
	config          *pgx.ConnConfig
	hooked          bool // see Made
}

var _ pgx.ConnectTracer = (*copyCatcher)(nil)

// copyKey is where the copyCatcher hangs on its connection (pgconn.PgConn.CustomData).
const copyKey = "github.com/pgsafe/pgsafe/internal/connect.config"

// catchCopy makes config's connection have a copyCatcher.
func catchCopy(config *pgx.ConnConfig, hooked bool) {
	config.Tracer = &copyCatcher{QueryTracer: config.Tracer, hooked: hooked}
}

// caughtCopy returns the copyCatcher of a connection.
func caughtCopy(conn *pgx.Conn) *copyCatcher {
	return conn.PgConn().CustomData()[copyKey].(*copyCatcher)
}

// TraceConnectStart puts the connection's own tracer back: pgx reads it from the configuration
// after this call (conn.go, connect).
func (c *copyCatcher) TraceConnectStart(ctx context.Context, data pgx.TraceConnectStartData) context.Context {
	c.config = data.ConnConfig
	c.config.Tracer = c.QueryTracer
	if own, ok := c.QueryTracer.(pgx.ConnectTracer); ok {
		return own.TraceConnectStart(ctx, data)
	}
	return ctx
}

// TraceConnectEnd hangs the copyCatcher on its connection.
func (c *copyCatcher) TraceConnectEnd(ctx context.Context, data pgx.TraceConnectEndData) {
	if data.Conn != nil {
		data.Conn.PgConn().CustomData()[copyKey] = c
	}
	if own, ok := c.QueryTracer.(pgx.ConnectTracer); ok {
		own.TraceConnectEnd(ctx, data)
	}
}
