package libpq_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/urlfix"
)

// tryConnect is read and dial; the error may be of either.
func tryConnect(t *testing.T, dsn string) (*pgx.Conn, error) {
	t.Helper()
	c, err := read(dsn)
	if err != nil {
		return nil, err
	}
	return dial(t, c)
}

// What becomes of an attempt to connect.
const (
	encrypted = "TLS"
	plain     = "plain"
	refused   = "refused"
)

func outcome(t *testing.T, dsn string) string {
	t.Helper()
	conn, err := tryConnect(t, dsn)
	if err != nil {
		return refused
	}
	if _, isTLS := conn.PgConn().Conn().(*tls.Conn); isTLS {
		return encrypted
	}
	return plain
}

// checkFault checks that err is the one error about part that holds reason, and no path.
func checkFault(t *testing.T, err error, part, reason string) {
	t.Helper()
	var fault *urlfix.Error
	if !errors.As(err, &fault) {
		t.Fatalf("the error is %v, and not a *urlfix.Error", err)
	}
	if fault.Part != part || !strings.Contains(fault.Reason, reason) || fault.Pos != -1 || fault.Code == "" {
		t.Errorf("the error is %#v, want one about %s: %s", fault, part, reason)
	}
	if strings.Contains(err.Error(), os.TempDir()) {
		t.Errorf("the error holds a path: %v", err)
	}
}

// home makes an empty home directory for the rest of the test, and returns the directory for libpq's default files.
func home(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	dir = filepath.Join(dir, ".postgresql")
	check.OK(t, os.Mkdir(dir, 0o700))
	return dir
}

// What each sslmode makes of four certificates of the server, held against psql. The authority's list of revoked
// certificates is in libpq's default place. With allow and prefer, libpq verifies where it has a root certificate, and
// goes on in plain text where that fails; here such a connection stays encrypted.
func TestModes(t *testing.T) {
	trusted, other := newAuthority(t, "trusted", nil), newAuthority(t, "other", nil)
	good, revoked := trusted.server(t, "localhost"), trusted.server(t, "localhost")
	columns := []struct {
		name string
		cert tls.Certificate
	}{
		{"a good certificate", good},
		{"a certificate for another host", trusted.server(t, "elsewhere")},
		{"a certificate of another authority", other.server(t, "localhost")},
		{"a revoked certificate", revoked},
	}
	tests := []struct {
		mode, root string
		want       string // for the four certificates
		libpq      string // where it differs
	}{
		{"disable", "no", "plain plain plain plain", ""},
		{"disable", "given", "plain plain plain plain", ""},
		{"disable", "default", "plain plain plain plain", ""},
		{"disable", "system", "refused refused refused refused", ""},
		{"allow", "no", "plain plain plain plain", ""},
		{"allow", "given", "plain plain plain plain", ""},
		{"allow", "default", "plain plain plain plain", ""},
		{"allow", "system", "refused refused refused refused", ""},
		{"prefer", "no", "TLS TLS TLS TLS", ""},
		{"prefer", "given", "TLS TLS TLS TLS", "TLS TLS plain plain"},
		{"prefer", "default", "TLS TLS TLS TLS", "TLS TLS plain plain"},
		{"prefer", "system", "refused refused refused refused", ""},
		{"require", "no", "TLS TLS TLS TLS", ""},
		{"require", "given", "TLS TLS refused refused", ""},
		{"require", "default", "TLS TLS refused refused", ""},
		{"require", "system", "refused refused refused refused", ""},
		{"verify-ca", "no", "refused refused refused refused", ""},
		{"verify-ca", "given", "TLS TLS refused refused", ""},
		{"verify-ca", "default", "TLS TLS refused refused", ""},
		{"verify-ca", "system", "refused refused refused refused", ""},
		{"verify-full", "no", "refused refused refused refused", ""},
		{"verify-full", "given", "TLS refused refused refused", ""},
		{"verify-full", "default", "TLS refused refused refused", ""},
		{"verify-full", "system", "refused refused refused refused", ""},
	}
	c := newTLSServer(t, nil)
	rootFile, list := trusted.file(t), trusted.list(t, revoked.Leaf)
	for i, column := range columns {
		install(t, c, column.cert)
		for _, tt := range tests {
			want := strings.Fields(tt.want)[i]
			t.Run(fmt.Sprintf("%s with %s root certificate and %s: %s", tt.mode, tt.root, column.name, want), func(t *testing.T) {
				dir := home(t)
				check.OK(t, os.WriteFile(filepath.Join(dir, "root.crl"), []byte(list), 0o600))
				// In a string, verify-ca is not taken without its root certificate.
				t.Setenv("PGSSLMODE", tt.mode)
				conninfo := fmt.Sprintf("host=localhost port=%d user=postgres dbname=postgres", c.Port())
				switch tt.root {
				case "given":
					conninfo += " sslrootcert=" + rootFile
				case "default":
					check.OK(t, os.WriteFile(filepath.Join(dir, "root.crt"), certificatePEM(trusted.cert.Raw), 0o600))
				case "system":
					conninfo += " sslrootcert=system"
				}
				check.Equal(t, outcome(t, conninfo), want)
				if tt.libpq != "" {
					want = strings.Fields(tt.libpq)[i]
				}
				checkPsql(t, c, tt.root, conninfo, want)
			})
		}
	}
}

// checkPsql holds the table against libpq itself, where psql is installed along with the server. libpq knows
// sslrootcert=system from 16 on.
func checkPsql(t *testing.T, c *pgtest.Cluster, root, conninfo, want string) {
	t.Helper()
	psql := filepath.Join(c.Binaries().Dir, "psql")
	if _, err := os.Stat(psql); err != nil || root == "system" && c.Binaries().Major < 16 {
		return
	}
	out, err := exec.CommandContext(t.Context(), psql, conninfo, "-Atc",
		"select case when ssl then 'TLS' else 'plain' end from pg_stat_ssl where pid = pg_backend_pid()").Output()
	got := strings.TrimSpace(string(out))
	if err != nil {
		got = refused
	}
	if got != want {
		t.Errorf("with psql it is %s, and the table says %s", got, want)
	}
}

func TestCombinations(t *testing.T) {
	home(t)
	rootFile := newAuthority(t, "trusted", nil).file(t)
	tests := []struct {
		name         string
		env          map[string]string
		dsn          string
		part, reason string // empty: it is fine
	}{
		{"verify-ca from the environment needs a root certificate", map[string]string{"PGSSLMODE": "verify-ca"}, "host=h", "PGSSLMODE", "needs sslrootcert"},
		{"verify-ca takes the environment's root certificate", map[string]string{"PGSSLMODE": "verify-ca", "PGSSLROOTCERT": rootFile}, "host=h", "", ""},
		{"system roots from the environment refuse a weaker mode in the string", map[string]string{"PGSSLROOTCERT": "system"}, "host=h sslmode=require", "sslmode", "too weak"},
		{"system roots from the environment refuse a weaker mode from there", map[string]string{"PGSSLROOTCERT": "system", "PGSSLMODE": "prefer"}, "host=h", "PGSSLMODE", "too weak"},
		{"system roots from the environment refuse plain text", map[string]string{"PGSSLROOTCERT": "system"}, "host=h sslmode=disable", "sslmode", "too weak"},
		{"direct TLS from the environment needs a mode that insists on TLS", map[string]string{"PGSSLNEGOTIATION": "direct"}, "host=h sslmode=prefer", "PGSSLNEGOTIATION", "needs sslmode=require"},
		{"direct TLS from the environment does not go with the default mode", map[string]string{"PGSSLNEGOTIATION": "direct"}, "host=h", "PGSSLNEGOTIATION", "needs sslmode=require"},
		{"direct TLS does not go with a weak mode from the environment", map[string]string{"PGSSLMODE": "allow", "PGSSLNEGOTIATION": "direct"}, "host=h", "PGSSLNEGOTIATION", "needs sslmode=require"},
		{"a string's mode outranks the environment's", map[string]string{"PGSSLMODE": "allow", "PGSSLNEGOTIATION": "direct"}, "host=h sslmode=require", "", ""},
		{"a minimum version from the environment can be above the string's maximum", map[string]string{"PGSSLMINPROTOCOLVERSION": "TLSv1.3"}, "host=h ssl_max_protocol_version=TLSv1.2", "PGSSLMINPROTOCOLVERSION", "greater than"},
		{"a maximum version from the environment can be below the string's minimum", map[string]string{"PGSSLMAXPROTOCOLVERSION": "TLSv1.2"}, "host=h ssl_min_protocol_version=TLSv1.3", "ssl_min_protocol_version", "greater than"},
		{"a maximum below the default minimum is refused", nil, "host=h ssl_max_protocol_version=TLSv1.1", "ssl_max_protocol_version", "less than the default minimum"},
		{"the range of versions counts without TLS too", nil, "host=h sslmode=disable ssl_max_protocol_version=TLSv1", "ssl_max_protocol_version", "less than the default minimum"},
		{"a range of one version is fine", nil, "host=h ssl_min_protocol_version=TLSv1.2 ssl_max_protocol_version=TLSv1.2", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for name, value := range tt.env {
				t.Setenv(name, value)
			}
			_, err := read(tt.dsn)
			if tt.part == "" {
				check.OK(t, err)
				return
			}
			checkFault(t, err, tt.part, tt.reason)
		})
	}
}

func TestImpliedMode(t *testing.T) {
	home(t)
	c := newTLSServer(t, nil)
	install(t, c, newAuthority(t, "private", nil).server(t, "localhost"))
	t.Run("system roots from the environment make the mode verify-full, with no way into plain text", func(t *testing.T) {
		t.Setenv("PGSSLROOTCERT", "system")
		check.Equal(t, outcome(t, fmt.Sprintf("host=localhost port=%d user=postgres dbname=postgres", c.Port())), refused)
	})
	t.Run("without them the same server is fine", func(t *testing.T) {
		check.Equal(t, outcome(t, fmt.Sprintf("host=localhost port=%d user=postgres dbname=postgres", c.Port())), encrypted)
	})
}

func TestVersions(t *testing.T) {
	tests := []struct {
		name     string
		settings map[string]string
		params   string
		want     string // "" is refused
	}{
		{"the newest is taken", nil, "", "TLSv1.3"},
		{"ssl_max_protocol_version is a limit", nil, " ssl_max_protocol_version=TLSv1.2", "TLSv1.2"},
		{"ssl_min_protocol_version is one", map[string]string{"ssl_max_protocol_version": "TLSv1.2"}, " ssl_min_protocol_version=TLSv1.3", ""},
		{"a server with TLSv1.2 alone is fine by itself", map[string]string{"ssl_max_protocol_version": "TLSv1.2"}, "", "TLSv1.2"},
		{"a server with TLSv1.3 alone refuses what is too old", map[string]string{"ssl_min_protocol_version": "TLSv1.3"}, " ssl_max_protocol_version=TLSv1.2", ""},
		{"the default minimum is TLSv1.2", map[string]string{"ssl_min_protocol_version": "TLSv1", "ssl_max_protocol_version": "TLSv1.1"}, "", ""},
		{"a lower minimum is taken at its word", map[string]string{"ssl_min_protocol_version": "TLSv1", "ssl_max_protocol_version": "TLSv1.1"}, " ssl_min_protocol_version=TLSv1", "TLSv1.1"},
	}
	c := newTLSServer(t, map[string]string{"ssl_ciphers": "DEFAULT:@SECLEVEL=0"})
	admin := c.Admin(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, name := range []string{"ssl_min_protocol_version", "ssl_max_protocol_version"} {
				value := tt.settings[name]
				if value == "" {
					value = "DEFAULT"
				}
				_, err := admin.Exec(t.Context(), "ALTER SYSTEM SET "+name+" TO \""+value+"\"")
				if value == "DEFAULT" {
					_, err = admin.Exec(t.Context(), "ALTER SYSTEM RESET "+name)
				}
				check.OK(t, err)
			}
			check.OK(t, c.Reload(t.Context()))
			// The first host is no server: what is said of the configuration holds for its fallbacks.
			dsn := fmt.Sprintf("host=127.0.0.1,localhost port=%d,%d user=postgres dbname=postgres sslmode=require",
				pgtest.ClosedPort(t), c.Port())
			conn, err := tryConnect(t, dsn+tt.params)
			if tt.want == "" {
				if err == nil {
					t.Error("it connects")
				}
				return
			}
			check.OK(t, err)
			var got string
			check.OK(t, conn.QueryRow(t.Context(), "select version from pg_stat_ssl where pid = pg_backend_pid()").Scan(&got))
			if got != tt.want {
				t.Errorf("it is %s, want %s", got, tt.want)
			}
		})
	}
}

func TestNames(t *testing.T) {
	home(t)
	ca := newAuthority(t, "trusted", nil)
	c := newTLSServer(t, nil)
	params := fmt.Sprintf(" port=%d user=postgres dbname=postgres sslmode=verify-full sslrootcert=%s", c.Port(), ca.file(t))
	tests := []struct {
		name, certFor, dsn string
		want               string
	}{
		{"an address in the certificate is the host's", "127.0.0.1", "host=127.0.0.1", encrypted},
		{"a name in the certificate is no address", "localhost", "host=127.0.0.1", refused},
		{"an address in the certificate is no name", "127.0.0.1", "host=localhost", refused},
		{"without SNI the address counts too", "127.0.0.1", "host=127.0.0.1 sslsni=0", encrypted},
		{"without SNI a wrong address does too", "127.0.0.2", "host=127.0.0.1 sslsni=0", refused},
		{"without SNI the name counts", "localhost", "host=localhost sslsni=0", encrypted},
		{"without SNI a wrong name does", "elsewhere", "host=localhost sslsni=0", refused},
		{"the host counts, and not its hostaddr", "db.invalid", "host=db.invalid hostaddr=127.0.0.1", encrypted},
		{"the name of its hostaddr does not do", "127.0.0.1", "host=db.invalid hostaddr=127.0.0.1", refused},
		{"the first host's name does not do for the second", "localhost", "host=localhost,127.0.0.1", refused},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dsn := tt.dsn + params
			if strings.Contains(tt.dsn, ",") {
				dsn = strings.Replace(dsn, "port=", fmt.Sprintf("port=%d,", pgtest.ClosedPort(t)), 1)
			}
			install(t, c, ca.server(t, tt.certFor))
			check.Equal(t, outcome(t, dsn), tt.want)
		})
	}
}

func TestChannelBinding(t *testing.T) {
	home(t)
	c := pgtest.SharedTLS(t)
	dsn := fmt.Sprintf("host=localhost port=%d user=%s password='%s' dbname=%s channel_binding=require sslmode=",
		c.Port(), pgtest.TLSUser, pgtest.TLSPassword, pgtest.TLSDatabase)
	t.Run("it is there with TLS", func(t *testing.T) {
		check.Equal(t, outcome(t, dsn+"require"), encrypted)
	})
	t.Run("it cannot be without", func(t *testing.T) {
		check.Equal(t, outcome(t, dsn+"disable"), refused)
	})
}

func TestRootFiles(t *testing.T) {
	dir := home(t)
	ca := newAuthority(t, "trusted", nil)
	key, err := os.ReadFile("testdata/keys/plain.pem")
	check.OK(t, err)
	tests := []struct {
		name   string
		text   []byte
		reason string
	}{
		{"an empty file", nil, "the file is empty"},
		{"DER", ca.cert.Raw, "not PEM"},
		{"a private key", key, "another kind than CERTIFICATE"},
		{"a damaged certificate", certificatePEM(ca.cert.Raw[:100]), "cannot be parsed"},
	}
	for _, tt := range tests {
		t.Run(tt.name+" is no root certificate", func(t *testing.T) {
			_, err := read("host=h sslmode=verify-full sslrootcert=" + writeFile(t, "root.crt", string(tt.text)))
			checkFault(t, err, "sslrootcert", tt.reason)
		})
		t.Run(tt.name+" is no client certificate", func(t *testing.T) {
			t.Setenv("PGSSLCERT", writeFile(t, "client.crt", string(tt.text)))
			_, err := read("host=h sslkey=" + writeFile(t, "client.key", string(key)))
			checkFault(t, err, "PGSSLCERT", tt.reason)
		})
	}
	t.Run("a directory is no root certificate", func(t *testing.T) {
		_, err := read("host=h sslmode=require sslrootcert=" + t.TempDir())
		checkFault(t, err, "sslrootcert", "is a directory")
	})
	t.Run("a file that is missing is no root certificate", func(t *testing.T) {
		t.Setenv("PGSSLROOTCERT", filepath.Join(t.TempDir(), "nowhere"))
		_, err := read("host=h sslmode=require")
		checkFault(t, err, "PGSSLROOTCERT", "no such file")
	})
	t.Run("prefer says that it verifies nothing", func(t *testing.T) {
		c, err := read("host=h sslmode=prefer sslrootcert=" + ca.file(t))
		check.OK(t, err)
		if len(c.Warnings) != 1 || c.Warnings[0].Part != "sslrootcert" {
			t.Errorf("the warnings are %v", c.Warnings)
		}
	})
	t.Run("prefer says nothing of a file that is there by default", func(t *testing.T) {
		path := filepath.Join(dir, "root.crt")
		check.OK(t, os.WriteFile(path, certificatePEM(ca.cert.Raw), 0o600))
		defer os.Remove(path)
		c, err := read("host=h")
		check.OK(t, err)
		check.Equal(t, len(c.Warnings), 0)
		t.Setenv("PGSSLROOTCERT", path)
		c, err = read("host=h")
		check.OK(t, err)
		check.Equal(t, len(c.Warnings), 1)
		check.Equal(t, c.Warnings[0].Part, "PGSSLROOTCERT")
	})
	t.Run("a damaged default file is an error too", func(t *testing.T) {
		check.OK(t, os.WriteFile(filepath.Join(dir, "root.crt"), nil, 0o600))
		_, err := read("host=h sslmode=require")
		checkFault(t, err, "sslrootcert", "the file is empty")
	})
	t.Run("without TLS no file is read", func(t *testing.T) {
		_, err := read("host=/tmp sslmode=verify-full")
		check.OK(t, err)
		_, err = read("host=h sslmode=disable")
		check.OK(t, err)
	})
}
