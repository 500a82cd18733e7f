package pgsafe

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// poolers finds out whether the connections of a Connector lead to a pooler that gives each transaction another
// connection of the server, as PgBouncer does. A statement that was prepared by name is then found by chance only. What
// is found holds for all connections that follow.
type poolers struct {
	modeGiven bool // the connection string names a mode of execution, which stays in force
	onFound   func()

	found   atomic.Bool
	servers sync.Map // of origin: where a server answered for itself
}

// origin is where connections come from that are told the same kind of process id.
type origin struct {
	address string
	large   bool // the process id is one that no server on Linux has
}

// maxPID is the largest process id that a server on Linux can have (PID_MAX_LIMIT, include/linux/threads.h); those of
// other systems are smaller. PgBouncer tells random numbers of 31 or 32 bits (welcome_client, src/proto.c), of which one
// in 512 may pass for a process id at most. An address that was a server's is asked again only if it begins to tell
// larger ones: a pooler was put there.
const maxPID = 1 << 22

// senseTimeout bounds the one question to the server behind.
const senseTimeout = 10 * time.Second

// behind tells whether conn, which is new, leads to a pooler: another process answers than the client was told of. It
// costs the first connection to a server a round trip.
func (p *poolers) behind(ctx context.Context, conn *pgconn.PgConn) bool {
	if p.found.Load() {
		return true
	}
	from := origin{fmt.Sprint(conn.Conn().RemoteAddr()), conn.PID() > maxPID}
	if _, known := p.servers.Load(from); known {
		return false
	}
	pid, known := backendPID(ctx, conn)
	if !known {
		return false
	}
	if pid == conn.PID() {
		p.servers.Store(from, nil)
		return false
	}
	if p.found.CompareAndSwap(false, true) {
		p.onFound()
	}
	return true
}

// backendPID asks the process that answers. The connection keeps the context of its last statement (MultiResultReader,
// pgconn.go), so it gets one that holds nothing of the caller's.
func backendPID(ctx context.Context, conn *pgconn.PgConn) (pid uint32, known bool) {
	own, cancel := context.WithTimeout(context.Background(), senseTimeout)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	results, err := conn.Exec(own, "SELECT pg_backend_pid()").ReadAll()
	if err != nil || len(results) != 1 || len(results[0].Rows) != 1 {
		return 0, false
	}
	n, err := strconv.ParseInt(string(results[0].Rows[0][0]), 10, 32)
	return uint32(n), err == nil
}

// adapt makes a connection through a pooler run its statements without names. Describing them once and sending text and
// arguments together is what costs no further round trip (QueryExecModeCacheDescribe, pgx's conn.go): each message
// sequence ends with a Sync, and no sequence relies on another.
func (p *poolers) adapt(config *pgx.ConnConfig) {
	switch {
	case p.modeGiven || config.DefaultQueryExecMode != pgx.QueryExecModeCacheStatement:
	case config.DescriptionCacheCapacity > 0:
		config.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	default:
		config.DefaultQueryExecMode = pgx.QueryExecModeExec
	}
}

// connecting is the tracer of a connection while that is made, and no longer: it is how to get at the configuration
// that the connection goes on with, which pgx.ConnectConfig makes a copy of its own.
type connecting struct {
	queryTracer
	poolers  *poolers
	attempts *attempts
	next     pgx.QueryTracer // the connection's tracer, nil for none
	config   *pgx.ConnConfig
}

var _ pgx.ConnectTracer = (*connecting)(nil)

// TraceConnectStart leaves the connection to its own tracer: pgx takes it from the configuration after this call
// (connect, conn.go).
func (t *connecting) TraceConnectStart(ctx context.Context, data pgx.TraceConnectStartData) context.Context {
	t.config = data.ConnConfig
	t.config.Tracer = t.next
	if next, ok := t.next.(pgx.ConnectTracer); ok {
		return next.TraceConnectStart(ctx, data)
	}
	return ctx
}

// TraceConnectEnd runs before anybody has the connection. pgx reads the mode at each statement (Conn.exec, Conn.Query).
func (t *connecting) TraceConnectEnd(ctx context.Context, data pgx.TraceConnectEndData) {
	if data.Err != nil {
		t.attempts.failed(ctx)
	} else if t.poolers.behind(ctx, data.Conn.PgConn()) {
		t.poolers.adapt(t.config)
		data.Conn.PgConn().CustomData()[namelessKey] = t.config.DefaultQueryExecMode != pgx.QueryExecModeCacheStatement
	}
	if next, ok := t.next.(pgx.ConnectTracer); ok {
		next.TraceConnectEnd(ctx, data)
	}
}

// namelessKey is where a connection says that statements of db.Prepare are to have no name on it.
const namelessKey = customDataKey + "/nameless"

// behindPooler tells whether conn is known to lead to a pooler.
func behindPooler(conn *pgx.Conn) bool {
	_, known := conn.PgConn().CustomData()[namelessKey]
	return known
}

func nameless(conn *pgx.Conn) bool {
	is, _ := conn.PgConn().CustomData()[namelessKey].(bool)
	return is
}

// create prepares a statement by the name key, or only describes it. A nameless one runs as a text like any other.
func (s *statements) create(ctx context.Context, conn *pgx.Conn, key string) (*pgconn.StatementDescription, error) {
	if s.nameless {
		return conn.Prepare(ctx, "", key)
	}
	return conn.Prepare(ctx, key, key)
}

// destroy deallocates what create has made.
func (s *statements) destroy(ctx context.Context, conn *pgx.Conn, key string) error {
	if s.nameless {
		return nil
	}
	return conn.Deallocate(ctx, key)
}
