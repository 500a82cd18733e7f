package libpq

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strings"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

// alpn is the protocol that client and server have to agree on when a connection begins with TLS.
const alpn = "postgresql"

var errNoALPN = errors.New("the server took TLS without the protocol \"postgresql\" (ALPN), " +
	"which sslnegotiation=direct demands")

// transport is what the keywords say about TLS, with the files read.
type transport struct {
	low, high    uint16 // versions; high 0 is the newest
	direct       bool
	sni          bool
	checksName   bool
	roots        *x509.CertPool // nil: the server's certificate is not verified
	revocation   *revocation    // nil: no lists
	certificates []tls.Certificate
}

func readTransport(k keywords, sslPassword urlfix.Secret) (*transport, *urlfix.Error) {
	t := &transport{
		direct:     k.get("sslnegotiation") == "direct",
		sni:        k.get("sslsni") != "0",
		checksName: k.get("sslmode") == "verify-full",
	}
	t.low, t.high = tlsVersions(k)
	var err *urlfix.Error
	if t.roots, err = readRoots(k); err != nil {
		return nil, err
	}
	if t.revocation, err = findRevocation(k); err != nil {
		return nil, err
	}
	t.certificates, err = readClientCertificate(k, sslPassword)
	return t, err
}

// tlsVersions returns the range of versions, 0 being no limit. libpq's names have no case
// (sslVerifyProtocolVersion, fe-connect.c), and its default minimum is TLSv1.2.
func tlsVersions(k keywords) (low, high uint16) {
	named := map[string]uint16{
		"tlsv1": tls.VersionTLS10, "tlsv1.1": tls.VersionTLS11, "tlsv1.2": tls.VersionTLS12, "tlsv1.3": tls.VersionTLS13,
	}
	low = named[strings.ToLower(k.get("ssl_min_protocol_version"))]
	if low == 0 {
		low = tls.VersionTLS12
	}
	return low, named[strings.ToLower(k.get("ssl_max_protocol_version"))]
}

// config returns the configuration for connections to host.
func (t *transport) config(host string) *tls.Config {
	c := &tls.Config{
		MinVersion:   t.low,
		MaxVersion:   t.high,
		RootCAs:      t.roots,
		Certificates: t.certificates,
	}
	if t.direct {
		c.NextProtos = []string{alpn}
	}
	if t.sni {
		c.ServerName = host // crypto/tls sends it unless it is an address, as libpq does
	}
	// crypto/tls verifies everything or nothing, and only a name that it sends. The rest is up to
	// verify.
	c.InsecureSkipVerify = !t.checksName || !t.sni
	c.VerifyConnection = func(state tls.ConnectionState) error { return t.verify(state, host) }
	return c
}

// verify completes the verification of a connection, resumed ones too, after what crypto/tls did.
func (t *transport) verify(state tls.ConnectionState, host string) error {
	if t.direct && state.NegotiatedProtocol != alpn { // open_client_SSL, fe-secure-openssl.c
		return errNoALPN
	}
	if t.roots == nil {
		return nil
	}
	chains := state.VerifiedChains
	var err error
	if chains == nil {
		chains, err = t.chains(state.PeerCertificates, host)
	}
	if err == nil && t.revocation != nil {
		err = t.revocation.check(chains)
	}
	if err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates, Err: err}
	}
	return nil
}

// chains does what crypto/tls does (Conn.verifyServerCertificate), with the host's name only where
// it counts.
func (t *transport) chains(certs []*x509.Certificate, host string) ([][]*x509.Certificate, error) {
	if len(certs) == 0 {
		return nil, errors.New("the server has no certificate")
	}
	options := x509.VerifyOptions{Roots: t.roots, Intermediates: x509.NewCertPool()}
	if t.checksName {
		options.DNSName = host
	}
	for _, cert := range certs[1:] {
		options.Intermediates.AddCert(cert)
	}
	return certs[0].Verify(options)
}
