package telemetry_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgserver"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

// log is a logger's output.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// witness sees what a program's backends would see.
type witness struct {
	*recorder
	log *log
}

func newWitness(t *testing.T) *witness { return &witness{newRecorder(t), &log{}} }

func (w *witness) openDSN(dsn string, more ...pgsafe.Option) *sql.DB {
	w.t.Helper()
	logger := pgsafe.WithLogger(slog.New(slog.NewTextHandler(w.log, nil)))
	db, err := pgsafe.Open(dsn, append(w.options(logger), more...)...)
	check.OK(w.t, err)
	w.t.Cleanup(func() { _ = db.Close() })
	return db
}

// fails runs a query in a request, which fails.
func (w *witness) fails(db runner) {
	w.t.Helper()
	w.Within("request", func(ctx context.Context) {
		rows, err := db.QueryContext(ctx, "SELECT $1::int", 1)
		if err == nil {
			_ = rows.Close()
			w.t.Error("the query succeeds")
		}
	})
}

// with adds a parameter to a URI.
func with(uri, parameter string) string {
	if strings.Contains(uri, "?") {
		return uri + "&" + parameter
	}
	return uri + "?" + parameter
}

// gone waits until a server process is gone.
func gone(t *testing.T, pid int) {
	t.Helper()
	admin := pgtest.Shared(t).Admin(t)
	pgtest.Eventually(t, "the session is gone", func() (gone bool) {
		check.OK(t, admin.QueryRow(context.Background(),
			"SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)", pid).Scan(&gone))
		return gone
	})
}

func pidOf(t *testing.T, db interface {
	QueryRowContext(context.Context, string, ...any) *sql.Row
}) (pid int) {
	t.Helper()
	check.OK(t, db.QueryRowContext(context.Background(), "SELECT pg_backend_pid()").Scan(&pid))
	return pid
}

// TestEveryFaultIsShown has a fault happen on a real server, and looks for it in the metrics, the
// spans and the log.
func TestEveryFaultIsShown(t *testing.T) {
	for _, tt := range []struct {
		name                string
		happen              func(*testing.T, *witness)
		metrics, spans, log []string
	}{
		{
			"a server that is stopped, and comes back, is shown", stopAndStart,
			[]string{
				`pgsafe.connection.failures \d+ .*error.type=refused`,
				`pgsafe.connection.failure_time count=.*error.type=refused`,
				`operation.duration count=1 .*error.type=refused`,
				`pgsafe.recoveries 1 .*pgsafe.recovery.cause=connect`,
			},
			[]string{
				`CONNECT \(client\) Error unavailable: refused`, `pgsafe.connect.attempt=2`,
				`postgresql \(client\) Error unavailable: refused`, `pgsafe.pool.wait \(internal\) Error`,
			},
			[]string{
				`level=WARN msg="pgsafe: unreachable since 20\S+, 1 dials failed: refused" pool`,
				`level=INFO msg="pgsafe: the server is back after \S+, [1-9]\d* callers failed meanwhile"`,
			},
		},
		{
			"a wrong password is shown, and not the password", func(t *testing.T, w *witness) {
				w.fails(w.openDSN(strings.Replace(pgtest.SharedTLS(t).URI(""), "@", "x@", 1)))
			},
			[]string{`pgsafe.connection.failures 1 .*error.type=auth`, `operation.duration count=1 .*error.type=28P01`},
			[]string{`CONNECT \(client\) Error auth: invalid_password`, `postgresql \(client\) Error auth: invalid_password`},
			[]string{`1 dials failed: auth`},
		},
		{
			"a name without an address is shown", func(t *testing.T, w *witness) {
				w.fails(w.openDSN("postgres://u@no-such-host.invalid/db?connect_timeout=2&sslmode=disable"))
			},
			[]string{`pgsafe.connection.failures \d+ .*error.type=dns`, `operation.duration count=1 .*error.type=dns`},
			[]string{`CONNECT \(client\) Error \S+: dns`, `\* dns error.type=dns`},
			[]string{`dials failed: dns`},
		},
		{
			"a server without TLS where TLS is demanded is shown", func(t *testing.T, w *witness) {
				uri, _, _ := strings.Cut(pgtest.Shared(t).URI("postgres"), "?")
				w.fails(w.openDSN(uri + "?sslmode=require"))
			},
			[]string{`pgsafe.connection.failures 1 .*error.type=tls`, `operation.duration count=1 .*error.type=tls`},
			[]string{`CONNECT \(client\) Error config: tls`, `postgresql \(client\) Error config: tls`},
			[]string{`1 dials failed: tls`},
		},
		{
			"a full pool is shown", fillPool,
			[]string{
				`operation.duration count=1 .*db.query.summary=SELECT .*error.type=pool_exhausted`,
				`db.client.connection.timeouts 1 `,
			},
			[]string{`SELECT \(client\) Error pool_exhausted`, `pgsafe.pool.wait \(internal\) Error`, `pgsafe.pool.wait.reason=pool`},
			nil,
		},
		{
			"a transaction that was idle for too long for the server is shown", idleInTransaction,
			[]string{`operation.duration count=1 .*db.query.summary=SELECT .*error.type=25P03`},
			[]string{
				`SELECT \(client\) Error timeout: idle_in_transaction_session_timeout`, `pgsafe.transaction.outcome=rollback`,
			},
			nil,
		},
		{
			"rows that are forgotten are shown when the pool closes", func(t *testing.T, w *witness) {
				db := w.openDSN(pgtest.Shared(t).Database(t))
				rows, err := db.Query("SELECT * FROM generate_series(1, 100000)")
				check.OK(t, err)
				check.OK(t, db.Close())
				check.OK(t, rows.Close())
			},
			nil,
			[]string{`SELECT generate_series \(client\)`, `pgsafe.rows.unclosed=true`},
			nil,
		},
		{
			"a statement that its caller cancels is shown, and is no error", cancelOne,
			[]string{
				`operation.duration count=1 .*db.query.summary=SELECT .*pgsafe.canceled=true`,
				`pgsafe.cancels 1 .*pgsafe.cancel.outcome=taken`,
			},
			[]string{`SELECT \(client\)$`, `pgsafe.canceled=true`},
			nil,
		},
		{
			"a server process that is killed under its statement is shown", killBackend,
			[]string{`operation.duration count=1 .*error.type=57P01`, `operation.duration count=2 .*summary=SELECT `},
			[]string{`SELECT \(client\) Error unavailable: admin_shutdown`, `pgsafe.connect.reason=lost`},
			nil,
		},
		{
			"a COMMIT without an answer is shown", cutCommit,
			[]string{`operation.duration count=1 .*db.query.summary=COMMIT .*error.type=commit_unknown`},
			[]string{
				`COMMIT \(client\) Error commit unknown`, `TRANSACTION \(internal\) Error commit unknown`,
				`pgsafe.transaction.outcome=unknown`,
			},
			nil,
		},
		{
			"a primary that takes no writes any more is shown", failOver,
			[]string{
				`operation.duration count=1 .*error.type=25006`, `pgsafe.recoveries 1 .*pgsafe.recovery.cause=generation`,
			},
			[]string{`Error read_only_sql_transaction`, `pgsafe.connect.reason=renewal`},
			[]string{`no primary any more; all connections are renewed" .*sqlstate=25006`},
		},
		{
			"a client certificate that has expired is shown", func(t *testing.T, w *witness) {
				cluster := pgtest.ClientCert(t)
				uri, _, _ := strings.Cut(cluster.URI("postgres"), "?")
				cert, key, err := cluster.ClientCertWith("postgres", pgserver.CertOptions{Lifetime: -time.Hour})
				check.OK(t, err)
				w.fails(w.openDSN(uri + "?sslmode=verify-full&sslrootcert=" + cluster.CAFile() + "&sslcert=" + cert + "&sslkey=" + key))
			},
			[]string{
				`pgsafe.connection.failures \d+ .*error.type=certificate_expired`,
				`operation.duration count=1 .*error.type=certificate_expired`,
			},
			[]string{`CONNECT \(client\) Error \S+: certificate_expired`},
			[]string{`dials failed: certificate_expired`, `level=ERROR msg="pgsafe: the client certificate has expired"`},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWitness(t)
			tt.happen(t, w)
			for _, seen := range []struct {
				where, text string
				want        []string
			}{{"metrics", w.Dump(), tt.metrics}, {"spans", w.Tree(), tt.spans}, {"log", w.log.String(), tt.log}} {
				for _, pattern := range seen.want {
					if !regexp.MustCompile("(?m)" + pattern).MatchString(seen.text) {
						t.Errorf("the %s do not show %s:\n%s", seen.where, pattern, seen.text)
					}
				}
				for _, never := range []string{"errors.", "*net.", "*pgconn.", pgtest.TLSPassword} {
					if strings.Contains(seen.text, "error.type="+never) || strings.Contains(seen.text, pgtest.TLSPassword) {
						t.Errorf("the %s show %s:\n%s", seen.where, never, seen.text)
					}
				}
			}
		})
	}
}

func stopAndStart(t *testing.T, w *witness) {
	cluster := pgtest.New(t, pgserver.Options{})
	db := w.openDSN(with(cluster.URI("postgres"), "connect_timeout=1"))
	check.OK(t, cluster.Halt(pgserver.Fast))
	w.fails(db)
	done := make(chan error, 1)
	go func() { done <- db.Ping() }()
	c, _ := pgsafe.ConnectorOf(db)
	pgtest.Eventually(t, "a caller waits", func() bool { return c.Stats().Waiting == 1 })
	check.OK(t, cluster.Restart(t.Context()))
	for err := <-done; err != nil; err = db.Ping() { // its patience may have ended before the restart
		t.Log(err)
	}
}

func fillPool(t *testing.T, w *witness) {
	db := w.openDSN(with(pgtest.Shared(t).Database(t), "pool_max_conns=1&pool_acquire_timeout=100ms"))
	holder, err := db.Conn(t.Context())
	check.OK(t, err)
	defer holder.Close()
	check.OK(t, holder.PingContext(t.Context()))
	w.fails(db)
}

func idleInTransaction(t *testing.T, w *witness) {
	db := w.openDSN(with(pgtest.Shared(t).Database(t), "idle_in_transaction_session_timeout=50ms"))
	tx, err := db.Begin()
	check.OK(t, err)
	gone(t, pidOf(t, tx))
	w.fails(tx)
	_ = tx.Rollback()
}

// cancelOne cancels a statement that runs.
func cancelOne(t *testing.T, w *witness) {
	uri := with(pgtest.Shared(t).Database(t), "application_name=cancels_one")
	db := w.openDSN(uri)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		pgtest.Eventually(t, "the statement runs", func() bool {
			return runs(t, "cancels_one")
		})
		cancel()
	}()
	if _, err := db.ExecContext(ctx, "SELECT pg_sleep(60)"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// runs reports whether a statement of an application sleeps.
func runs(t *testing.T, application string) (does bool) {
	t.Helper()
	admin := pgtest.Shared(t).Admin(t)
	defer admin.Close(context.Background())
	check.OK(t, admin.QueryRow(context.Background(), "SELECT EXISTS (SELECT FROM pg_stat_activity "+
		"WHERE application_name = $1 AND wait_event = 'PgSleep')", application).Scan(&does))
	return does
}

func killBackend(t *testing.T, w *witness) {
	db := w.openDSN(with(pgtest.Shared(t).Database(t), "pool_max_conns=1&application_name=killed_one"))
	pid := pidOf(t, db)
	done := make(chan error, 1)
	go func() {
		_, err := db.ExecContext(context.Background(), "SELECT pg_sleep(60)")
		done <- err
	}()
	pgtest.Eventually(t, "the statement runs", func() bool { return runs(t, "killed_one") })
	_, err := pgtest.Shared(t).Admin(t).Exec(t.Context(), "SELECT pg_terminate_backend($1)", pid)
	check.OK(t, err)
	if <-done == nil {
		t.Error("the statement succeeds")
	}
	exec(t, db, t.Context(), "SELECT 1")
}

func cutCommit(t *testing.T, w *witness) {
	proxy := pgtest.NewProxy(t, pgtest.Shared(t))
	db := w.openDSN(proxy.URI("postgres"))
	tx, err := db.Begin()
	check.OK(t, err)
	exec(t, tx, t.Context(), "SELECT 1")
	proxy.Hang()
	proxy.Reset()
	done := make(chan error, 1)
	go func() { done <- tx.Commit() }()
	pgtest.Eventually(t, "the COMMIT is sent", func() bool { return proxy.RoundTrips() > 0 })
	proxy.Cut()
	if <-done == nil {
		t.Error("it was committed without an answer")
	}
}

// failOver makes the server refuse a write, as one does that has become a standby.
func failOver(t *testing.T, w *witness) {
	db := w.openDSN(with(pgtest.Shared(t).Database(t), "pool_max_conns=1&target_session_attrs=read-write"))
	conn, err := db.Conn(t.Context())
	check.OK(t, err)
	exec(t, conn, t.Context(), "SET default_transaction_read_only = on")
	if _, err := conn.ExecContext(t.Context(), "CREATE TABLE refused ()"); err == nil {
		t.Error("the server takes the write")
	}
	check.OK(t, conn.Close())
	exec(t, db, t.Context(), "SELECT 1")
}
