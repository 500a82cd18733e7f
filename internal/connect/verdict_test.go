package connect_test

import (
	"os"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsafe/pgsafe/internal/connect"
	"github.com/pgsafe/pgsafe/internal/pgserver"
	"github.com/pgsafe/pgsafe/internal/pgtest"
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
		equal(t, j.said[i], want[i])
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
		equal(t, sqlstate.Of(exec(t, f.dial(t), "select pg_terminate_backend(pg_backend_pid())")), sqlstate.AdminShutdown)
		j.equal(t, "57P01 suspect others")
	})
	t.Run("an immediate shutdown renews all, though what it says is a warning", func(t *testing.T) {
		cluster := pgtest.New(t, pgserver.Options{})
		f, j := judged(t, cluster.URI("postgres"))
		made := f.dial(t)
		must(t, cluster.Halt(pgserver.Immediate))
		equal(t, exec(t, made, "select 1") != nil, true)
		j.equal(t, "57P01 renew all")
	})
	t.Run("a crash of another session renews all", func(t *testing.T) {
		cluster := pgtest.New(t, pgserver.Options{})
		f, j := judged(t, cluster.URI("postgres"))
		made, crashes := f.dial(t), f.dial(t)
		process, err := os.FindProcess(int(crashes.Conn.Conn().PgConn().PID()))
		must(t, err)
		must(t, process.Kill())
		equal(t, exec(t, made, "select pg_sleep(60)") != nil, true)
		j.equal(t, "57P02 renew all")
	})
	t.Run("a warning that a function raises with such a code means nothing", func(t *testing.T) {
		f, j := judged(t, pgtest.Shared(t).Database(t))
		must(t, exec(t, f.dial(t), `do $$ begin raise warning 'no' using errcode = '57P02'; end $$`))
		j.equal(t)
	})
	t.Run("an error that a function raises with such a code means nothing", func(t *testing.T) {
		f, j := judged(t, pgtest.Shared(t).Database(t))
		equal(t, sqlstate.Of(exec(t, f.dial(t), `do $$ begin raise 'no' using errcode = '57P01'; end $$`)), sqlstate.AdminShutdown)
		j.equal(t)
	})
	t.Run("a client that PgBouncer ends means nothing for the others", func(t *testing.T) {
		cluster := pgtest.Shared(t)
		pooler := pgtest.PgBouncer(t, cluster, pgserver.PgBouncerOptions{Settings: map[string]string{
			"default_pool_size": "1", "query_wait_timeout": "1"}})
		f, j := judged(t, pooler.URI(databaseIn(t, cluster.Database(t))))
		holder, waiter := f.dial(t), f.dial(t)
		must(t, exec(t, holder, "begin"))
		err := exec(t, waiter, "select 1")
		equal(t, sqlstate.Of(err), sqlstate.ProtocolViolation)
		contains(t, err.Error(), "FATAL")
		j.equal(t)
		must(t, exec(t, holder, "rollback"))
	})
	t.Run("a session that was idle for too long means nothing for the others", func(t *testing.T) {
		f, j := judged(t, with(pgtest.Shared(t).Database(t), "options=-c%20idle_in_transaction_session_timeout%3D50"))
		made := f.dial(t)
		must(t, exec(t, made, "begin"))
		pgtest.Eventually(t, "the session is ended", func() bool { return exec(t, made, "select 1") != nil })
		j.equal(t)
	})
}

func TestVerdictsOfReadOnlyServers(t *testing.T) {
	primary := pgtest.New(t, pgserver.Options{})
	standby := pgtest.Standby(t, primary)
	shared := pgtest.Shared(t)
	readOnly := shared.Database(t)
	_, err := shared.Admin(t).Exec(t.Context(), "alter database "+databaseIn(t, readOnly)+" set default_transaction_read_only = on")
	must(t, err)
	for _, c := range []struct {
		name string
		uri  string
		sql  []string // the last one is refused
		want []string
	}{
		{"a standby that refuses a write means nothing where any server will do", standby.URI("postgres"),
			[]string{"create table t ()"}, nil},
		{"a read-only transaction of the application's own means nothing", with(shared.URI("postgres"), "target_session_attrs=read-write"),
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
				must(t, exec(t, made, sql))
			}
			equal(t, sqlstate.Of(exec(t, made, c.sql[last])), sqlstate.ReadOnlySQLTransaction)
			j.equal(t, c.want...)
		})
	}
}
