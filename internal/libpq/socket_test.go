package libpq_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsafe/pgsafe/internal/pgserver"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

func TestSeveralSockets(t *testing.T) {
	readOnly := map[string]string{"default_transaction_read_only": "on"}
	first, second := pgtest.New(t, pgserver.Options{Settings: readOnly}), scram(t, "password-of-the-second", nil)
	links := t.TempDir()
	check.OK(t, os.Symlink(first.SocketDir(), filepath.Join(links, "a")))
	check.OK(t, os.Symlink(second.SocketDir(), filepath.Join(links, "b")))
	dsn := func(a, b string) string {
		file := writeFile(t, "passwords", fmt.Sprintf("%s:*:*:*:password-of-the-first\n%s:*:*:*:password-of-the-second\n", a, b))
		return fmt.Sprintf("host=%s,%s port=%d,%d user=postgres dbname=postgres target_session_attrs=read-write passfile=%s",
			a, b, first.Port(), second.Port(), file)
	}
	for _, c := range []struct{ name, dsn string }{
		{"the path that the server was given", dsn(first.SocketDir(), second.SocketDir())},
		{"a link to its directory", dsn(filepath.Join(links, "a"), filepath.Join(links, "b"))},
	} {
		t.Run("a statement on the second server is cancelled there, by "+c.name, func(t *testing.T) {
			conn := connect(t, c.dsn)
			ended := make(chan error, 1)
			go func() {
				_, err := conn.Exec(t.Context(), "select pg_sleep(600)")
				ended <- err
			}()
			// The first request may come before the statement.
			pgtest.Eventually(t, "the statement ends", func() bool {
				check.OK(t, conn.PgConn().CancelRequest(t.Context()))
				select {
				case err := <-ended:
					var cancelled *pgconn.PgError
					check.Equal(t, errors.As(err, &cancelled), true)
					check.Equal(t, cancelled.Code, "57014")
					return true
				default:
					return false
				}
			})
		})
		t.Run("the connection's configuration has all servers still, by "+c.name, func(t *testing.T) {
			config := connect(t, c.dsn).Config()
			check.Equal(t, len(config.Fallbacks), 1)
			check.Equal(t, config.Port, uint16(second.Port()))
			check.Equal(t, config.Fallbacks[0].Port, uint16(first.Port()))
		})
	}
}
