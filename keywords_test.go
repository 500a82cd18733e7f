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
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

// internal/libpq tests the keywords one by one. Here it is shown that sql.Open honours each kind of them.
func TestSQLOpenHonoursKeywordsThatPgxLacks(t *testing.T) {
	cluster := pgtest.Shared(t)
	base := fmt.Sprintf("port=%d user=postgres dbname=postgres sslmode=disable ", cluster.Port())
	t.Run("hostaddr, keepalives and tcp_user_timeout", func(t *testing.T) {
		db := open(t, pgsafe.DriverName, base+"host=name.invalid hostaddr=127.0.0.1 keepalives_idle=33 tcp_user_timeout=4321")
		check.Equal(t, one[string](t, db, "show tcp_user_timeout"), "0")
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
		check.Equal(t, len(found), 2)
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
		check.OK(t, os.WriteFile(file, fmt.Appendf(nil, "*:%d:*:*:%s\n*:%d:*:*:0ther-Pa55\n",
			first.Port(), strings.ReplaceAll(password, ":", `\:`), second.Port()), 0o600))
	}
	dsn := fmt.Sprintf("host=localhost,localhost port=%d,%d user=postgres dbname=postgres sslmode=disable passfile=%s target_session_attrs=read-write",
		first.Port(), second.Port(), file)
	t.Run("each server gets its own password", func(t *testing.T) {
		write(t, rightPassword)
		check.Equal(t, one[string](t, open(t, pgsafe.DriverName, dsn), "show port"), fmt.Sprint(second.Port()))
	})
	t.Run("an error does not show it", func(t *testing.T) {
		write(t, wrongPassword)
		err := open(t, pgsafe.DriverName, dsn).PingContext(t.Context())
		check.Equal(t, pgsafe.KindOf(err), pgsafe.KindAuth)
		noSecret(t, err, wrongPassword)
	})
	t.Run("nor does one of the application's, when the connection shows it", func(t *testing.T) {
		write(t, rightPassword)
		c, err := pgsafe.NewConnector(dsn, pgsafe.WithAfterConnect(leak))
		check.OK(t, err)
		db := sql.OpenDB(c)
		defer db.Close()
		noSecret(t, db.PingContext(t.Context()), "0ther-Pa55")
	})
	t.Run("one that others may read is ignored, and the error says so", func(t *testing.T) {
		write(t, rightPassword)
		check.OK(t, os.Chmod(file, 0o644))
		err := open(t, pgsafe.DriverName, dsn).PingContext(t.Context())
		if err == nil || !strings.Contains(err.Error(), "chmod 0600") {
			t.Errorf("%v", err)
		}
	})
}

func TestPasswordFileWithAHook(t *testing.T) {
	first := pgtest.New(t, pgserver.Options{Auth: pgserver.SCRAM, Password: "f1rst-Pa55"})
	second := pgtest.New(t, pgserver.Options{Auth: pgserver.SCRAM, Password: "0ther-Pa55"})
	connect := func(t *testing.T, lines string, hook func(*pgx.ConnConfig)) error {
		t.Helper()
		file := filepath.Join(t.TempDir(), "passwords")
		check.OK(t, os.WriteFile(file, []byte(lines), 0o600))
		c, err := pgsafe.NewConnector(
			fmt.Sprintf("host=localhost port=%d user=postgres dbname=postgres sslmode=disable passfile=%s", first.Port(), file),
			pgsafe.WithBeforeConnect(func(_ context.Context, cc *pgx.ConnConfig) error {
				cc.Port = uint16(second.Port())
				hook(cc)
				return nil
			}))
		check.OK(t, err)
		db := sql.OpenDB(c)
		defer db.Close()
		return db.PingContext(t.Context())
	}
	ofFirst := fmt.Sprintf("*:%d:*:*:f1rst-Pa55\n", first.Port())
	ofSecond := fmt.Sprintf("*:%d:*:*:0ther-Pa55\n", second.Port())
	t.Run("the server that the hook names gets its own password", func(t *testing.T) {
		check.OK(t, connect(t, ofFirst+ofSecond, func(*pgx.ConnConfig) {}))
	})
	t.Run("and no other", func(t *testing.T) {
		err := connect(t, ofFirst, func(*pgx.ConnConfig) {})
		if err == nil || !strings.HasSuffix(err.Error(), "; "+noPassword) {
			t.Errorf("%v", err)
		}
	})
	t.Run("a password that the hook sets outranks the file", func(t *testing.T) {
		check.OK(t, connect(t, ofFirst, func(cc *pgx.ConnConfig) { cc.Password = "0ther-Pa55" }))
	})
}

const noPassword = "no password was given: add it to the string, PGPASSWORD or a password file"

func TestPasswordThatIsMissing(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	secured, certified := pgtest.SharedTLS(t), pgtest.ClientCert(t)
	withTLS := fmt.Sprintf("host=localhost port=%d user=%s dbname=%s sslmode=require ", secured.Port(), pgtest.TLSUser, pgtest.TLSDatabase)
	for _, c := range []struct {
		name, dsn string
		want      bool
	}{
		{"a login without a password says so", withTLS, true},
		{"one with a wrong password does not", withTLS + "password=wr0ng-Pa55", false},
		{"nor one that needs no password", fmt.Sprintf("host=localhost port=%d user=postgres dbname=postgres sslmode=require", certified.Port()), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := open(t, pgsafe.DriverName, c.dsn).PingContext(t.Context())
			check.Equal(t, pgsafe.KindOf(err), pgsafe.KindAuth)
			if strings.Contains(err.Error(), noPassword) != c.want {
				t.Error(err)
			}
		})
	}
}

func TestCertificateFaultsNameNoStep(t *testing.T) {
	cluster := pgtest.SharedTLS(t)
	file := filepath.Join(t.TempDir(), "passwords")
	check.OK(t, os.WriteFile(file, []byte("*:*:*:*:f1rst-Pa55\n"), 0o600))
	for _, hosts := range []string{"localhost", "localhost,localhost"} {
		t.Run("with the hosts "+hosts, func(t *testing.T) {
			err := open(t, pgsafe.DriverName, fmt.Sprintf("host=%s port=%d user=u sslmode=verify-full sslrootcert=system passfile=%s",
				hosts, cluster.Port(), file)).PingContext(t.Context())
			if err == nil || !strings.Contains(err.Error(), "(localhost): tls: failed to verify certificate") {
				t.Errorf("%v", err)
			}
		})
	}
}

// leak is a hook whose error holds the password of the connection.
func leak(_ context.Context, conn *pgx.Conn) error {
	return fmt.Errorf("cannot use %s", conn.Config().Password)
}
