package libpq_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestSystemRoots makes an authority one of the system's, which takes a process of its own: crypto/x509 reads the
// system's roots once, from the file that SSL_CERT_FILE names.
func TestSystemRoots(t *testing.T) {
	const child = "PGSAFE_TEST_SYSTEM_ROOTS"
	if dsn := os.Getenv(child); dsn != "" {
		fmt.Printf("outcome=%s\n", outcome(t, dsn))
		return
	}
	home(t)
	ca := newAuthority(t, "public", nil)
	cert := ca.server(t, "localhost")
	c := newTLSServer(t, nil)
	install(t, c, cert)
	tests := []struct{ name, dsn, want string }{
		{"sslrootcert=system verifies against the system's roots", "host=localhost sslrootcert=system", encrypted},
		{"sslrootcert=system verifies against the system's roots without SNI", "host=localhost sslrootcert=system sslsni=0",
			encrypted},
		{"sslrootcert=system checks the name", "host=127.0.0.1 sslrootcert=system", refused},
		{"sslrootcert=system checks the name without SNI", "host=127.0.0.1 sslrootcert=system sslsni=0", refused},
		{"verify-full without a root certificate uses the system's roots", "host=localhost sslmode=verify-full", encrypted},
		{"a certificate passes the named list of the system's authority",
			"host=localhost sslrootcert=system sslcrl=" + writeFile(t, "root.crl", ca.list(t)), encrypted},
		{"the named list of the system's authority revokes a certificate",
			"host=localhost sslrootcert=system sslcrl=" + writeFile(t, "root.crl", ca.list(t, cert.Leaf)), refused},
	}
	rootFile := ca.file(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSystemRoots$")
			cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+rootFile, "SSL_CERT_DIR="+t.TempDir(),
				fmt.Sprintf("%s=%s port=%d user=postgres dbname=postgres", child, tt.dsn, c.Port()))
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "outcome="+tt.want+"\n") {
				t.Errorf("it ends with %v and says\n%s", err, out)
			}
		})
	}
}
