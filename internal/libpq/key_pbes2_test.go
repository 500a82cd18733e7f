package libpq_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"

	"github.com/pgsafe/pgsafe/internal/libpq"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/urlfix"
)

// pbes2 are the fields of an encrypted key that can be wrong; see RFC 8018, A.2 and A.4.
type pbes2 struct {
	content    []byte
	iterations int
	keyLength  int
	prf        asn1.ObjectIdentifier
	iv         []byte
	cut        int  // bytes missing at the end
	uneven     byte // what the first byte of the padding is wrong by
}

// der encrypts content with AES-256 and the password keyPassword.
func (p pbes2) der(t *testing.T) []byte {
	t.Helper()
	salt := []byte("salt and pepper.")
	key, err := pbkdf2.Key(sha256.New, keyPassword, salt, 1, 32)
	check.OK(t, err)
	block, err := aes.NewCipher(key)
	check.OK(t, err)
	n := aes.BlockSize - len(p.content)%aes.BlockSize
	data := append([]byte{}, p.content...)
	for range n {
		data = append(data, byte(n))
	}
	data[len(p.content)] ^= p.uneven
	cipher.NewCBCEncrypter(block, make([]byte, aes.BlockSize)).CryptBlocks(data, data)
	kdf := struct {
		Salt       []byte
		Iterations int
		KeyLength  int `asn1:"optional"`
		PRF        pkix.AlgorithmIdentifier
	}{salt, p.iterations, p.keyLength, algorithm(t, p.prf, asn1.NullRawValue)}
	params := struct{ KDF, Cipher pkix.AlgorithmIdentifier }{
		algorithm(t, asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}, kdf),
		algorithm(t, asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}, p.iv),
	}
	return marshal(t, struct {
		Scheme pkix.AlgorithmIdentifier
		Data   []byte
	}{algorithm(t, asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}, params), data[:len(data)-p.cut]})
}

func algorithm(t *testing.T, id asn1.ObjectIdentifier, params any) pkix.AlgorithmIdentifier {
	t.Helper()
	return pkix.AlgorithmIdentifier{Algorithm: id, Parameters: asn1.RawValue{FullBytes: marshal(t, params)}}
}

func marshal(t *testing.T, value any) []byte {
	t.Helper()
	der, err := asn1.Marshal(value)
	check.OK(t, err)
	return der
}

func TestEncryptedKeyFields(t *testing.T) {
	key, err := x509.MarshalPKCS8PrivateKey(newKey(t))
	check.OK(t, err)
	hmacSHA256 := asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}
	tests := []struct {
		name         string
		change       func(*pbes2)
		part, reason string // empty: it is a key
	}{
		{"right fields make a key", func(*pbes2) {}, "", ""},
		{"the right key length may be there", func(p *pbes2) { p.keyLength = 32 }, "", ""},
		{"another key length is refused", func(p *pbes2) { p.keyLength = 16 }, "sslkey", "not supported"},
		{"no iterations are refused", func(p *pbes2) { p.iterations = 0 }, "sslkey", "not supported"},
		{"a negative number of iterations is refused", func(p *pbes2) { p.iterations = -1 }, "sslkey", "not supported"},
		{"a number of iterations that takes for ever is refused", func(p *pbes2) { p.iterations = 2_000_001 }, "sslkey", "not supported"},
		{"an unknown HMAC is refused", func(p *pbes2) { p.prf = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 12} }, "sslkey", "not supported"},
		{"a short initialization vector is refused", func(p *pbes2) { p.iv = p.iv[:8] }, "sslkey", "not supported"},
		{"half a block is refused", func(p *pbes2) { p.cut = 8 }, "sslkey", "not supported"},
		{"no data is refused", func(p *pbes2) { p.content, p.cut = nil, 16 }, "sslkey", "not supported"},
		{"a padding that is missing is taken for a wrong password", func(p *pbes2) { p.cut = 16 }, "sslpassword", "does not open"},
		{"an uneven padding is taken for a wrong password", func(p *pbes2) { p.uneven = 1 }, "sslpassword", "does not open"},
		{"what is no key is taken for a wrong password", func(p *pbes2) { p.content = []byte("no key") }, "sslpassword", "does not open"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := pbes2{content: key, iterations: 1, prf: hmacSHA256, iv: make([]byte, aes.BlockSize)}
			tt.change(&p)
			got, fault := libpq.DecodeKey("sslkey", p.der(t), urlfix.NewSecret(keyPassword))
			if tt.part == "" {
				check.Equal(t, string(got), string(key))
				return
			}
			if fault == nil {
				t.Fatal("it is taken")
			}
			checkFault(t, fault, tt.part, tt.reason)
		})
	}
	t.Run("bytes after the end are refused", func(t *testing.T) {
		p := pbes2{content: key, iterations: 1, prf: hmacSHA256, iv: make([]byte, aes.BlockSize)}
		_, fault := libpq.DecodeKey("sslkey", append(p.der(t), 0), urlfix.NewSecret(keyPassword))
		checkFault(t, fault, "sslkey", "no private key")
	})
}
