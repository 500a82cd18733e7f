package libpq_test

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgsafe/pgsafe/internal/pgserver"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

// keyPassword opens the encrypted keys in testdata/keys.
const keyPassword = "sesame-4711"

// keyServer is a server that lets the keys of testdata/keys in, as postgres.
func keyServer(t *testing.T) (dsn string, c *pgtest.Cluster) {
	t.Helper()
	c = pgtest.New(t, pgserver.Options{Auth: pgserver.ClientCert})
	ca := newAuthority(t, "clients", nil)
	check.OK(t, os.WriteFile(filepath.Join(c.DataDir(), "ca.crt"), certificatePEM(ca.cert.Raw), 0o600))
	check.OK(t, c.Reload(t.Context()))
	cert := ca.sign(t, template("postgres"), testKey(t).Public())
	return fmt.Sprintf("host=localhost port=%d user=postgres dbname=postgres sslmode=require sslcert=%s ",
		c.Port(), writeFile(t, "client.crt", string(certificatePEM(cert.Raw)))), c
}

// testKey is the key that all files in testdata/keys hold.
func testKey(t *testing.T) crypto.Signer {
	t.Helper()
	block, _ := pem.Decode([]byte(keyText(t, "plain.pem")))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	check.OK(t, err)
	return key.(crypto.Signer)
}

func keyText(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "keys", name))
	check.OK(t, err)
	return string(text)
}

// keyFile copies a file of testdata/keys, with the permissions that a key needs.
func keyFile(t *testing.T, name string) string {
	t.Helper()
	return writeFile(t, name, keyText(t, name))
}

func TestKeys(t *testing.T) {
	home(t)
	dsn, c := keyServer(t)
	for _, name := range []string{"plain.pem", "plain.der", "sec1.pem"} {
		t.Run(name+" logs in", func(t *testing.T) {
			logsIn(t, c, dsn+"sslkey="+keyFile(t, name))
		})
	}
	for _, name := range []string{"legacy.pem", "aes128-sha1.pem", "aes192-sha512.pem", "aes256-sha256.pem", "aes256-sha384.pem",
		"des3-sha224.pem"} {
		t.Run(name+" logs in with its password", func(t *testing.T) {
			logsIn(t, c, dsn+"sslkey="+keyFile(t, name)+" sslpassword="+keyPassword)
		})
		t.Run(name+" is refused without one", func(t *testing.T) {
			_, err := read(dsn + "sslkey=" + keyFile(t, name))
			checkFault(t, err, "sslpassword", "there is no sslpassword")
		})
		t.Run(name+" is refused with another", func(t *testing.T) {
			const wrong = "sesame-4712"
			_, err := read(dsn + "sslkey=" + keyFile(t, name) + " sslpassword=" + wrong)
			checkFault(t, err, "sslpassword", "does not open")
			if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), wrong[:4]) {
				t.Errorf("the error shows the password: %v", err)
			}
		})
	}
}

// libpq reads keys in DER only as they are.
func TestEncryptedDER(t *testing.T) {
	home(t)
	dsn, _ := keyServer(t)
	check.Equal(t, outcome(t, dsn+"sslkey="+keyFile(t, "aes256-sha256.der")+" sslpassword="+keyPassword), encrypted)
}

// logsIn checks that the key is the server's, for libpq too.
func logsIn(t *testing.T, c *pgtest.Cluster, dsn string) {
	t.Helper()
	conn, err := tryConnect(t, dsn)
	check.OK(t, err)
	check.Equal(t, show(t, conn, "select client_dn from pg_stat_ssl where pid = pg_backend_pid()"), "/CN=postgres")
	checkPsql(t, c, "", dsn, encrypted)
}

func TestKeyFaults(t *testing.T) {
	home(t)
	root := newAuthority(t, "trusted", nil)
	cert := " sslcert=" + writeFile(t, "client.crt", string(certificatePEM(root.sign(t, template("u"), testKey(t).Public()).Raw))) + " "
	password := " sslpassword=" + keyPassword
	otherKey, err := x509.MarshalPKCS8PrivateKey(newKey(t))
	check.OK(t, err)
	tests := []struct {
		name, params string
		part, reason string
	}{
		{"scrypt", cert + "sslkey=" + keyFile(t, "scrypt.pem") + password, "sslkey", "not supported"},
		{"PBES1", cert + "sslkey=" + keyFile(t, "pbes1.pem") + password, "sslkey", "not supported"},
		{"a rare cipher", cert + "sslkey=" + keyFile(t, "camellia.pem") + password, "sslkey", "not supported"},
		{"PKCS-12", cert + "sslkey=" + keyFile(t, "pkcs12.p12") + password, "sslkey", "no private key"},
		{"an empty file", cert + "sslkey=" + writeFile(t, "k", ""), "sslkey", "no private key"},
		{"a certificate", cert + "sslkey=" + writeFile(t, "k", string(certificatePEM(root.cert.Raw))), "sslkey", "no private key"},
		{"the key of another certificate", cert + "sslkey=" + writeFile(t, "k", string(otherKey)), "sslkey", "not the key of"},
		{"a directory", cert + "sslkey=" + t.TempDir(), "sslkey", "not a regular file"},
		{"a missing file", cert + "sslkey=" + filepath.Join(t.TempDir(), "nowhere"), "sslkey", "no such file"},
		{"a key of an engine", cert + "sslkey=pkcs11:id", "sslkey", "engine"},
		{"a certificate without a key", cert, "sslcert", "no sslkey"},
		{"a key without a certificate", "sslkey=" + keyFile(t, "plain.pem"), "sslkey", "no sslcert"},
		{"a missing certificate", "sslcert=" + filepath.Join(t.TempDir(), "nowhere") + " sslkey=" + keyFile(t, "plain.pem"), "sslcert", "no such file"},
	}
	for _, tt := range tests {
		t.Run(tt.name+" is refused", func(t *testing.T) {
			_, err := read("host=h sslmode=require " + tt.params)
			checkFault(t, err, tt.part, tt.reason)
		})
	}
	t.Run("an error names the variable that the key came from", func(t *testing.T) {
		t.Setenv("PGSSLKEY", writeFile(t, "k", ""))
		_, err := read("host=h sslmode=require " + cert)
		checkFault(t, err, "PGSSLKEY", "no private key")
	})
}
