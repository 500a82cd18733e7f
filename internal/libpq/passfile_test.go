package libpq_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsafe/pgsafe/internal/pgserver"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

// scram starts a server whose superuser has a password.
func scram(t testing.TB, password string, settings map[string]string) *pgtest.Cluster {
	t.Helper()
	return pgtest.New(t, pgserver.Options{Auth: pgserver.SCRAM, Password: password, Settings: settings})
}

func TestEachServerGetsItsOwnPassword(t *testing.T) {
	primary := scram(t, "password:of\\primary", nil)
	readOnly := scram(t, "password of read-only ", map[string]string{"default_transaction_read_only": "on"})
	file := writeFile(t, "passwords", fmt.Sprintf("# two servers\n*:%d:*:postgres:password\\:of\\\\primary\nlocalhost:%d:postgres:*:password of read-only \n",
		primary.Port(), readOnly.Port()))
	dsn := func(first, second *pgtest.Cluster, session string) string {
		return fmt.Sprintf("host=localhost,localhost port=%d,%d user=postgres dbname=postgres sslmode=disable passfile=%s target_session_attrs=%s",
			first.Port(), second.Port(), file, session)
	}
	for _, c := range []struct {
		name, dsn string
		want      *pgtest.Cluster
	}{
		{"the first", dsn(primary, readOnly, "any"), primary},
		{"the first, the other way round", dsn(readOnly, primary, "any"), readOnly},
		{"the second, after the first took its own", dsn(primary, readOnly, "read-only"), readOnly},
		{"the second, the other way round", dsn(readOnly, primary, "read-write"), primary},
	} {
		t.Run(c.name, func(t *testing.T) {
			check.Equal(t, show(t, connect(t, c.dsn), "show port"), fmt.Sprint(c.want.Port()))
		})
	}
	t.Run("they are known by their sockets too", func(t *testing.T) {
		sockets := writeFile(t, "passwords", fmt.Sprintf("%s:*:*:*:password\\:of\\\\primary\n%s:*:*:*:password of read-only \n",
			primary.SocketDir(), readOnly.SocketDir()))
		conn := connect(t, fmt.Sprintf("host=%s,%s port=%d,%d user=postgres dbname=postgres passfile=%s target_session_attrs=read-only",
			primary.SocketDir(), readOnly.SocketDir(), primary.Port(), readOnly.Port(), sockets))
		check.Equal(t, show(t, conn, "show port"), fmt.Sprint(readOnly.Port()))
	})
	t.Run("a connection's configuration connects again", func(t *testing.T) {
		config := connect(t, dsn(primary, readOnly, "read-only")).Config()
		conn, err := pgconn.ConnectConfig(t.Context(), &config.Config)
		check.OK(t, err)
		check.OK(t, conn.Close(t.Context()))
	})
}

func TestNoServerGetsAnothersPassword(t *testing.T) {
	t.Run("without TLS, servers are told apart by their addresses and ports", func(t *testing.T) {
		a, b, c := newRecorder(t, nil), newRecorder(t, nil), newRecorder(t, nil)
		file := writeFile(t, "passwords", fmt.Sprintf("localhost:%d:*:*:password-of-a\nb.invalid:%d:*:*:password-of-b\n", a.port(), b.port()))
		_, err := dialDSN(t, fmt.Sprintf("host=localhost,b.invalid,127.0.0.1 hostaddr=',127.0.0.1,' port=%d,%d,%d user=u sslmode=disable passfile=%s",
			a.port(), b.port(), c.port(), file))
		check.Equal(t, err != nil, true)
		same(t, a.passwords(), "password-of-a")
		same(t, b.passwords(), "password-of-b")
		same(t, c.passwords(), "")
	})
	t.Run("behind one address, they are told apart by the name that TLS asks for", func(t *testing.T) {
		r := newRecorder(t, certificate(t))
		file := writeFile(t, "passwords", "a.invalid:*:*:*:password-of-a\nb.invalid:*:*:*:password-of-b\n")
		_, err := dialDSN(t, fmt.Sprintf("host=b.invalid,a.invalid,c.invalid hostaddr=127.0.0.1,127.0.0.1,127.0.0.1 port=%d user=u sslmode=require passfile=%s", r.port(), file))
		check.Equal(t, err != nil, true)
		same(t, r.passwords(), "password-of-b", "password-of-a", "")
		same(t, []string{r.visits[0].serverName, r.visits[1].serverName, r.visits[2].serverName}, "b.invalid", "a.invalid", "c.invalid")
	})
	t.Run("where nothing tells them apart, none is sent", func(t *testing.T) {
		r := newRecorder(t, nil)
		file := writeFile(t, "passwords", "a.invalid:*:*:*:password-of-a\nb.invalid:*:*:*:password-of-b\n")
		_, err := dialDSN(t, fmt.Sprintf("host=b.invalid,a.invalid hostaddr=127.0.0.1,127.0.0.1 port=%d user=u sslmode=disable passfile=%s", r.port(), file))
		check.Equal(t, err != nil, true)
		same(t, r.passwords(), "", "")
	})
	t.Run("a password that the application sets goes to all", func(t *testing.T) {
		a, b := newRecorder(t, nil), newRecorder(t, nil)
		file := writeFile(t, "passwords", "*:*:*:*:password-of-the-file\n")
		c, err := read(fmt.Sprintf("host=127.0.0.1,127.0.0.1 port=%d,%d user=u sslmode=disable passfile=%s", a.port(), b.port(), file))
		check.OK(t, err)
		config := c.Conn.Copy()
		c.Prepare(config)
		config.Password = "password-of-the-application"
		c.Settle(config)
		_, err = pgconn.ConnectConfig(t.Context(), &config.Config)
		check.Equal(t, err != nil, true)
		same(t, append(a.passwords(), b.passwords()...), "password-of-the-application", "password-of-the-application")
	})
}

func TestPasswordFile(t *testing.T) {
	r := newRecorder(t, nil)
	sent := func(t *testing.T, params string) string {
		t.Helper()
		before := len(r.passwords())
		_, err := dialDSN(t, fmt.Sprintf("user=u sslmode=disable port=%d ", r.port())+params)
		var refused *pgconn.PgError
		if !errors.As(err, &refused) {
			t.Fatal(err)
		}
		return r.passwords()[before]
	}
	for _, c := range []struct{ name, line, params, want string }{
		{"a line of wildcards", "*:*:*:*:found", "host=127.0.0.1", "found"},
		{"a line for another host", "other:*:*:*:found", "host=127.0.0.1", ""},
		{"a line for another port", "*:1:*:*:found", "host=127.0.0.1", ""},
		{"a line for another database", "*:*:other:*:found", "host=127.0.0.1 dbname=d", ""},
		{"a line for another user", "*:*:*:other:found", "host=127.0.0.1", ""},
		{"the database is the user's own if there is none", "*:*:u:*:found", "host=127.0.0.1", "found"},
		{"the first line that matches", "x:*:*:*:no\n*:*:*:*:found\n127.0.0.1:*:*:*:second", "host=127.0.0.1", "found"},
		{"a comment", "#:*:*:*:no\n*:*:*:*:found", "host=127.0.0.1", "found"},
		{"the host's name, not its address", "127.0.0.1:*:*:*:no\nname.invalid:*:*:*:found", "host=name.invalid hostaddr=127.0.0.1", "found"},
		{"the address without a host", "127.0.0.1:*:*:*:found", "hostaddr=127.0.0.1", "found"},
		{"the socket directory, not the address that outranks it", "127.0.0.1:*:*:*:no\n/nowhere:*:*:*:found", "host=/nowhere hostaddr=127.0.0.1", "found"},
		{"the default socket directory is localhost", "127.0.0.1:*:*:*:no\nlocalhost:*:*:*:found", "host=" + defaultHost(t) + " hostaddr=127.0.0.1", "found"},
		{"an escaped colon in a field", `*:*:a\:b:*:found`, "host=127.0.0.1 dbname=a:b", "found"},
		{"a colon that the value has needs no escape", `*:*:a:b:*:found`, "host=127.0.0.1 dbname=a:b", "found"},
		{"a colon that the value has not ends a field", `*:*:a:b:*:no`, "host=127.0.0.1 dbname=a", ""},
		{"an escaped wildcard is an asterisk", `*:*:\*:*:found`, "host=127.0.0.1 dbname=d", ""},
		{"a password ends at a colon", "*:*:*:*:found:more", "host=127.0.0.1", "found"},
		{"blanks belong to the password", "*:*:*:*: found \r", "host=127.0.0.1", " found "},
		{"a password in the string outranks it", "*:*:*:*:no", "host=127.0.0.1 password=string", "string"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := writeFile(t, "passwords", c.line+"\n")
			check.Equal(t, sent(t, c.params+" passfile="+file), c.want)
		})
	}
	t.Run("PGPASSWORD outranks it", func(t *testing.T) {
		t.Setenv("PGPASSWORD", "environment")
		check.Equal(t, sent(t, "host=127.0.0.1 passfile="+writeFile(t, "passwords", "*:*:*:*:no\n")), "environment")
	})
	t.Run("PGPASSFILE names it", func(t *testing.T) {
		t.Setenv("PGPASSFILE", writeFile(t, "passwords", "*:*:*:*:found\n"))
		check.Equal(t, sent(t, "host=127.0.0.1"), "found")
	})
	t.Run("it is in the home directory if nothing names it", func(t *testing.T) {
		home := t.TempDir()
		t.Setenv("HOME", home)
		check.OK(t, os.WriteFile(filepath.Join(home, ".pgpass"), []byte("*:*:*:*:found\n"), 0o600))
		check.Equal(t, sent(t, "host=127.0.0.1"), "found")
	})
	t.Run("it is read anew for each connection", func(t *testing.T) {
		file := writeFile(t, "passwords", "*:*:*:*:old\n")
		c, err := read(fmt.Sprintf("host=127.0.0.1 user=u sslmode=disable port=%d passfile=%s", r.port(), file))
		check.OK(t, err)
		var found []string
		c.OnPassword = func(password string) { found = append(found, password) }
		before := len(r.passwords())
		for _, password := range []string{"new", "newer"} {
			check.OK(t, os.WriteFile(file, []byte("*:*:*:*:"+password+"\n"), 0o600))
			_, err = dial(t, c)
			check.Equal(t, err != nil, true)
		}
		same(t, r.passwords()[before:], "new", "newer")
		same(t, found, "new", "newer")
	})
	t.Run("one that others have access to is ignored, and warned of", func(t *testing.T) {
		for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o610} {
			file := writeFile(t, "passwords", "*:*:*:*:no\n")
			check.OK(t, os.Chmod(file, mode))
			check.Equal(t, sent(t, "host=127.0.0.1 passfile="+file), "")
			c, err := read("host=h passfile=" + file)
			check.OK(t, err)
			if len(c.Warnings) != 1 || c.Warnings[0].Part != "passfile" || !strings.Contains(c.Warnings[0].Text, "ignored") {
				t.Errorf("mode %o: %v", mode, c.Warnings)
			}
			refused := &pgconn.ConnectError{Config: &c.Conn.Config}
			check.Equal(t, c.PasswordHint(refused), c.Warnings[0].Text)
			check.OK(t, os.Chmod(file, 0o600))
			check.Equal(t, c.PasswordHint(refused), "")
		}
	})
}

// defaultHost is where a string leads that names no host.
func defaultHost(t testing.TB) string {
	t.Helper()
	c, err := read("user=u")
	check.OK(t, err)
	return c.Conn.Host
}

func TestPasswordFileLetsIn(t *testing.T) {
	cluster := scram(t, `a:b\c d`, nil)
	for line, works := range map[string]bool{
		`localhost:%d:postgres:postgres:a\:b\\c d`: true,
		`localhost:%d:postgres:postgres:a:b\\c d`:  false,
		`*:*:*:*:a\:b\c d`:                         false,
		` *:*:*:*:a\:b\\c d`:                       false,
	} {
		if strings.Contains(line, "%d") {
			line = fmt.Sprintf(line, cluster.Port())
		}
		t.Run(line, func(t *testing.T) {
			_, err := dialDSN(t, fmt.Sprintf("host=localhost port=%d user=postgres dbname=postgres sslmode=disable passfile=%s",
				cluster.Port(), writeFile(t, "passwords", line+"\n")))
			check.Equal(t, err == nil, works)
		})
	}
}
