package pgserver

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

const defaultCertLifetime = 24 * time.Hour

// CertOptions says what client certificate to make. The zero value is one that the server takes for
// a day.
type CertOptions struct {
	// Lifetime is how long it is valid from now on. Zero means a day; a negative one has expired.
	Lifetime time.Duration
	// Untrusted means that an authority signs it which the server does not know.
	Untrusted bool
}

// ClientCert makes a certificate for user, valid for a day, and returns the names of its files.
// Each call makes a new one. The files belong to the caller's operating system user, only it can
// read the key, and Stop removes them. A server without TLS has no authority to sign it, which is
// an error.
func (s *Server) ClientCert(user string) (certFile, keyFile string, err error) {
	return s.ClientCertWith(user, CertOptions{})
}

// ClientCertWith is ClientCert with options.
func (s *Server) ClientCertWith(user string, opts CertOptions) (certFile, keyFile string, err error) {
	if s.ca == nil {
		return "", "", errors.New("pgserver: a client certificate needs a server with TLS")
	}
	ca := s.ca
	if opts.Untrusted {
		if ca, err = newAuthority(); err != nil {
			return "", "", err
		}
	}
	template := leaf(user, opts.Lifetime)
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	certPEM, keyPEM, err := ca.issue(template)
	if err != nil {
		return "", "", err
	}
	dir, err := os.MkdirTemp(s.base, "client")
	if err != nil {
		return "", "", fmt.Errorf("pgserver: %w", err)
	}
	certFile, keyFile = filepath.Join(dir, "client.crt"), filepath.Join(dir, "client.key")
	if err := errors.Join(os.WriteFile(certFile, certPEM, 0o644), os.WriteFile(keyFile, keyPEM, 0o600)); err != nil {
		return "", "", fmt.Errorf("pgserver: %w", err)
	}
	return certFile, keyFile, nil
}

// CAFile is the certificate of the authority that signed the server's certificate, as a PEM file.
// It is empty without TLS.
func (s *Server) CAFile() string { return s.caFile }

// installTLS writes the server's files into the data directory, so that a standby gets them with
// its copy.
func (s *Server) installTLS() error {
	ca, err := newAuthority()
	if err != nil {
		return err
	}
	s.ca = ca
	certPEM, keyPEM, err := ca.issue(serverLeaf(s.opts.ServerCertLifetime, s.opts.ServerNames))
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{"server.crt": certPEM, "server.key": keyPEM, "ca.crt": ca.certPEM} {
		if err := s.writeData(name, content); err != nil {
			return err
		}
	}
	return s.clientTLS()
}

// clientTLS writes the files that the caller's side needs.
func (s *Server) clientTLS() (err error) {
	s.caFile = filepath.Join(s.base, "ca.crt")
	if err := os.WriteFile(s.caFile, s.ca.certPEM, 0o644); err != nil {
		return fmt.Errorf("pgserver: %w", err)
	}
	if s.opts.Auth == ClientCert {
		s.ownCert, s.ownKey, err = s.ClientCert(s.opts.User)
	}
	return err
}

// authority signs certificates. Its key is only in memory.
type authority struct {
	cert    *x509.Certificate
	certPEM []byte
	key     crypto.Signer
}

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("pgserver: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: "pgsafe throw-away authority"},
		NotBefore:             time.Now().AddDate(-1, 0, 0), // before the beginning of every certificate it signs
		NotAfter:              time.Now().AddDate(10, 0, 0),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("pgserver: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("pgserver: %w", err)
	}
	return &authority{cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), key}, nil
}

// leaf is what server and client certificates have in common.
func leaf(name string, lifetime time.Duration) *x509.Certificate {
	if lifetime == 0 {
		lifetime = defaultCertLifetime
	}
	end := time.Now().Add(lifetime)
	start := time.Now().Add(-time.Hour) // clocks differ
	if !start.Before(end) {
		start = end.Add(-time.Hour)
	}
	return &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    start,
		NotAfter:     end,
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
}

// serverLeaf is for a server of this machine, which has further names, or for a pooler.
func serverLeaf(lifetime time.Duration, names []string) *x509.Certificate {
	template := leaf("localhost", lifetime)
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, name := range append([]string{"localhost", "127.0.0.1", "::1"}, names...) {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	return template
}

func (a *authority) issue(template *x509.Certificate) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("pgserver: %w", err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, nil, fmt.Errorf("pgserver: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("pgserver: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), nil
}

func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err) // rand.Reader does not fail
	}
	return n
}
