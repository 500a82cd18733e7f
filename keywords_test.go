package pgsafe_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgserver"
	"github.com/pgsafe/pgsafe/internal/pgtest"
)

// internal/libpq tests the keywords one by one. Here it is shown that sql.Open honours each kind of them.
func TestSQLOpenHonoursKeywordsThatPgxLacks(t *testing.T) {
	cluster := pgtest.Shared(t)
	base := fmt.Sprintf("port=%d user=postgres dbname=postgres sslmode=disable ", cluster.Port())
	t.Run("hostaddr, keepalives and tcp_user_timeout", func(t *testing.T) {
		db := open(t, pgsafe.DriverName, base+"host=name.invalid hostaddr=127.0.0.1 keepalives_idle=33 tcp_user_timeout=4321")
		equal(t, one[string](t, db, "show tcp_user_timeout"), "0")
	})
	t.Run("load_balance_hosts", func(t *testing.T) {
		other := pgtest.New(t, pgserver.Options{})
		db := open(t, pgsafe.DriverName, fmt.Sprintf("host=%s,%s port=%d,%d user=postgres dbname=postgres sslmode=disable load_balance_hosts=random",
			cluster.Host(), other.Host(), cluster.Port(), other.Port()))
		found := map[string]bool{}
		for range 40 { // all of them on one of two servers: 2 in 2^40
			raw(t, t.Context(), db, func(conn *pgx.Conn) error {
				var port string
				defer conn.Close(t.Context()) // so that the next one is new
				err := conn.QueryRow(t.Context(), "show port").Scan(&port)
				found[port] = true
				return err
			})
		}
		equal(t, len(found), 2)
	})
	t.Run("requirepeer", func(t *testing.T) {
		db := open(t, pgsafe.DriverName, base+"requirepeer=nobody-of-this-name host="+cluster.SocketDir())
		err := db.PingContext(t.Context())
		if err == nil || !strings.Contains(err.Error(), "requirepeer") {
			t.Errorf("%v", err)
		}
	})
}

func TestPasswordFile(t *testing.T) {
	const rightPassword, wrongPassword = "r1ght:Pa55", "wr0ng-Pa55"
	first := pgtest.New(t, pgserver.Options{Auth: pgserver.SCRAM, Password: rightPassword,
		Settings: map[string]string{"default_transaction_read_only": "on"}})
	second := pgtest.New(t, pgserver.Options{Auth: pgserver.SCRAM, Password: "0ther-Pa55"})
	file := filepath.Join(t.TempDir(), "passwords")
	write := func(t *testing.T, password string) {
		t.Helper()
		must(t, os.WriteFile(file, fmt.Appendf(nil, "*:%d:*:*:%s\n*:%d:*:*:0ther-Pa55\n",
			first.Port(), strings.ReplaceAll(password, ":", `\:`), second.Port()), 0o600))
	}
	dsn := fmt.Sprintf("host=localhost,localhost port=%d,%d user=postgres dbname=postgres sslmode=disable passfile=%s target_session_attrs=read-write",
		first.Port(), second.Port(), file)
	t.Run("each server gets its own password", func(t *testing.T) {
		write(t, rightPassword)
		equal(t, one[string](t, open(t, pgsafe.DriverName, dsn), "show port"), fmt.Sprint(second.Port()))
	})
	t.Run("an error does not show it", func(t *testing.T) {
		write(t, wrongPassword)
		err := open(t, pgsafe.DriverName, dsn).PingContext(t.Context())
		equal(t, pgsafe.KindOf(err), pgsafe.KindAuth)
		noSecret(t, err, wrongPassword)
	})
	t.Run("nor does one of the application's, when the connection shows it", func(t *testing.T) {
		write(t, rightPassword)
		c, err := pgsafe.NewConnector(dsn, pgsafe.WithAfterConnect(leak))
		must(t, err)
		db := sql.OpenDB(c)
		defer db.Close()
		noSecret(t, db.PingContext(t.Context()), "0ther-Pa55")
	})
	t.Run("one that others may read is ignored, and the error says so", func(t *testing.T) {
		write(t, rightPassword)
		must(t, os.Chmod(file, 0o644))
		err := open(t, pgsafe.DriverName, dsn).PingContext(t.Context())
		if err == nil || !strings.Contains(err.Error(), "chmod 0600") {
			t.Errorf("%v", err)
		}
	})
}

// leak is a hook whose error holds the password of the connection.
func leak(_ context.Context, conn *pgx.Conn) error {
	return fmt.Errorf("cannot use %s", conn.Config().Password)
}
