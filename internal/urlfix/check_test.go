package urlfix_test

import (
	"testing"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name, key, value string
		want             urlfix.Param
		code             urlfix.Code
		part             string
	}{
		{"a keyword passes", "sslmode", "require", urlfix.Param{Key: "sslmode", Value: "require"}, "", ""},
		{"a value becomes canonical", "connect_timeout", " 010", urlfix.Param{Key: "connect_timeout", Value: "10"}, "", ""},
		{"a setting gets its usual name", "DateStyle", "ISO", urlfix.Param{Key: "datestyle", Value: "ISO"}, "", ""},
		{"the database has one name", "database", "d", urlfix.Param{Key: "dbname", Value: "d"}, "", ""},
		{"hosts are a list", "host", "a,/run,::1", urlfix.Param{Key: "host", Value: "a,/run,::1"}, "", ""},
		{"the fallback of the name stays one", "fallback_application_name", "a",
			urlfix.Param{Key: "fallback_application_name", Value: "a"}, "", ""},
		{"an optional keyword without a value is not given", "sslcrl", "", urlfix.Param{}, "", ""},
		{"a value that changes nothing is dropped", "gssencmode", "prefer", urlfix.Param{}, "", ""},
		{"a keyword without effect is dropped", "sslcompression", "1", urlfix.Param{}, "", ""},

		{"a wrong value is refused", "sslmode", "Require", urlfix.Param{}, urlfix.CodeValue, "sslmode"},
		{"an empty value is refused where the string would be", "sslmode", "", urlfix.Param{}, urlfix.CodeValue, "sslmode"},
		{"a value that cannot be honoured is refused", "gssencmode", "require", urlfix.Param{}, urlfix.CodeUnsupported,
			"gssencmode"},
		{"a list with something that is no host is refused", "host", "a,b c", urlfix.Param{}, urlfix.CodeValue, "host"},
		{"a list with something that is no port is refused", "port", "1,65536", urlfix.Param{}, urlfix.CodeValue, "port"},
		{"a control character is refused", "options", "a\nb", urlfix.Param{}, urlfix.CodeControlCharacter, "options"},
		{"an unknown key is refused without its name", "s3cret", "x", urlfix.Param{}, urlfix.CodeUnknownKey, "parameter"},
		{"the pool's keys are for strings only", "pool_max_conns", "7", urlfix.Param{}, urlfix.CodeUnknownKey, "parameter"},
		{"a secret is no keyword for Check", "password", "x", urlfix.Param{}, urlfix.CodeUnknownKey, "parameter"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := urlfix.Check(c.key, c.value)
			if c.code != "" {
				if err == nil || err.Code != c.code || err.Part != c.part {
					t.Fatalf("%v %v", got, err)
				}
				return
			}
			if err != nil || got != c.want {
				t.Errorf("%v %v", got, err)
			}
		})
	}
}

func TestHostParams(t *testing.T) {
	for _, c := range []struct{ name, dsn, want string }{
		{"an empty authority gives neither host nor port", "postgres:///db", ""},
		{"a host leaves the port open", "postgres://h/db", "host=h;"},
		{"a port leaves the host open", "port=5433", "port=5433;"},
		{"a host and a port are both given", "postgres://h:5433/db", "host=h;port=5433;"},
		{"a list of keywords leaves the port open", "host=a,b", "host=a,b;"},
		{"a list in the authority says that all ports are the default", "postgres://a,b/db", "host=a,b;port=,;"},
		{"an empty port stays open in a list", "postgres://a:1,b/db", "host=a,b;port=1,;"},
		{"an empty host is the local one", "host='' port=5433", "host=;port=5433;"},
		{"addresses leave the host open", "hostaddr=::1,::2 dbname=d", ""},
		{"addresses with hosts keep the hosts", "host=a,b hostaddr=::1,::2 port=1", "host=a,b;port=1,1;"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := mustParse(t, c.dsn)
			got := ""
			for _, p := range d.HostParams() {
				got += p.Key + "=" + p.Value + ";"
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
