package libpq_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/urlfix"
)

func TestEnvironmentReachesTheServer(t *testing.T) {
	uri := pgtest.Shared(t).URI("postgres")
	for _, c := range []struct{ variable, value, query, want string }{
		{"PGDATESTYLE", "German", "show datestyle", "German, DMY"},
		{"PGTZ", "Asia/Tokyo", "show timezone", "Asia/Tokyo"},
		{"PGGEQO", "off", "show geqo", "off"},
		{"PGGEQO", "DEFAULT", "show geqo", "on"},
		{"PGAPPNAME", "billing", "show application_name", "billing"},
		{"PGOPTIONS", "-c work_mem=123kB", "show work_mem", "123kB"},
		{"PGCLIENTENCODING", "unicode", "show client_encoding", "UTF8"},
		{"PGCLIENTENCODING", "auto", "select 'connected'", "connected"},
		{"PGGSSENCMODE", "prefer", "select 'connected'", "connected"},
		{"PGGSSENCMODE", "disable", "select 'connected'", "connected"},
		{"PGGSSDELEGATION", "0", "select 'connected'", "connected"},
		{"PGGSSLIB", "gssapi", "select 'connected'", "connected"},
		{"PGKRBSRVNAME", "postgres", "select 'connected'", "connected"},
		{"PGSSLCOMPRESSION", "1", "select 'connected'", "connected"},
		{"PGLOADBALANCEHOSTS", "disable", "select 'connected'", "connected"},
		{"PGREQUIREPEER", "nobody-here", "select 'connected'", "connected"}, // over TCP
		{"PGSSLMODE", "", "select 'connected'", "connected"},
	} {
		t.Run(fmt.Sprintf("%s=%s shows on the server", c.variable, c.value), func(t *testing.T) {
			t.Setenv(c.variable, c.value)
			check.Equal(t, show(t, connect(t, uri), c.query), c.want)
		})
	}
}

func TestEnvironmentNamesTheServer(t *testing.T) {
	cluster := pgtest.SharedTLS(t)
	t.Setenv("PGHOST", "name-that-nobody-has.invalid")
	t.Setenv("PGHOSTADDR", "127.0.0.1")
	t.Setenv("PGPORT", fmt.Sprint(cluster.Port()))
	t.Setenv("PGUSER", pgtest.TLSUser)
	t.Setenv("PGPASSWORD", pgtest.TLSPassword)
	t.Setenv("PGDATABASE", pgtest.TLSDatabase)
	check.Equal(t, show(t, connect(t, ""), "select current_user || '@' || current_database()"), pgtest.TLSUser+"@"+pgtest.TLSDatabase)
}

func TestPGREQUIRESSL(t *testing.T) {
	bare, _, _ := strings.Cut(pgtest.Shared(t).URI("postgres"), "?")
	t.Setenv("PGREQUIRESSL", "1")
	t.Run("it asks for TLS, which this server does not have", func(t *testing.T) {
		if _, err := dialDSN(t, bare); err == nil {
			t.Error("connected without TLS")
		}
	})
	t.Run("PGSSLMODE outranks it", func(t *testing.T) {
		t.Setenv("PGSSLMODE", "disable")
		connect(t, bare)
	})
}

func TestEnvironmentIsChecked(t *testing.T) {
	for _, c := range []struct {
		variable, value string
		code            urlfix.Code
	}{
		{"PGHOST", "odd host", urlfix.CodeValue},
		{"PGHOSTADDR", "odd.name", urlfix.CodeValue},
		{"PGHOSTADDR", "127.0.0.1,127.0.0.2", urlfix.CodeValue}, // for one host
		{"PGPORT", "oddport", urlfix.CodeValue},
		{"PGPORT", "1,2,3", urlfix.CodeValue},
		{"PGOPTIONS", "odd\nvalue", urlfix.CodeControlCharacter},
		{"PGCLIENTENCODING", "LATIN1", urlfix.CodeValue},
		{"PGCONNECT_TIMEOUT", "oddtime", urlfix.CodeValue},
		{"PGTARGETSESSIONATTRS", "oddly", urlfix.CodeValue},
		{"PGLOADBALANCEHOSTS", "oddly", urlfix.CodeValue},
		{"PGREQUIREAUTH", "oddauth", urlfix.CodeValue},
		{"PGCHANNELBINDING", "oddly", urlfix.CodeValue},
		{"PGMINPROTOCOLVERSION", "9.99", urlfix.CodeValue},
		{"PGMAXPROTOCOLVERSION", "9.99", urlfix.CodeValue},
		{"PGSSLMODE", "oddmode", urlfix.CodeValue},
		{"PGSSLNEGOTIATION", "oddly", urlfix.CodeValue},
		{"PGSSLCERTMODE", "oddmode", urlfix.CodeValue},
		{"PGSSLSNI", "oddly", urlfix.CodeValue},
		{"PGSSLMINPROTOCOLVERSION", "TLSv9", urlfix.CodeValue},
		{"PGSSLMAXPROTOCOLVERSION", "TLSv9", urlfix.CodeValue},
		{"PGSSLROOTCERT", "/odd/nowhere", urlfix.CodeValue},
		{"PGSSLCERT", "/odd/nowhere", urlfix.CodeValue},
		{"PGSSLKEY", "/odd/nowhere", urlfix.CodeValue},
		{"PGPASSFILE", "/dev/null/odd", urlfix.CodeValue},
		{"PGGSSENCMODE", "require", urlfix.CodeUnsupported},
		{"PGGSSDELEGATION", "1", urlfix.CodeUnsupported},
		{"PGGSSLIB", "sspi-odd", urlfix.CodeUnsupported},
		{"PGSERVICE", "odd-service", urlfix.CodeValue},
	} {
		t.Run(fmt.Sprintf("%s=%q is refused by name", c.variable, c.value), func(t *testing.T) {
			t.Setenv("HOME", t.TempDir())
			t.Setenv("PGSYSCONFDIR", t.TempDir())
			t.Setenv(c.variable, c.value)
			dsn := "postgres://u@h/d?sslmode=require"
			switch c.variable {
			case "PGHOST":
				dsn = "postgres://u@/d"
			case "PGSSLMODE":
				dsn = "postgres://u@h/d"
			}
			refused := refusal(t, dsn)
			if refused.Code != c.code || refused.Part != c.variable {
				t.Errorf("%s: %v", refused.Code, refused)
			}
			if strings.Contains(strings.ToLower(refused.Error()), "odd") {
				t.Errorf("the error shows the value: %v", refused)
			}
		})
	}
}

// Each source has a name for the application. They are taken away one by one.
func TestRankOfTheSources(t *testing.T) {
	t.Setenv("PGSERVICEFILE", writeFile(t, "services", "[named]\napplication_name=service\n[other]\nfallback_application_name=fallback\n"))
	uri := pgtest.Shared(t).URI("postgres")
	name := func(t *testing.T, dsn string) string { return show(t, connect(t, dsn), "show application_name") }
	t.Run("a fallback in the string is the last", func(t *testing.T) {
		check.Equal(t, name(t, with(uri, "fallback_application_name", "fallback")), "fallback")
	})
	t.Setenv("PGAPPNAME", "environment")
	t.Run("the environment outranks a fallback in the string", func(t *testing.T) {
		check.Equal(t, name(t, with(uri, "fallback_application_name", "fallback")), "environment")
	})
	t.Run("the environment outranks a fallback in the service file", func(t *testing.T) {
		check.Equal(t, name(t, with(uri, "service", "other")), "environment")
	})
	t.Run("the service file outranks the environment", func(t *testing.T) {
		check.Equal(t, name(t, with(uri, "service", "named", "fallback_application_name", "fallback")), "service")
	})
	t.Run("the string outranks the service file", func(t *testing.T) {
		check.Equal(t, name(t, with(uri, "service", "named", "application_name", "string")), "string")
	})
	t.Run("a setting in the string outranks that of the environment", func(t *testing.T) {
		t.Setenv("PGTZ", "Asia/Tokyo")
		check.Equal(t, show(t, connect(t, with(uri, "timezone", "Europe/Rome")), "show timezone"), "Europe/Rome")
	})
}

func TestDefaults(t *testing.T) {
	t.Run("without a user, a host and a port there are libpq's", func(t *testing.T) {
		c, err := read("")
		check.OK(t, err)
		if c.Conn.User == "" || c.Conn.Host == "" || c.Conn.Port != 5432 {
			t.Errorf("%q %q %d", c.Conn.User, c.Conn.Host, c.Conn.Port)
		}
	})
	t.Run("connecting ends after ten seconds", func(t *testing.T) {
		c, err := read("host=h")
		check.OK(t, err)
		check.Equal(t, c.Conn.ConnectTimeout.Seconds(), 10)
	})
	t.Run("a password file that is not there is no error", func(t *testing.T) {
		home := t.TempDir()
		t.Setenv("HOME", home)
		_, err := read("host=h passfile=" + filepath.Join(home, "nothing"))
		check.OK(t, err)
	})
	t.Run("an address alone has no name for verify-full, wherever it comes from", func(t *testing.T) {
		t.Setenv("PGHOSTADDR", "127.0.0.1")
		check.Equal(t, refusal(t, "user=u sslmode=verify-full").Part, "PGHOSTADDR")
		t.Setenv("PGHOST", os.TempDir())
		check.Equal(t, refusal(t, "user=u sslmode=verify-full").Part, "PGHOSTADDR")
	})
}
