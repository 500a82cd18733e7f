package pgtest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// adminTimeout bounds one question to a server.
const adminTimeout = time.Minute

// names makes the databases of one process differ.
var names atomic.Int64

// Database creates an empty database for the test and returns its URI, as the superuser over TCP.
// It is dropped when the test ends, with whatever is connected to it.
func (c *Cluster) Database(tb testing.TB) string {
	tb.Helper()
	name := fmt.Sprintf("test_%d", names.Add(1))
	if err := c.exec("CREATE DATABASE " + name + c.Binaries().CopyStrategy()); err != nil {
		tb.Fatalf("pgtest: %v", err)
	}
	tb.Cleanup(func() {
		// A server of the test's own may be down by now, and is going to be removed anyway.
		if err := c.exec("DROP DATABASE IF EXISTS " + name + " WITH (FORCE)"); err != nil && c.shared {
			tb.Errorf("pgtest: %v", err)
		}
	})
	return c.URI(name)
}

// Admin opens a superuser connection to the database "postgres", through the unix socket, and
// closes it when the test ends.
func (c *Cluster) Admin(tb testing.TB) *pgx.Conn {
	tb.Helper()
	return c.AdminIn(tb, "postgres")
}

// AdminIn is Admin in another database.
func (c *Cluster) AdminIn(tb testing.TB, database string) *pgx.Conn {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
	defer cancel()
	conn, err := c.connect(ctx, database, adminName)
	if err != nil {
		tb.Fatalf("pgtest: %v", err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
		defer cancel()
		_ = conn.Close(ctx)
	})
	return conn
}

// adminName is the application_name of this package's connections. They are not counted by
// Activity.
const adminName = "pgtest"

func (c *Cluster) connect(ctx context.Context, database, applicationName string) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(c.SocketURI(database))
	if err != nil {
		return nil, err
	}
	cfg.RuntimeParams["application_name"] = applicationName
	return pgx.ConnectConfig(ctx, cfg)
}

// Activity returns how many client connections the server has now whose database or
// application_name is name, or how many in all if name is empty. A server forgets a connection a
// moment after the client closed it: ask with Eventually.
func (c *Cluster) Activity(tb testing.TB, name string) int {
	tb.Helper()
	var n int
	err := c.query(&n, `SELECT count(*) FROM pg_stat_activity
		WHERE backend_type = 'client backend' AND application_name NOT LIKE $2 || '%'
		AND ($1 = '' OR datname = $1 OR application_name = $1)`, name, adminName)
	if err != nil {
		tb.Fatalf("pgtest: %v", err)
	}
	return n
}

// Sessions returns how many connections database has ever accepted, without the connections of this
// package (Admin). It is exact: each accepted connection counts, even if it is closed again. (The
// server's count, pg_stat_database.sessions, may lag behind.)
func (c *Cluster) Sessions(tb testing.TB, database string) int64 {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
	defer cancel()
	// The log is one pipe: once our own new connection is seen in it, all that were made before it
	// are.
	mark := fmt.Sprintf("%s-mark-%d", adminName, names.Add(1))
	seen := c.sessions.await(mark)
	conn, err := c.connect(ctx, "postgres", mark)
	if err != nil {
		tb.Fatalf("pgtest: %v", err)
	}
	defer conn.Close(ctx)
	select {
	case <-seen:
	case <-ctx.Done():
		tb.Fatal("pgtest: the server did not log a connection; is log_connections off, or log_min_messages high?")
	}
	return c.sessions.count(database)
}

// CatchUp returns when the standby c has replayed all that primary has written by now.
func (c *Cluster) CatchUp(tb testing.TB, primary *Cluster) {
	tb.Helper()
	var target string
	if err := primary.query(&target, "SELECT pg_current_wal_insert_lsn()::text"); err != nil {
		tb.Fatalf("pgtest: %v", err)
	}
	Eventually(tb, "the standby has caught up", func() bool {
		var done bool
		err := c.query(&done, "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", target)
		return err == nil && done
	})
}

func (c *Cluster) exec(sql string) error {
	return c.withAdmin(func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, sql)
		return err
	})
}

func (c *Cluster) query(into any, sql string, args ...any) error {
	return c.withAdmin(func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, sql, args...).Scan(into)
	})
}

// withAdmin lends out the connection that all tests of the cluster share, a new one if the last
// broke. What fn does must bear repeating.
func (c *Cluster) withAdmin(fn func(context.Context, *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
	defer cancel()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.admin != nil {
		err := fn(ctx, c.admin)
		if err == nil || !c.admin.IsClosed() {
			return err
		}
		c.admin = nil // the server was restarted since
	}
	conn, err := c.connect(ctx, "postgres", adminName)
	if err != nil {
		return err
	}
	c.admin = conn
	return fn(ctx, conn)
}

func (c *Cluster) closeAdmin() {
	ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
	defer cancel()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.admin != nil {
		_ = c.admin.Close(ctx)
		c.admin = nil
	}
}

// sessionCounter counts the connections that a server logs, by database.
type sessionCounter struct {
	mu     sync.Mutex
	counts map[string]int64
	marks  map[string]chan struct{}
}

// onLog reads "... connection authorized: user=u database=d application_name=a ...".
func (s *sessionCounter) onLog(line string) {
	_, rest, ok := strings.Cut(line, "LOG:  connection authorized: user=")
	if !ok {
		return
	}
	_, rest, _ = strings.Cut(rest, " database=")
	database, rest, _ := strings.Cut(rest, " ")
	name, _, _ := strings.Cut(strings.TrimPrefix(rest, "application_name="), " ")
	s.mu.Lock()
	defer s.mu.Unlock()
	if mark, ok := s.marks[name]; ok {
		close(mark)
		delete(s.marks, name)
	}
	if strings.HasPrefix(name, adminName) {
		return
	}
	if s.counts == nil {
		s.counts = map[string]int64{}
	}
	s.counts[database]++
}

func (s *sessionCounter) await(mark string) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.marks == nil {
		s.marks = map[string]chan struct{}{}
	}
	seen := make(chan struct{})
	s.marks[mark] = seen
	return seen
}

func (s *sessionCounter) count(database string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[database]
}
