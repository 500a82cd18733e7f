package wire

import (
	"errors"
	"fmt"
	"hash/maphash"
)

// ErrProtocol is the error of a connection whose server does not keep to the protocol, or says more
// than a server should. The connection is closed. Use errors.Is.
var ErrProtocol = errors.New("the server broke the protocol")

func broken(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrProtocol}, args...)...)
}

// The bounds.
const (
	// shortMessage is libpq's bound for the length of most messages (fe-protocol3.c, pqParseInput3),
	// and during login for errors (fe-connect.c, PQconnectPoll; it gives an authentication request
	// 2,000). pgproto3 by itself allocates up to 2 GiB for a head of five bytes (Frontend.Receive,
	// iobufpool.Get).
	shortMessage = 30_000

	// loginBytes bounds a login in all. One takes 500 bytes, and a login trigger's notices some more.
	loginBytes = 1 << 20

	// notificationBytes bounds the notifications within one answer. pgx keeps them until the
	// application asks for them (conn.go, bufferNotifications). While the application waits for one,
	// nothing needs a bound: pgx reads no further than the first. The server's own queue may hold
	// 8 GB (async.c, QUEUE_MAX_PAGE).
	notificationBytes = 256 << 20

	// notification is what pgx needs for a notification besides its text.
	notification = 64

	// noticeBytes bounds the notices, and the parameters that changed, within one answer. pgx
	// keeps none, so the bound only ends what has no end. It is the size of the largest message that
	// pgproto3 takes.
	noticeBytes = 1 << 30

	// parameters bounds how many parameters the server may report: pgconn keeps each one's last
	// value (receiveMessage). PostgreSQL 18 reports 15, and extensions and poolers may add some.
	parameters = 200

	// parameterName is longer than the name of any parameter: two identifiers and a dot
	// (guc.c, valid_custom_variable_name).
	parameterName = 128
)

// checkLength checks the length of a message. Only some types may be long (fe-protocol3.c,
// VALID_LONG_MESSAGE_TYPE), and none during login. ParameterDescription is not among libpq's types,
// but has four bytes for each of up to 65,535 parameters.
func checkLength(kind byte, length uint32, login bool) error {
	if length < 4 || length > shortMessage && (login || !mayBeLong(kind)) {
		return broken("a message of type %q and length %d", kind, length)
	}
	return nil
}

func mayBeLong(kind byte) bool {
	switch kind {
	case 'T', 'D', 'd', 'V', 'E', 'N', 'A', 't':
		return true
	}
	return false
}

// flood counts what the server says without being asked.
type flood struct {
	login         int // bytes
	notices       int // bytes since the last request or answer
	notifications int

	names map[uint64]struct{} // hashes of the parameters that were reported
	text  [parameterName]byte // name of the present one
	at    int                 // how much of it there is, or named
}

// named is where text is complete.
const named = -1

// reset begins a new answer.
func (f *flood) reset() { f.notices, f.notifications = 0, 0 }

// begin counts a message by its head.
func (f *flood) begin(kind byte, length int, w *Wire) error {
	if w.login {
		f.login += length
		if f.login > loginBytes {
			return broken("more than %d bytes before the login was done", loginBytes)
		}
	}
	switch kind {
	case 'S', 'N':
		f.at = 0
		f.notices += length
		if f.notices > noticeBytes {
			return broken("more than %d bytes of notices in one answer", noticeBytes)
		}
	case 'A':
		if !w.Owes() {
			return nil
		}
		f.notifications += length + notification
		if f.notifications > notificationBytes {
			return broken("more than %d bytes of notifications in one answer", notificationBytes)
		}
	}
	return nil
}

// name reads a piece of a ParameterStatus, which begins with the parameter's name.
func (f *flood) name(p []byte) error {
	for _, b := range p {
		switch {
		case f.at == named:
			return nil
		case b == 0:
			return f.report()
		case f.at == len(f.text):
			return broken("a parameter whose name is longer than %d bytes", parameterName)
		}
		f.text[f.at] = b
		f.at++
	}
	return nil
}

// report counts the parameter whose name is complete.
func (f *flood) report() error {
	if f.names == nil {
		f.names = map[uint64]struct{}{}
	}
	f.names[maphash.Bytes(seed, f.text[:f.at])] = struct{}{}
	f.at = named
	if len(f.names) > parameters {
		return broken("more than %d parameters", parameters)
	}
	return nil
}
