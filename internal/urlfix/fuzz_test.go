package urlfix_test

import (
	"strings"
	"testing"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

// nameFile are parameters that make pgx read a file, which the fuzzer's strings do not come with.
var nameFile = []string{"sslrootcert=", "sslcert=", "sslkey=", "service=", "sslcertmode="}

// checkAccepted holds what is true of every string that Parse accepts.
func checkAccepted(t *testing.T, dsn string) *urlfix.DSN {
	d, err := urlfix.Parse(dsn)
	if err != nil {
		if _, ok := err.(*urlfix.Error); !ok {
			t.Fatalf("%T is no *Error", err)
		}
		return nil
	}
	uri := d.URI()
	again, err := urlfix.Parse(uri)
	if err != nil {
		t.Fatalf("%q became %q, which is refused: %v", dsn, uri, err)
	}
	if again.URI() != uri {
		t.Fatalf("%q became %q, and that %q", dsn, uri, again.URI())
	}
	if n, _, _, err := urlfix.Normalize(dsn, ""); err != nil || n != uri {
		t.Fatalf("Normalize(%q) is %q, %v; want %q", dsn, n, err, uri)
	}
	if again.Password.Reveal() != d.Password.Reveal() || again.User != d.User || again.Database != d.Database {
		t.Fatalf("%q and %q differ in user, password or database", dsn, uri)
	}
	for _, key := range nameFile {
		if strings.Contains(uri, key) {
			return d
		}
	}
	checkOracle(t, d)
	return d
}

func FuzzParse(f *testing.F) {
	hermetic(f)
	for _, c := range readCases(f) {
		f.Add(c.DSN, "user", "p@ss/w:rd", "h.example:5432")
	}
	f.Fuzz(func(t *testing.T, dsn, user, password, host string) {
		checkAccepted(t, dsn)
		for _, scheme := range []string{"postgres://", "postgresql+psycopg2://"} {
			checkRaw(t, scheme, rawUser(user), password, rawHost(host))
		}
	})
}

// rawUser and rawHost make texts that a person would write as user and host.
func rawUser(s string) string { return only(s, "abcdefghijklmnopqrstuvwxyz0123456789_-.@") }
func rawHost(s string) string {
	return only(s, "abcdefghijklmnopqrstuvwxyz0123456789_-.") + ".pgsafe.example"
}

func only(s, letters string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(letters, r) {
			return r
		}
		return -1
	}, s)
}

// checkRaw pastes a password into a URI as it stands. It may be refused. If it is accepted, user, password and host
// are the ones that were put in: above all, the password does not go to a host that stands in the password.
func checkRaw(t *testing.T, scheme, user, password, host string) {
	dsn := scheme + user + ":" + password + "@" + host + "/db?sslmode=require"
	d := checkAccepted(t, dsn)
	if d == nil {
		checkSilent(t, scheme, user, password, host)
		return
	}
	if len(d.Hosts) != 1 || d.Hosts[0].Name != host {
		t.Fatalf("%q goes to %v, want %s", dsn, d.Hosts, host)
	}
	if d.User+":"+d.Password.Reveal() == user+":"+password {
		return
	}
	// Otherwise it is one with escapes that are all valid, or one with "@" in the user.
	if !strings.Contains(password, "%") && !strings.ContainsAny(user, "@") {
		t.Fatalf("%q has user %q and password %q", dsn, d.User, d.Password.Reveal())
	}
}

// checkSilent refuses errors that hold a piece of the password. Letters and digits are changed to some that no text of ours has
// in a row, so that a password like "host" does not count.
func checkSilent(t *testing.T, scheme, user, password, host string) {
	odd := strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == ' ' {
			return []rune("QXZJ")[r%4]
		}
		return r
	}, password)
	if _, err := urlfix.Parse(scheme + user + ":" + odd + "@" + host + "/db?sslmode=require"); err != nil {
		if shows(everyForm(t, err), odd) {
			t.Fatalf("the password %q is in %v", odd, err)
		}
	}
}

func FuzzKeywordValue(f *testing.F) {
	hermetic(f)
	for _, c := range readCases(f) {
		if !strings.Contains(c.DSN, "://") {
			f.Add(c.DSN, c.Expect.password())
		}
	}
	f.Fuzz(func(t *testing.T, dsn, password string) {
		if !strings.Contains(dsn, "://") {
			checkAccepted(t, dsn)
		}
		quoted := strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(password)
		d := checkAccepted(t, "host=h user=u password='"+quoted+"' dbname=d")
		if d == nil {
			return
		}
		if d.Password.Reveal() != password || d.Hosts[0].Name != "h" || d.User != "u" || d.Database != "d" {
			t.Fatalf("password %q became %q, or leaked into %v", password, d.Password.Reveal(), d)
		}
	})
}

func (o *outcome) password() string {
	if o == nil {
		return ""
	}
	return o.Password
}
