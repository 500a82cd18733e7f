package urlfix_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

// hermetic makes pgx see nothing but the string: no PG* variables, no files in the home directory.
func hermetic(t testing.TB) {
	t.Helper()
	for _, pair := range os.Environ() {
		if key, _, _ := strings.Cut(pair, "="); strings.HasPrefix(key, "PG") {
			t.Setenv(key, "")
			os.Unsetenv(key)
		}
	}
	t.Setenv("HOME", t.TempDir())
}

// checkOracle compares d with what pgx makes of the string it will be given.
func checkOracle(t testing.TB, d *urlfix.DSN) {
	t.Helper()
	for _, uri := range []string{d.SafeURI(), d.URI()} {
		config, err := pgx.ParseConfig(uri)
		if err != nil {
			t.Fatalf("pgx refuses the canonical URI: %v", err)
		}
		if d.User != "" && config.User != d.User {
			t.Errorf("pgx has user %q, want %q", config.User, d.User)
		}
		if config.Database != d.Database {
			t.Errorf("pgx has database %q, want %q", config.Database, d.Database)
		}
		checkServers(t, &config.Config, d.Hosts)
		if uri == d.URI() && config.Password != d.Password.Reveal() {
			t.Errorf("pgx has another password than %q", d.Password.Reveal())
		}
		if uri == d.SafeURI() && config.Password != "" && d.Password.IsSet() {
			t.Errorf("the safe URI holds a password")
		}
	}
}

func checkServers(t testing.TB, config *pgconn.Config, want []urlfix.Host) {
	t.Helper()
	got := []urlfix.Host{{Name: config.Host, Port: config.Port}}
	for _, f := range config.Fallbacks { // each host comes once for each way to use TLS
		if h := (urlfix.Host{Name: f.Host, Port: f.Port}); h != got[len(got)-1] {
			got = append(got, h)
		}
	}
	if len(want) == 0 {
		want = []urlfix.Host{{}}
	}
	for i, w := range distinct(want) {
		if i >= len(got) || got[i].Port != w.Port || w.Name != "" && got[i].Name != w.Name {
			t.Errorf("pgx has servers %v, want %v", got, want)
			return
		}
	}
}

// distinct gives each host its port and drops repetitions, as checkServers does for pgx's.
func distinct(hosts []urlfix.Host) []urlfix.Host {
	var out []urlfix.Host
	for _, h := range hosts {
		h.Port = orDefault(h.Port)
		if len(out) == 0 || out[len(out)-1] != h {
			out = append(out, h)
		}
	}
	return out
}

// rootCertificate is any certificate: pgx only wants to see one in a file that is named.
const rootCertificate = `-----BEGIN CERTIFICATE-----
MIIBhTCCASugAwIBAgIQIRi6zePL6mKjOipn+dNuaTAKBggqhkjOPQQDAjASMRAw
DgYDVQQKEwdBY21lIENvMB4XDTE3MTAyMDE5NDMwNloXDTE4MTAyMDE5NDMwNlow
EjEQMA4GA1UEChMHQWNtZSBDbzBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABD0d
7VNhbWvZLWPuj/RtHFjvtJBEwOkhbN/BnnE8rnZR8+sbwnc/KhCk3FhnpHZnQz7B
5aETbbIgmuvewdjvSBSjYzBhMA4GA1UdDwEB/wQEAwICpDATBgNVHSUEDDAKBggr
BgEFBQcDATAPBgNVHRMBAf8EBTADAQH/MCkGA1UdEQQiMCCCDmxvY2FsaG9zdDo1
NDUzgg4xMjcuMC4wLjE6NTQ1MzAKBggqhkjOPQQDAgNIADBFAiEA2zpJEPQyz6/l
Wf86aX6PepsntZv2GYlA5UpabfT2EZICICpJ5h/iI+i341gBmLiAFQOyTDT+/wQc
6MF9+Yw1Yy0t
-----END CERTIFICATE-----
`

func TestPgxAgreesWithEveryCase(t *testing.T) {
	hermetic(t)
	for _, c := range readCases(t) {
		t.Run(c.ID, func(t *testing.T) {
			d, err := urlfix.Parse(c.DSN)
			if err != nil {
				t.Skip("refused")
			}
			t.Chdir(t.TempDir())
			for _, file := range c.Files {
				if err := os.WriteFile(filepath.Base(file), []byte(rootCertificate), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			checkOracle(t, d)
			uri := d.URI()
			if again, _, _, err := urlfix.Normalize(uri, ""); err != nil || again != uri {
				t.Errorf("Normalize of %s gives %s, %v", uri, again, err)
			}
		})
	}
}

func TestSettingsReachTheServerAsOptions(t *testing.T) {
	hermetic(t)
	d := mustParse(t, `postgres://h/db?search_path=a%20b%5Cc&options=-c%20x.y%3D1`)
	config, err := pgx.ParseConfig(d.URI())
	if err != nil {
		t.Fatal(err)
	}
	if want := `-c x.y=1 -c search_path=a\ b\\c`; config.RuntimeParams["options"] != want {
		t.Errorf("options are %q, want %q", config.RuntimeParams["options"], want)
	}
}
