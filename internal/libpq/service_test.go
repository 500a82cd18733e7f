package libpq_test

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/urlfix"
)

// serviceFile writes a service file whose service "orders" is the superuser's on the server with TLS, and more.
func serviceFile(t testing.TB, more string) string {
	t.Helper()
	return writeFile(t, "pg_service.conf", ordersService(t)+more)
}

func ordersService(t testing.TB) string {
	t.Helper()
	return fmt.Sprintf("# services\nthis is in no section\n[orders]\nhost=localhost\nport=%d\nuser=%s\ndbname=%s\npassword=%s\n",
		pgtest.SharedTLS(t).Port(), pgtest.TLSUser, pgtest.TLSDatabase, pgtest.TLSPassword)
}

func TestServiceFile(t *testing.T) {
	t.Run("it says how to connect, also with keywords that pgx lacks and settings of the server", func(t *testing.T) {
		t.Setenv("PGSERVICEFILE", serviceFile(t, "hostaddr=127.0.0.1\nkeepalives_idle=7\ntcp_user_timeout=4321\ngssencmode=prefer\n"+
			"host=other-value-for-the-same.invalid\nwork_mem=123kB\nfallback_application_name=fallback\n"))
		conn := connect(t, "service=orders")
		check.Equal(t, show(t, conn, "show work_mem"), "123kB")
		check.Equal(t, show(t, conn, "show application_name"), "fallback")
		check.Equal(t, show(t, conn, "show tcp_user_timeout"), "0")
	})
	t.Run("blanks around the equals sign are fine", func(t *testing.T) {
		t.Setenv("PGSERVICEFILE", serviceFile(t, "application_name = blanks \n"))
		check.Equal(t, show(t, connect(t, "service=orders"), "show application_name"), "blanks")
	})
	t.Run("the first section of a name counts", func(t *testing.T) {
		t.Setenv("PGSERVICEFILE", serviceFile(t, "[orders]\napplication_name=second\n[orders2]\napplication_name=other\n"))
		check.Equal(t, show(t, connect(t, "service=orders"), "show application_name"), "")
	})
	t.Run("a string outranks its password", func(t *testing.T) {
		t.Setenv("PGSERVICEFILE", serviceFile(t, ""))
		if _, err := dialDSN(t, "service=orders password=wrong-one"); err == nil {
			t.Error("connected with the password of the service file")
		}
	})
	t.Run("its password outranks the environment's", func(t *testing.T) {
		t.Setenv("PGSERVICEFILE", serviceFile(t, ""))
		t.Setenv("PGPASSWORD", "wrong-one")
		connect(t, "service=orders")
	})
}

// pgx reads the service that PGSERVICE names by rules of its own.
func TestWhereServiceFilesAre(t *testing.T) {
	for _, c := range []struct {
		name  string
		setUp func(t *testing.T, home, system string)
	}{
		{"in the home directory", func(t *testing.T, home, _ string) {
			check.OK(t, os.WriteFile(filepath.Join(home, ".pg_service.conf"), []byte(strings.ReplaceAll(ordersService(t), "this is in no section\n", "")), 0o600))
		}},
		{"in the system's directory", func(t *testing.T, _, system string) {
			check.OK(t, os.WriteFile(filepath.Join(system, "pg_service.conf"), []byte(strings.ReplaceAll(ordersService(t), "this is in no section\n", "")), 0o600))
		}},
		{"in the system's directory, where the user's file has other services", func(t *testing.T, home, system string) {
			check.OK(t, os.WriteFile(filepath.Join(home, ".pg_service.conf"), []byte("[others]\nhost=h\n"), 0o600))
			check.OK(t, os.WriteFile(filepath.Join(system, "pg_service.conf"), []byte(strings.ReplaceAll(ordersService(t), "this is in no section\n", "")), 0o600))
		}},
	} {
		t.Run("a service is found "+c.name, func(t *testing.T) {
			home, system := t.TempDir(), t.TempDir()
			t.Setenv("HOME", home)
			t.Setenv("PGSYSCONFDIR", system)
			c.setUp(t, home, system)
			connect(t, "service=orders")
			t.Setenv("PGSERVICE", "orders")
			connect(t, "")
		})
	}
}

// A service that PGSERVICE names is nothing to a string that names another one.
func TestStringsServiceOutranksPGSERVICE(t *testing.T) {
	t.Setenv("PGSERVICEFILE", writeFile(t, "pg_service.conf", ordersService(t)[len("# services\nthis is in no section\n"):]+
		"[others]\nuser=somebody\ndbname=template1\nsslmode=disable\ntarget_session_attrs=standby\nrequire_auth=none\n"+
		"channel_binding=disable\nsslcertmode=require\nkrbsrvname=other\nkrbspn=other\n"+
		"[bare]\nhost=localhost\n"))
	t.Setenv("PGSERVICE", "others")
	t.Run("its TLS and its servers are those of the string's service", func(t *testing.T) {
		conn := connect(t, "service=orders")
		check.Equal(t, show(t, conn, "select ssl::text from pg_stat_ssl where pid = pg_backend_pid()"), "true")
	})
	t.Run("what its service leaves open is libpq's default", func(t *testing.T) {
		c, err := read("service=bare")
		check.OK(t, err)
		account, err := user.Current()
		check.OK(t, err)
		check.Equal(t, c.Conn.User, account.Username)
		check.Equal(t, c.Conn.Database, "")
		check.Equal(t, c.Conn.KerberosSpn, "")
	})
	t.Run("a second section of the same name says nothing", func(t *testing.T) {
		t.Setenv("PGSERVICE", "twice")
		t.Setenv("PGSERVICEFILE", writeFile(t, "twice.conf", "[twice]"+strings.SplitN(ordersService(t), "[orders]", 2)[1]+"[twice]\nsslmode=disable\n"))
		conn := connect(t, "")
		check.Equal(t, show(t, conn, "select ssl::text from pg_stat_ssl where pid = pg_backend_pid()"), "true")
	})
}

func TestServiceFileRefusals(t *testing.T) {
	const secret = "s3cr3t-Pa55"
	for _, c := range []struct {
		name, lines, part string
		code              urlfix.Code
	}{
		{"a key of the pool", "pool_max_conns=7\n", "service", urlfix.CodeUnknownKey},
		{"a key that nobody knows", secret + "=7\n", "service", urlfix.CodeUnknownKey},
		{"a line without a value", secret + "\n", "service", urlfix.CodeSyntax},
		{"another service", "service=" + secret + "\n", "service", urlfix.CodeUnsupported},
		{"another service file", "servicefile=" + secret + "\n", "servicefile (service file)", urlfix.CodeUnsupported},
		{"an LDAP server", "ldap://" + secret + "/dc=example?description?one?(cn=x)\n", "service", urlfix.CodeUnsupported},
		{"a wrong value", "sslmode=" + secret + "\n", "sslmode (service file)", urlfix.CodeValue},
		{"what cannot be honoured", "gssencmode=require\n", "gssencmode (service file)", urlfix.CodeUnsupported},
		{"an encoding", "client_encoding=LATIN1\n", "client_encoding (service file)", urlfix.CodeValue},
		{"a file that is missing", "sslmode=require\nsslrootcert=/nowhere/" + secret + "\n", "sslrootcert (service file)", urlfix.CodeValue},
	} {
		t.Run(c.name+" is refused", func(t *testing.T) {
			t.Setenv("PGSERVICEFILE", writeFile(t, "services", "[orders]\nhost=h\npassword="+secret+"\n"+c.lines))
			refused := refusal(t, "service=orders")
			if refused.Code != c.code || refused.Part != c.part {
				t.Errorf("%s: %v", refused.Code, refused)
			}
			if text := fmt.Sprintf("%v %+v %#v", refused, refused, *refused); strings.Contains(text, secret) || strings.Contains(text, "/nowhere") {
				t.Errorf("the error shows the file: %s", text)
			}
		})
	}
	t.Run("a file that PGSERVICEFILE names and that is missing is refused", func(t *testing.T) {
		t.Setenv("PGSERVICEFILE", "/nowhere/"+secret)
		refused := refusal(t, "service=orders")
		check.Equal(t, refused.Part, "PGSERVICEFILE")
		check.Equal(t, strings.Contains(refused.Error(), secret), false)
	})
	t.Run("a file that nobody named is not called PGSERVICEFILE", func(t *testing.T) {
		home, system := t.TempDir(), t.TempDir()
		t.Setenv("HOME", home)
		t.Setenv("PGSYSCONFDIR", system)
		check.OK(t, os.Mkdir(filepath.Join(system, "pg_service.conf"), 0o700))
		refused := refusal(t, "service=orders")
		checkFault(t, refused, "service", "the service file of the system cannot be read")
		check.OK(t, os.Mkdir(filepath.Join(home, ".pg_service.conf"), 0o700))
		t.Setenv("PGSERVICE", "orders")
		refused = refusal(t, "")
		checkFault(t, refused, "PGSERVICE", "the service file in the home directory cannot be read")
	})
	t.Run("a file with a line that only libpq skips is refused under PGSERVICE, for which pgx reads it", func(t *testing.T) {
		t.Setenv("PGSERVICEFILE", serviceFile(t, ""))
		connect(t, "service=orders")
		t.Setenv("PGSERVICE", "orders")
		checkFault(t, refusal(t, ""), "PGSERVICE", "a line that libpq skips")
	})
	t.Run("a service that no file defines is refused", func(t *testing.T) {
		t.Setenv("HOME", t.TempDir())
		t.Setenv("PGSYSCONFDIR", t.TempDir())
		check.Equal(t, refusal(t, "service=orders").Part, "service")
	})
}
