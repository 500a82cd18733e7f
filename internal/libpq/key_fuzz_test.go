package libpq_test

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgsafe/pgsafe/internal/libpq"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/urlfix"
)

// Whatever a key file holds, it is a key or a plain error.
func FuzzDecodeKey(f *testing.F) {
	files, err := filepath.Glob("testdata/keys/*.*")
	check.OK(f, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		check.OK(f, err)
		f.Add(text, keyPassword)
	}
	f.Fuzz(func(t *testing.T, text []byte, password string) {
		der, fault := libpq.DecodeKey("sslkey", text, urlfix.NewSecret(password))
		if fault != nil {
			if der != nil || fault.Reason == "" || fault.Pos != -1 {
				t.Errorf("a key and the error %#v", fault)
			}
			if len(password) >= 12 && strings.Contains(fault.Error(), password) {
				t.Error("the error holds the password")
			}
			return
		}
		_, pkcs8 := x509.ParsePKCS8PrivateKey(der)
		_, pkcs1 := x509.ParsePKCS1PrivateKey(der)
		_, sec1 := x509.ParseECPrivateKey(der)
		if pkcs8 != nil && pkcs1 != nil && sec1 != nil {
			t.Error("neither a key nor an error")
		}
	})
}
