package libpq_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgsafe/pgsafe/internal/pgserver"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

// serials make certificates differ.
var serials atomic.Int64

// authority signs certificates and revocation lists.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// newAuthority makes one that signs itself, or that parent signs.
func newAuthority(t *testing.T, name string, parent *authority) *authority {
	t.Helper()
	template := template(name)
	template.IsCA = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	a := &authority{key: newKey(t)}
	if parent == nil {
		parent = &authority{template, a.key}
	}
	a.cert = parent.sign(t, template, a.key.Public())
	return a
}

func newKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check.OK(t, err)
	return key
}

func template(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber:          big.NewInt(serials.Add(1)),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
	}
}

func (a *authority) sign(t *testing.T, template *x509.Certificate, key crypto.PublicKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key, a.key)
	check.OK(t, err)
	cert, err := x509.ParseCertificate(der)
	check.OK(t, err)
	return cert
}

// server makes the certificate of a server with these names and addresses. The chain goes along with it.
func (a *authority) server(t *testing.T, names ...string) tls.Certificate {
	t.Helper()
	template := template(names[0])
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	key := newKey(t)
	leaf := a.sign(t, template, key.Public())
	return tls.Certificate{Certificate: [][]byte{leaf.Raw, a.cert.Raw}, PrivateKey: key, Leaf: leaf}
}

// file writes the authority's certificate.
func (a *authority) file(t *testing.T) string {
	t.Helper()
	return writeFile(t, "ca.crt", string(certificatePEM(a.cert.Raw)))
}

// list makes a revocation list that is valid now.
func (a *authority) list(t *testing.T, revoked ...*x509.Certificate) string {
	t.Helper()
	return a.listWith(t, x509.RevocationList{}, revoked...)
}

// listWith makes a revocation list; what template leaves out is as in one that is valid now.
func (a *authority) listWith(t *testing.T, template x509.RevocationList, revoked ...*x509.Certificate) string {
	t.Helper()
	template.Number = big.NewInt(serials.Add(1))
	if template.ThisUpdate.IsZero() {
		template.ThisUpdate = time.Now().Add(-time.Minute)
	}
	if template.NextUpdate.IsZero() {
		template.NextUpdate = time.Now().Add(time.Hour)
	}
	for _, cert := range revoked {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: cert.SerialNumber, RevocationTime: time.Now().Add(-time.Minute)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, &template, a.cert, a.key)
	check.OK(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
}

func certificatePEM(ders ...[]byte) []byte {
	var text []byte
	for _, der := range ders {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return text
}

// install makes the server of the test use this certificate for new connections.
func install(t *testing.T, c *pgtest.Cluster, cert tls.Certificate) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	check.OK(t, err)
	// Writing into the files that are there keeps their owner, which the server insists on.
	check.OK(t, os.WriteFile(filepath.Join(c.DataDir(), "server.crt"), certificatePEM(cert.Certificate...), 0o600))
	check.OK(t, os.WriteFile(filepath.Join(c.DataDir(), "server.key"),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600))
	check.OK(t, c.Reload(t.Context()))
}

// newTLSServer starts a server of the test's own that takes connections with and without TLS.
func newTLSServer(t *testing.T, settings map[string]string) *pgtest.Cluster {
	t.Helper()
	return pgtest.New(t, pgserver.Options{TLS: true, Settings: settings})
}
