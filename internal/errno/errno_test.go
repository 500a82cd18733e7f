package errno_test

import (
	"errors"
	"net"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"github.com/pgsafe/pgsafe/internal/errno"
	"github.com/pgsafe/pgsafe/internal/pgtest"
)

func TestErrno(t *testing.T) {
	t.Run("a port on which nothing listens is silent, and not gone", func(t *testing.T) {
		e := dial(t, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(pgtest.ClosedPort(t))))
		if !errno.Silent(e) || errno.Gone(e) {
			t.Error(e)
		}
	})
	t.Run("a unix socket that does not exist is gone, and not silent", func(t *testing.T) {
		if runtime.GOOS == "windows" {
			t.Skip("an address stays on Windows")
		}
		e := dial(t, "unix", filepath.Join(t.TempDir(), "none"))
		if errno.Silent(e) || !errno.Gone(e) {
			t.Error(e)
		}
	})
}

func dial(t *testing.T, network, address string) syscall.Errno {
	t.Helper()
	_, err := net.Dial(network, address)
	e, ok := errors.AsType[syscall.Errno](err)
	if !ok {
		t.Fatalf("no errno in %v", err)
	}
	return e
}
