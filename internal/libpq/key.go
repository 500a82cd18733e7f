package libpq

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"strings"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

// readKey returns the private key in the file of sslkey, as DER that crypto/x509 parses. As in
// libpq (initialize_SSL, fe-secure-openssl.c) it must be a regular file that no other user can
// read.
func readKey(part, path string, password urlfix.Secret) ([]byte, *urlfix.Error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fileFault(part, err)
	}
	if !info.Mode().IsRegular() {
		return nil, tlsFault(part, "it is not a regular file", "name the file of the private key")
	}
	if readableByOthers(info) {
		return nil, tlsFault(part, "others can read the file",
			"take their permission away with chmod 0600; a file that root owns may be 0640")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fileFault(part, err)
	}
	return decodeKey(part, text, password)
}

// decodeKey takes what OpenSSL takes: PEM or DER; as it is, encrypted as a whole (ENCRYPTED PRIVATE
// KEY), or with the older encryption of PEM ("Proc-Type: 4,ENCRYPTED").
func decodeKey(part string, text []byte, password urlfix.Secret) ([]byte, *urlfix.Error) {
	block := keyBlock(text)
	encrypted, isPKCS8 := parseEncryptedKey(block.Bytes)
	switch {
	//lint:ignore SA1019 the files exist, and libpq reads them
	case x509.IsEncryptedPEMBlock(block):
		//lint:ignore SA1019 the same
		return decrypted(part, password, func(p []byte) ([]byte, error) { return x509.DecryptPEMBlock(block, p) })
	case isPKCS8:
		return decrypted(part, password, encrypted.decrypt)
	case !isKey(block.Bytes):
		return nil, tlsFault(part, "the file holds no private key",
			"a key is PEM or DER; of a PKCS-12 file, openssl pkcs12 -nocerts makes one")
	}
	return block.Bytes, nil
}

// keyBlock returns the first private key among the PEM blocks of text; without one, text is taken
// for DER.
func keyBlock(text []byte) *pem.Block {
	for rest := text; ; {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			return &pem.Block{Bytes: text}
		}
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return block
		}
	}
}

// decrypted makes the errors of decrypting. A wrong password may also go unnoticed there, and give
// no key.
func decrypted(
	part string, password urlfix.Secret, decrypt func(password []byte) ([]byte, error),
) ([]byte, *urlfix.Error) {
	if !password.IsSet() {
		return nil, tlsFault("sslpassword", "the key in sslkey is encrypted, and there is no sslpassword", "add sslpassword")
	}
	der, err := decrypt([]byte(password.Reveal()))
	if errors.Is(err, errKeyEncryption) {
		return nil, tlsFault(part, "the key is encrypted in a way that is not supported",
			"encrypt it anew with openssl pkcs8 -topk8 -v2 aes-256-cbc")
	}
	if err != nil || !isKey(der) {
		return nil, tlsFault("sslpassword", "it does not open the key in sslkey", "correct it")
	}
	return der, nil
}

// isKey reports whether der is a key in one of the forms that crypto/tls looks for.
func isKey(der []byte) bool {
	_, pkcs8 := x509.ParsePKCS8PrivateKey(der)
	_, pkcs1 := x509.ParsePKCS1PrivateKey(der)
	_, sec1 := x509.ParseECPrivateKey(der)
	return pkcs8 == nil || pkcs1 == nil || sec1 == nil
}
