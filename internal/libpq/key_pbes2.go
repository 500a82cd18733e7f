package libpq

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des" //nolint:gosec // keys that were encrypted with it exist
	"crypto/pbkdf2"
	"crypto/sha1" //nolint:gosec // the default of PBKDF2
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"hash"
)

// Keys encrypted by PKCS-8 with PBES2, PBKDF2 and a block cipher in CBC mode: RFC 5958 section 3
// and RFC 8018. That is what OpenSSL has written since 1.1.0, and the standard library does not
// read.

var (
	errKeyEncryption = errors.New("encrypted in an unknown way")
	errKeyPassword   = errors.New("wrong password")
)

// maxIterations keeps a damaged file from keeping the process busy for long. OpenSSL writes 2048,
// and advice for stored passwords ends at 1,300,000 (SHA-1).
const maxIterations = 2_000_000

// encryptedKey is RFC 5958's EncryptedPrivateKeyInfo.
type encryptedKey struct {
	Scheme pkix.AlgorithmIdentifier
	Data   []byte
}

// pbes2Params is RFC 8018's PBES2-params (A.4).
type pbes2Params struct {
	KDF, Cipher pkix.AlgorithmIdentifier
}

// pbkdf2Params is RFC 8018's PBKDF2-params (A.2), with a salt that is given.
type pbkdf2Params struct {
	Salt       []byte
	Iterations int
	KeyLength  int                      `asn1:"optional"`
	PRF        pkix.AlgorithmIdentifier `asn1:"optional"` // HMAC with SHA-1 when left out
}

var (
	oidPBES2  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
)

// prfs are the HMACs that PBKDF2 may use, by their object identifiers (RFC 8018 B.1.1 and B.1.2).
var prfs = map[string]func() hash.Hash{
	"":                    sha1.New,
	"1.2.840.113549.2.7":  sha1.New,
	"1.2.840.113549.2.8":  sha256.New224,
	"1.2.840.113549.2.9":  sha256.New,
	"1.2.840.113549.2.10": sha512.New384,
	"1.2.840.113549.2.11": sha512.New,
}

// keyCipher is a block cipher in CBC mode.
type keyCipher struct {
	keySize int
	block   func(key []byte) (cipher.Block, error)
}

// keyCiphers are the ciphers of RFC 8018 B.2.2 and B.2.5 that are still in use.
var keyCiphers = map[string]keyCipher{
	"1.2.840.113549.3.7":      {24, des.NewTripleDESCipher},
	"2.16.840.1.101.3.4.1.2":  {16, aes.NewCipher},
	"2.16.840.1.101.3.4.1.22": {24, aes.NewCipher},
	"2.16.840.1.101.3.4.1.42": {32, aes.NewCipher},
}

// parseEncryptedKey reports whether der is an EncryptedPrivateKeyInfo. A private key that is not
// encrypted starts with a number instead.
func parseEncryptedKey(der []byte) (encryptedKey, bool) {
	var k encryptedKey
	ok := parseDER(der, &k)
	return k, ok
}

// decrypt returns the key, which is likely, but not sure, to be one: the padding is the only proof
// of the password. The error is errKeyEncryption or errKeyPassword.
func (k encryptedKey) decrypt(password []byte) ([]byte, error) {
	var params pbes2Params
	if !k.Scheme.Algorithm.Equal(oidPBES2) || !parseDER(k.Scheme.Parameters.FullBytes, &params) {
		return nil, errKeyEncryption
	}
	mode, err := params.open(password)
	if err != nil {
		return nil, err
	}
	size := mode.BlockSize()
	if len(k.Data) == 0 || len(k.Data)%size != 0 {
		return nil, errKeyEncryption
	}
	plain := make([]byte, len(k.Data))
	mode.CryptBlocks(plain, k.Data)
	return unpad(plain, size)
}

// open derives the key of the cipher from the password (RFC 8018, 6.2.2).
func (p pbes2Params) open(password []byte) (cipher.BlockMode, error) {
	scheme, known := keyCiphers[p.Cipher.Algorithm.String()]
	var kdf pbkdf2Params
	if !known || !p.KDF.Algorithm.Equal(oidPBKDF2) || !parseDER(p.KDF.Parameters.FullBytes, &kdf) {
		return nil, errKeyEncryption
	}
	prf, known := prfs[kdf.PRF.Algorithm.String()]
	if !known || kdf.Iterations < 1 || kdf.Iterations > maxIterations ||
		kdf.KeyLength != 0 && kdf.KeyLength != scheme.keySize {
		return nil, errKeyEncryption
	}
	key, err := pbkdf2.Key(prf, string(password), kdf.Salt, kdf.Iterations, scheme.keySize)
	if err != nil { // in FIPS 140 mode, where it is not strong enough
		return nil, errKeyEncryption
	}
	block, err := scheme.block(key)
	if err != nil {
		return nil, errKeyEncryption
	}
	var iv []byte
	if !parseDER(p.Cipher.Parameters.FullBytes, &iv) || len(iv) != block.BlockSize() {
		return nil, errKeyEncryption
	}
	return cipher.NewCBCDecrypter(block, iv), nil
}

// unpad takes the padding off (RFC 8018, 6.1.1): n bytes of value n.
func unpad(plain []byte, size int) ([]byte, error) {
	n := int(plain[len(plain)-1])
	if n < 1 || n > size {
		return nil, errKeyPassword
	}
	text, padding := plain[:len(plain)-n], plain[len(plain)-n:]
	if !bytes.Equal(padding, bytes.Repeat([]byte{byte(n)}, n)) {
		return nil, errKeyPassword
	}
	return text, nil
}

// parseDER reports whether der is one value of into's type, and nothing after it.
func parseDER(der []byte, into any) bool {
	rest, err := asn1.Unmarshal(der, into)
	return err == nil && len(rest) == 0
}
