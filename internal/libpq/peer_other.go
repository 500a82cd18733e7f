//go:build !linux

package libpq

import (
	"errors"
	"net"
)

const canTellPeers = false

// peerName fails: the standard library has no way to ask this system.
func peerName(*net.UnixConn) (string, error) {
	return "", errors.New("requirepeer cannot be checked on this system")
}
