package connect_test

import (
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgsafe/pgsafe/internal/connect"
	"github.com/pgsafe/pgsafe/internal/pgserver"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/sqlstate"
)

// judge collects verdicts.
type judge struct {
	mu   sync.Mutex
	said []string // code and verdict
}

func (j *judge) hear(_ *pgconn.PgConn, err *pgconn.PgError, v connect.Verdict) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.said = append(j.said, err.Code+" "+v.String())
}

// judged makes a Dialer whose verdicts are collected.
func judged(t *testing.T, uri string) (fixture, *judge) {
	t.Helper()
	j := &judge{}
	return newFixture(t, uri, func(o *connect.Options) { o.OnServerError = j.hear }), j
}

func (j *judge) equal(t *testing.T, want ...string) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.said) != len(want) {
		t.Fatalf("got %q, want %q", j.said, want)
	}
	for i := range want {
		check.Equal(t, j.said[i], want[i])
	}
}

// exec runs a statement for the errors of the server that come with it.
func exec(t *testing.T, made *connect.Made, sql string) error {
	t.Helper()
	_, err := made.Conn.Conn().Exec(t.Context(), sql)
	return err
}

func TestVerdicts(t *testing.T) {
	t.Run("a terminated session makes the others suspect", func(t *testing.T) {
		f, j := judged(t, pgtest.Shared(t).Database(t))
		check.Equal(t, sqlstate.Of(exec(t, f.dial(t), "select pg_terminate_backend(pg_backend_pid())")), sqlstate.AdminShutdown)
		j.equal(t, "57P01 suspect others")
	})
	t.Run("a crash of another session renews all", func(t *testing.T) {
		cluster := pgtest.New(t, pgserver.Options{})
		f, j := judged(t, cluster.URI("postgres"))
		var others []*connect.Made
		for range 8 {
			others = append(others, f.dial(t))
		}
		process, err := os.FindProcess(int(f.dial(t).Conn.Conn().PgConn().PID()))
		check.OK(t, err)
		check.OK(t, process.Kill())
		for _, made := range others {
			check.Equal(t, exec(t, made, "select pg_sleep(60)") != nil, true)
		}
		// A session may end in silence, if its signal comes at a bad moment.
		t.Logf("%d of %d said why they ended", len(j.said), len(others))
		check.Equal(t, slices.Contains(j.said, "57P02 renew all"), true)
	})
	t.Run("a warning that a function raises with such a code means nothing", func(t *testing.T) {
		f, j := judged(t, pgtest.Shared(t).Database(t))
		check.OK(t, exec(t, f.dial(t), `do $$ begin raise warning 'no' using errcode = '57P02'; end $$`))
		j.equal(t)
	})
	t.Run("an error that a function raises with such a code means nothing", func(t *testing.T) {
		f, j := judged(t, pgtest.Shared(t).Database(t))
		err := exec(t, f.dial(t), `do $$ begin raise 'no' using errcode = '57P01'; end $$`)
		check.Equal(t, sqlstate.Of(err), sqlstate.AdminShutdown)
		j.equal(t)
	})
	t.Run("a client that PgBouncer ends means nothing for the others", func(t *testing.T) {
		cluster := pgtest.Shared(t)
		pooler := pgtest.PgBouncer(t, cluster, pgserver.PgBouncerOptions{Settings: map[string]string{
			"default_pool_size": "1", "query_wait_timeout": "1"}})
		f, j := judged(t, pooler.URI(databaseIn(t, cluster.Database(t))))
		holder, waiter := f.dial(t), f.dial(t)
		check.OK(t, exec(t, holder, "begin"))
		err := exec(t, waiter, "select 1")
		check.Equal(t, sqlstate.Of(err), sqlstate.ProtocolViolation)
		contains(t, err.Error(), "FATAL")
		j.equal(t)
		check.OK(t, exec(t, holder, "rollback"))
	})
	t.Run("a session that was idle for too long means nothing for the others", func(t *testing.T) {
		cluster := pgtest.Shared(t)
		uri := cluster.Database(t)
		f, j := judged(t, with(uri, "options=-c%20idle_in_transaction_session_timeout%3D50"))
		made := f.dial(t)
		check.OK(t, exec(t, made, "begin"))
		pgtest.Eventually(t, "the session has ended", func() bool { return cluster.Activity(t, databaseIn(t, uri)) == 0 })
		check.Equal(t, sqlstate.Of(exec(t, made, "select 1")), sqlstate.IdleInTransactionSessionTimeout)
		j.equal(t)
	})
}

// A server says these at moments that a test does not choose.
func TestVerdictsOfLastWords(t *testing.T) {
	for _, c := range []struct {
		name    string
		message pgproto3.BackendMessage
		want    []string
	}{
		{"a session that ends with an immediate shutdown renews all, though what it says is a warning",
			&pgproto3.NoticeResponse{Severity: "WARNING", Code: sqlstate.AdminShutdown, Routine: "quickdie"},
			[]string{"57P01 renew all"}},
		{"a FATAL crash_shutdown renews all",
			&pgproto3.ErrorResponse{Severity: "FATAL", Code: sqlstate.CrashShutdown}, []string{"57P02 renew all"}},
		{"a FATAL cannot_connect_now renews all",
			&pgproto3.ErrorResponse{Severity: "FATAL", Code: sqlstate.CannotConnectNow}, []string{"57P03 renew all"}},
		{"a severity in another language is understood",
			&pgproto3.ErrorResponse{Severity: "FATAL :", SeverityUnlocalized: "FATAL", Code: sqlstate.AdminShutdown},
			[]string{"57P01 suspect others"}},
		{"a FATAL connection_failure means nothing for the others",
			&pgproto3.ErrorResponse{Severity: "FATAL", Code: "08006"}, nil},
		{"a dropped database means nothing for the others",
			&pgproto3.ErrorResponse{Severity: "FATAL", Code: sqlstate.DatabaseDropped}, nil},
		{"an error means nothing for the others",
			&pgproto3.ErrorResponse{Severity: "ERROR", Code: sqlstate.AdminShutdown}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, j := judged(t, fakeServer(t, c.message))
			check.Equal(t, exec(t, f.dial(t), "select 1") != nil, true)
			j.equal(t, c.want...)
		})
	}
	t.Run("the application's own functions for errors and notices are called too", func(t *testing.T) {
		j := &judge{}
		var errors, notices int
		f := fixtureFrom(t, pgtest.Shared(t).Database(t), func(c *pgx.ConnConfig) {
			c.OnPgError = func(*pgconn.PgConn, *pgconn.PgError) bool { errors++; return true }
			c.OnNotice = func(*pgconn.PgConn, *pgconn.Notice) { notices++ }
		}, func(o *connect.Options) { o.OnServerError = j.hear })
		made := f.dial(t)
		check.OK(t, exec(t, made, `do $$ begin raise warning 'no'; end $$`))
		check.Equal(t, sqlstate.Of(exec(t, made, "select 1/0")), "22012")
		check.Equal(t, errors == 1 && notices == 1, true)
		j.equal(t)
	})
}

func TestVerdictsOfReadOnlyServers(t *testing.T) {
	primary := pgtest.New(t, pgserver.Options{})
	standby := pgtest.Standby(t, primary)
	shared := pgtest.Shared(t)
	readOnly := shared.Database(t)
	sql := "alter database " + databaseIn(t, readOnly) + " set default_transaction_read_only = on"
	_, err := shared.Admin(t).Exec(t.Context(), sql)
	check.OK(t, err)
	for _, c := range []struct {
		name string
		uri  string
		sql  []string // the last one is refused
		want []string
	}{
		{"a standby that refuses a write means nothing where any server will do", standby.URI("postgres"),
			[]string{"create table t ()"}, nil},
		{"a read-only transaction of the application's own means nothing",
			with(shared.URI("postgres"), "target_session_attrs=read-write"),
			[]string{"begin read only", "create table t ()"}, nil},
		{"a server that has become read-only renews all where one that takes writes is asked for",
			with(shared.URI("postgres"), "target_session_attrs=read-write"),
			[]string{"set default_transaction_read_only = on", "create table t ()"}, []string{"25006 renew all"}},
		{"a primary that takes no writes by default stays one", with(readOnly, "target_session_attrs=primary"),
			[]string{"create table t ()"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, j := judged(t, c.uri)
			made := f.dial(t)
			last := len(c.sql) - 1
			for _, sql := range c.sql[:last] {
				check.OK(t, exec(t, made, sql))
			}
			check.Equal(t, sqlstate.Of(exec(t, made, c.sql[last])), sqlstate.ReadOnlySQLTransaction)
			j.equal(t, c.want...)
		})
	}
}
