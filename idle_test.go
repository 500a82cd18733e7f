package pgsafe_test

import (
	"context"
	"testing"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

// The last words of a session that was idle for too long cross the statement's way: they are on the network still when
// pgsafe looks at the socket.
func TestIdleSessionTimeout(t *testing.T) {
	for name, args := range map[string][]any{
		"a statement with arguments":    {"select $1::int", 1},
		"a statement without arguments": {"select 1"},
		"BEGIN":                         nil,
	} {
		t.Run(name+" that a server with idle_session_timeout never began runs on another connection", func(t *testing.T) {
			t.Parallel()
			cluster := pgtest.Shared(t)
			proxy := pgtest.NewProxy(t, cluster)
			database := databaseOf(t, cluster.Database(t))
			db := open(t, pgsafe.DriverName, with(proxy.URI(database), "idle_session_timeout=2000", "pool_ping_after=1h"))
			exec(t, db, "select $1::int", 1) // so that it is prepared
			proxy.Hang()
			gone(t, cluster, database)
			before := proxy.Messages()
			ended := make(chan error, 1)
			go func() {
				if args != nil {
					_, err := db.ExecContext(t.Context(), args[0].(string), args[1:]...)
					ended <- err
					return
				}
				tx, err := db.BeginTx(t.Context(), nil)
				if err == nil {
					err = tx.Rollback()
				}
				ended <- err
			}()
			pgtest.Eventually(t, "it is sent", func() bool {
				now := proxy.Messages()
				return now['B']+now['Q'] > before['B']+before['Q']
			})
			proxy.Flow()
			check.OK(t, <-ended)
		})
	}
	t.Run("COMMIT in a session that the server ended for being idle in the transaction is no unknown outcome", func(t *testing.T) {
		t.Parallel()
		cluster := pgtest.Shared(t)
		uri := cluster.Database(t)
		db := open(t, pgsafe.DriverName, with(uri, "idle_in_transaction_session_timeout=100"))
		tx, err := db.BeginTx(context.WithoutCancel(t.Context()), nil)
		check.OK(t, err)
		gone(t, cluster, databaseOf(t, uri))
		err = tx.Commit()
		check.Equal(t, pgsafe.SQLState(err), "25P03")
		check.Equal(t, pgsafe.KindOf(err), pgsafe.KindTimeout)
	})
	t.Run("a statement of a sql.Conn reports that its session was idle for too long", func(t *testing.T) {
		t.Parallel()
		uri := pgtest.Shared(t).Database(t)
		conn := heldConn(t, with(uri, "idle_session_timeout=100"))
		gone(t, pgtest.Shared(t), databaseOf(t, uri))
		_, err := conn.ExecContext(t.Context(), "select $1::int", 1)
		check.Equal(t, pgsafe.SQLState(err), "57P05")
	})
}
