package failure

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsafe/pgsafe/internal/libpq"
)

// ErrCertificateExpired is pgsafe.ErrCertificateExpired.
var ErrCertificateExpired = errors.New("the client certificate has expired")

// IsCertificate reports whether TLS failed because of a certificate, the client's or the server's,
// or because the two sides have no version or cipher in common.
func IsCertificate(err error) bool {
	return errors.Is(err, ErrCertificateExpired) || IsAlert(err) || is[*tls.CertificateVerificationError](err) ||
		is[x509.UnknownAuthorityError](err) || is[x509.HostnameError](err) || is[x509.CertificateInvalidError](err)
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// IsAlert reports whether the other side of TLS ended the handshake: a certificate is missing,
// expired, revoked or unknown, or versions and ciphers do not fit (crypto/tls,
// Conn.readRecordOrCCS).
func IsAlert(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "remote error"
}

// demands are the beginnings of pgconn's errors about a server that does not do what a keyword
// demands. pgconn does not export them (pgconn.go, connectOne and startTLS; auth_scram.go,
// scramAuth).
var demands = [...]string{
	"server refused TLS connection", "channel binding required but ", "sslcertmode check failed: ",
	"require_auth check failed: ",
}

// IsDemand reports whether the server does not do what the client demands of its TLS, of its
// authentication, or of the user that it runs as (requirepeer).
func IsDemand(err error) bool {
	return Any(err, func(err error) bool {
		text := err.Error()
		for _, demand := range demands {
			if strings.HasPrefix(text, demand) {
				return true
			}
		}
		return err == libpq.ErrPeer //nolint:errorlint // each layer is looked at
	})
}

// IsRole reports whether a server let the client in, but does not have the role that
// target_session_attrs, or the application's own ValidateConnect, asks for. pgconn wraps what
// ValidateConnect returns into a text of its own (pgconn.go, connectOne).
func IsRole(err error) bool {
	return errors.Is(err, pgconn.ErrReadOnlyConnection) || errors.Is(err, pgconn.ErrReadWriteConnection) ||
		errors.Is(err, pgconn.ErrPrimaryConnection) || errors.Is(err, pgconn.ErrStandbyConnection) ||
		Any(err, func(err error) bool { return strings.HasPrefix(err.Error(), "ValidateConnect failed: ") })
}
