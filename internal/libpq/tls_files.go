package libpq

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

// rootSource says what the server's certificate is verified against: systemRoots, a file, or "" for
// nothing.
//
//   - With sslmode=require, a root certificate makes libpq verify the chain (initialize_SSL, fe-secure-openssl.c).
//   - With allow and prefer it makes libpq go on in plain text if the chain is wrong. That protects nothing, so
//     here the connection stays encrypted, and a warning says that nothing is verified.
//   - verify-full without a root certificate is an error in libpq, and means the system's roots in pgx and here.
func rootSource(k keywords) string {
	switch k.get("sslmode") {
	case "require", "verify-ca":
		return k.get("sslrootcert")
	case "verify-full":
		return cmp.Or(k.get("sslrootcert"), systemRoots)
	}
	return ""
}

// unusedWarnings lists what was given for verifying, if no certificate is verified. A root
// certificate at its default place does not count as given.
func unusedWarnings(k keywords) []urlfix.Note {
	if rootSource(k) != "" {
		return nil
	}
	var notes []urlfix.Note
	if root := k["sslrootcert"]; root.value != "" && root.source != byDefault {
		notes = append(notes, urlfix.Note{Part: root.part,
			Text: "sslmode=allow and sslmode=prefer verify no certificate; sslmode=verify-full does"})
	}
	for _, name := range [...]string{"sslcrl", "sslcrldir"} {
		if k.get(name) != "" {
			notes = append(notes, urlfix.Note{Part: k.part(name), Text: "not looked at, because no certificate is verified"})
		}
	}
	return notes
}

// readRoots returns nil if no certificate is verified.
func readRoots(k keywords) (*x509.CertPool, *urlfix.Error) {
	switch path := rootSource(k); path {
	case "":
		return nil, nil
	case systemRoots:
		return readSystemRoots(k)
	default:
		return readRootFile(k.part("sslrootcert"), path)
	}
}

func readSystemRoots(k keywords) (*x509.CertPool, *urlfix.Error) {
	roots, err := x509.SystemCertPool()
	if err != nil {
		return nil, tlsFault(k.part("sslrootcert"), "the system's root certificates cannot be read",
			"name a file of root certificates as sslrootcert")
	}
	return roots, nil
}

func readRootFile(part, path string) (*x509.CertPool, *urlfix.Error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fileFault(part, err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, noCertificate(part, text)
	}
	return roots, nil
}

// findRevocation returns where the revocation lists are, nil if there are none. libpq reads them
// only if it read a file of root certificates (initialize_SSL, fe-secure-openssl.c). Here, lists
// that the string names are also read with the system's roots, and refused if no certificate is
// verified. Lists that the environment names, for all strings, are then ignored.
func findRevocation(k keywords) (*revocation, *urlfix.Error) {
	r := &revocation{
		file: k.get("sslcrl"), filePart: k.part("sslcrl"),
		dir: k.get("sslcrldir"), dirPart: k.part("sslcrldir"),
	}
	roots := rootSource(k)
	if r.file == "" && r.dir == "" && roots != "" && roots != systemRoots {
		r.file = defaultFile("root.crl")
	}
	if r.file == "" && r.dir == "" {
		return nil, nil
	}
	if roots == "" {
		return nil, checkUnusedLists(k)
	}
	_, err := r.read() // to say now what is wrong with them
	return r, err
}

func checkUnusedLists(k keywords) *urlfix.Error {
	for _, name := range [...]string{"sslcrl", "sslcrldir"} {
		if list := k[name]; list.value != "" && list.source != environment {
			return tlsFault(list.part, "it would not be looked at, because no certificate is verified", hintVerify)
		}
	}
	return nil
}

const hintVerify = "write sslmode=verify-full and name your certificate authority's file as sslrootcert"

// readClientCertificate reads sslcert and sslkey; one of libpq's default files may take the place
// of the other. libpq goes on without a certificate that is missing and ignores a key without one;
// here a name that was given must lead to a file, and the key to a certificate.
func readClientCertificate(k keywords, sslPassword urlfix.Secret) ([]tls.Certificate, *urlfix.Error) {
	certFile, keyFile := clientFiles(k)
	if certFile == "" && keyFile == "" {
		return nil, nil
	}
	switch {
	case certFile == "":
		return nil, tlsFault(k.part("sslkey"), "there is no sslcert that it could be the key of",
			"add sslcert, or leave sslkey out")
	case keyFile == "":
		return nil, tlsFault(k.part("sslcert"), "there is no sslkey for it", "add sslkey, or leave sslcert out")
	}
	return readPair(k, certFile, keyFile, sslPassword)
}

// clientFiles returns the paths of the client's certificate and key, "" for one that is nowhere.
func clientFiles(k keywords) (certFile, keyFile string) {
	certFile, keyFile = k.get("sslcert"), k.get("sslkey")
	if certFile == "" && keyFile == "" || k.get("sslcertmode") == "disable" {
		return "", ""
	}
	if certFile == "" {
		certFile = defaultFile("postgresql.crt")
	}
	if keyFile == "" {
		keyFile = defaultFile("postgresql.key")
	}
	return certFile, keyFile
}

func readPair(k keywords, certFile, keyFile string, sslPassword urlfix.Secret) ([]tls.Certificate, *urlfix.Error) {
	chain, err := os.ReadFile(certFile)
	if err != nil {
		return nil, fileFault(k.part("sslcert"), err)
	}
	if !x509.NewCertPool().AppendCertsFromPEM(chain) {
		return nil, noCertificate(k.part("sslcert"), chain)
	}
	key, fault := readKey(k.part("sslkey"), keyFile, sslPassword)
	if fault != nil {
		return nil, fault
	}
	pair, err := tls.X509KeyPair(chain, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	if err != nil {
		return nil, tlsFault(k.part("sslkey"), "it is not the key of the first certificate in sslcert",
			"name the two files that belong together")
	}
	return []tls.Certificate{pair}, nil
}

// noCertificate says why a file gave no certificate.
func noCertificate(part string, text []byte) *urlfix.Error {
	block, _ := pem.Decode(text)
	switch {
	case len(text) == 0:
		return tlsFault(part, "the file is empty", hintCertificate)
	case block == nil:
		return tlsFault(part, "the file is not PEM", "convert it with openssl x509 -inform der, or openssl pkcs12 -nokeys")
	case block.Type != "CERTIFICATE":
		return tlsFault(part, "the file holds PEM of another kind than CERTIFICATE", hintCertificate)
	}
	return tlsFault(part, "the certificate in the file cannot be parsed", hintCertificate)
}

const hintCertificate = "a certificate begins with -----BEGIN CERTIFICATE-----"

// defaultFile returns the path of one of libpq's own files, "" if it does not exist.
func defaultFile(name string) string {
	path := inHome(filepath.Join(tlsDir, name))
	if !exists(path) {
		return ""
	}
	return path
}

func tlsFault(part, reason, hint string) *urlfix.Error {
	return &urlfix.Error{Code: urlfix.CodeValue, Part: part, Reason: reason, Hint: hint, Pos: -1}
}
