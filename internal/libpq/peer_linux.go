package libpq

import (
	"errors"
	"net"
	"os/user"
	"strconv"
	"syscall"
)

const canTellPeers = true

// peerName returns the name of the user that the process at the other end of a unix socket ran as
// when it began to listen (getpeereid.c, and pg_fe_getusername, fe-auth.c).
func peerName(conn *net.UnixConn) (string, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return "", err
	}
	var cred *syscall.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err := errors.Join(err, credErr); err != nil {
		return "", err
	}
	account, err := user.LookupId(strconv.FormatUint(uint64(cred.Uid), 10))
	if err != nil {
		return "", err
	}
	return account.Username, nil
}
