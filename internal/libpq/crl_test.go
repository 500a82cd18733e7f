package libpq_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

func TestRevocation(t *testing.T) {
	home(t)
	root := newAuthority(t, "root", nil)
	middle := newAuthority(t, "middle", root)
	namesake := newAuthority(t, "root", nil)
	direct, revoked, deep := root.server(t, "localhost"), root.server(t, "localhost"), middle.server(t, "localhost")
	past := time.Now().Add(-time.Second)
	tests := []struct {
		name  string
		cert  tls.Certificate
		lists []string
		want  string
	}{
		{"a list without the certificate lets it pass", direct, []string{root.list(t, revoked.Leaf)}, encrypted},
		{"a list with the certificate does not", revoked, []string{root.list(t, revoked.Leaf)}, refused},
		{"of several lists in the file the issuer's counts", revoked, []string{middle.list(t), root.list(t, revoked.Leaf), namesake.list(t)}, refused},
		{"of two lists the newer counts", direct, []string{
			root.listWith(t, x509.RevocationList{ThisUpdate: time.Now().Add(-time.Hour)}, direct.Leaf), root.list(t)}, encrypted},
		{"in any order", direct, []string{
			root.list(t, direct.Leaf), root.listWith(t, x509.RevocationList{ThisUpdate: time.Now().Add(-time.Hour)})}, refused},
		{"a list of another issuer is none", direct, []string{middle.list(t)}, refused},
		{"a list of another issuer of the same name is none", direct, []string{namesake.list(t)}, refused},
		{"a list that has expired is none", direct, []string{root.listWith(t, x509.RevocationList{
			ThisUpdate: past.Add(-time.Hour), NextUpdate: past})}, refused},
		{"a list of the future is none", direct, []string{root.listWith(t, x509.RevocationList{
			ThisUpdate: time.Now().Add(30 * time.Minute)})}, refused},
		{"every issuer in the chain with a clean list lets it pass", deep, []string{root.list(t), middle.list(t)}, encrypted},
		{"the authority in the middle needs a list", deep, []string{root.list(t)}, refused},
		{"the root needs a list", deep, []string{middle.list(t)}, refused},
		{"the root can revoke the authority in the middle", deep, []string{root.list(t, middle.cert), middle.list(t)}, refused},
		{"the root can revoke itself", direct, []string{root.list(t, root.cert)}, refused},
	}
	c := newTLSServer(t, nil)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			install(t, c, tt.cert)
			params := fmt.Sprintf("host=localhost port=%d user=postgres dbname=postgres sslrootcert=%s ", c.Port(), root.file(t))
			// Each way of verifying, and each way of naming the list.
			full := params + "sslmode=verify-full sslcrl=" + writeFile(t, "root.crl", strings.Join(tt.lists, ""))
			if got := outcome(t, full); got != tt.want {
				t.Errorf("with verify-full it is %s", got)
			}
			checkPsql(t, c, "", full, tt.want)
			dir := t.TempDir()
			for i, list := range tt.lists {
				check.OK(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.crl", i)), []byte(list), 0o600))
			}
			if got := outcome(t, params+"sslmode=require sslcrldir="+dir); got != tt.want {
				t.Errorf("with require and a directory it is %s", got)
			}
		})
	}
}

func TestRevocationFiles(t *testing.T) {
	dir := home(t)
	root := newAuthority(t, "root", nil)
	cert := root.server(t, "localhost")
	c := newTLSServer(t, nil)
	install(t, c, cert)
	params := fmt.Sprintf("host=localhost port=%d user=postgres dbname=postgres sslrootcert=%s ", c.Port(), root.file(t))
	t.Run("lists are read anew for each connection", func(t *testing.T) {
		list := writeFile(t, "root.crl", root.list(t))
		config, err := read(params + "sslmode=verify-ca sslcrl=" + list)
		check.OK(t, err)
		_, err = dial(t, config)
		check.OK(t, err)
		check.OK(t, os.WriteFile(list, []byte(root.list(t, cert.Leaf)), 0o600))
		if _, err = dial(t, config); err == nil {
			t.Error("the new list is not looked at")
		}
		check.OK(t, os.Remove(list))
		_, err = dial(t, config)
		checkFault(t, err, "sslcrl", "no such file")
	})
	t.Run("a file and a directory are one set", func(t *testing.T) {
		crls := filepath.Dir(writeFile(t, "other.crl", newAuthority(t, "other", nil).list(t)))
		check.OK(t, os.Mkdir(filepath.Join(crls, "sub"), 0o700))
		check.Equal(t, outcome(t, params+"sslmode=verify-ca sslcrldir="+crls+" sslcrl="+writeFile(t, "root.crl", root.list(t))), encrypted)
	})
	t.Run("the fallback hosts are checked too", func(t *testing.T) {
		dsn := fmt.Sprintf("host=localhost,localhost port=%d,%d user=postgres dbname=postgres sslmode=verify-ca sslrootcert=%s sslcrl=%s",
			pgtest.ClosedPort(t), c.Port(), root.file(t), writeFile(t, "root.crl", root.list(t, cert.Leaf)))
		check.Equal(t, outcome(t, dsn), refused)
	})
	t.Run("an authority that is trusted without its own issuer cannot be checked", func(t *testing.T) {
		middle := newAuthority(t, "middle", root)
		install(t, c, middle.server(t, "localhost"))
		defer install(t, c, cert)
		dsn := fmt.Sprintf("host=localhost port=%d user=postgres dbname=postgres sslmode=verify-full sslrootcert=%s ", c.Port(), middle.file(t))
		check.Equal(t, outcome(t, dsn), encrypted)
		check.Equal(t, outcome(t, dsn+"sslcrl="+writeFile(t, "both.crl", middle.list(t)+root.list(t))), refused)
	})
	t.Run("the environment's list counts", func(t *testing.T) {
		t.Setenv("PGSSLCRL", writeFile(t, "root.crl", root.list(t, cert.Leaf)))
		check.Equal(t, outcome(t, params+"sslmode=verify-ca"), refused)
	})
	t.Run("a list that is named takes the default's place", func(t *testing.T) {
		check.OK(t, os.WriteFile(filepath.Join(dir, "root.crl"), []byte(root.list(t, cert.Leaf)), 0o600))
		check.Equal(t, outcome(t, params+"sslmode=verify-ca sslcrl="+writeFile(t, "root.crl", root.list(t))), encrypted)
	})
	t.Run("without a root certificate the default is not looked at", func(t *testing.T) {
		check.OK(t, os.WriteFile(filepath.Join(dir, "root.crl"), []byte("nothing"), 0o600))
		_, err := read("host=h sslmode=require")
		check.OK(t, err)
		_, err = read("host=h sslmode=verify-full sslrootcert=system")
		check.OK(t, err)
	})
}

func TestRevocationFaults(t *testing.T) {
	home(t)
	root := newAuthority(t, "root", nil)
	verify := "host=h sslmode=verify-full sslrootcert=" + root.file(t) + " "
	partial := root.listWith(t, x509.RevocationList{ExtraExtensions: []pkix.Extension{{
		Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: []byte{0x30, 0x03, 0x81, 0x01, 0xff}}}}) // only user certificates
	tests := []struct {
		name, dsn    string
		part, reason string
	}{
		{"without verification a list would be ignored", "host=h sslmode=require sslcrl=" + writeFile(t, "crl", root.list(t)), "sslcrl", "no certificate is verified"},
		{"so would a directory", "host=h sslcrldir=" + t.TempDir(), "sslcrldir", "no certificate is verified"},
		{"prefer does not verify", "host=h sslmode=prefer sslrootcert=" + root.file(t) + " sslcrl=" + writeFile(t, "crl", root.list(t)), "sslcrl", "no certificate is verified"},
		{"a file that is missing", verify + "sslcrl=" + filepath.Join(t.TempDir(), "nowhere"), "sslcrl", "no such file"},
		{"a directory that is missing", verify + "sslcrldir=" + filepath.Join(t.TempDir(), "nowhere"), "sslcrldir", "no such file"},
		{"a directory as file", verify + "sslcrl=" + t.TempDir(), "sslcrl", "is a directory"},
		{"a file as directory", verify + "sslcrldir=" + writeFile(t, "crl", root.list(t)), "sslcrldir", "not a directory"},
		{"an empty file", verify + "sslcrl=" + writeFile(t, "crl", ""), "sslcrl", "holds no revocation list"},
		{"a file of certificates", verify + "sslcrl=" + root.file(t), "sslcrl", "holds no revocation list"},
		{"an empty directory", verify + "sslcrldir=" + t.TempDir(), "sslcrldir", "no file with a revocation list"},
		{"a damaged list", verify + "sslcrl=" + writeFile(t, "crl", damaged(root.list(t))), "sslcrl", "cannot be parsed"},
		{"a list of some certificates only", verify + "sslcrl=" + writeFile(t, "crl", partial), "sslcrl", "scope"},
	}
	for _, tt := range tests {
		t.Run(tt.name+" is refused", func(t *testing.T) {
			_, err := read(tt.dsn)
			checkFault(t, err, tt.part, tt.reason)
		})
	}
	t.Run("without verification, lists that the environment names are warned of", func(t *testing.T) {
		t.Setenv("PGSSLCRL", filepath.Join(t.TempDir(), "nowhere"))
		for _, dsn := range []string{"host=h", "host=h sslmode=require"} {
			c, err := read(dsn)
			check.OK(t, err)
			check.Equal(t, len(c.Warnings), 1)
			check.Equal(t, c.Warnings[0].Part, "PGSSLCRL")
		}
		_, err := read("host=h sslmode=require sslcrldir=" + t.TempDir())
		checkFault(t, err, "sslcrldir", "no certificate is verified")
		_, err = read(verify)
		checkFault(t, err, "PGSSLCRL", "no such file")
	})
	t.Run("without TLS nobody looks", func(t *testing.T) {
		t.Setenv("PGSSLCRL", filepath.Join(t.TempDir(), "nowhere"))
		for _, dsn := range []string{"host=h sslmode=disable", "host=/tmp sslmode=require"} {
			_, err := read(dsn)
			check.OK(t, err)
		}
	})
}

// damaged cuts off the end of what a PEM text holds.
func damaged(text string) string {
	block, _ := pem.Decode([]byte(text))
	block.Bytes = block.Bytes[:len(block.Bytes)/2]
	return string(pem.EncodeToMemory(block))
}
