//go:build unix

package libpq_test

import (
	"fmt"
	"io/fs"
	"os"
	"testing"

	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

func TestKeyPermissions(t *testing.T) {
	home(t)
	dsn, c := keyServer(t)
	const nobody = 65534
	asRoot := os.Getuid() == 0
	type row struct {
		mode  fs.FileMode
		owner int
		fine  bool
	}
	self := os.Getuid()
	tests := []row{
		{0o600, self, true},
		{0o400, self, true},
		{0o640, self, asRoot},
		{0o660, self, false},
		{0o650, self, false},
		{0o604, self, false},
		{0o644, self, false},
		{0o601, self, false},
	}
	if asRoot { // who alone may give files away, and read them still
		tests = append(tests, row{0o600, nobody, true}, row{0o640, nobody, false}, row{0o644, nobody, false})
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("mode %04o of user %d is fine: %v", tt.mode, tt.owner, tt.fine), func(t *testing.T) {
			file := keyFile(t, "plain.pem")
			check.OK(t, os.Chmod(file, tt.mode))
			check.OK(t, os.Chown(file, tt.owner, -1))
			if tt.fine {
				logsIn(t, c, dsn+"sslkey="+file)
				return
			}
			_, err := read(dsn + "sslkey=" + file)
			checkFault(t, err, "sslkey", "others can read")
			checkPsql(t, c, "", dsn+"sslkey="+file, refused)
		})
	}
}
