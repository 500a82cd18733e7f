package pgserver

import (
	"fmt"
	"strings"
)

// URI returns a libpq URI with which the superuser gets in over TCP, to database or, if that is
// empty, to Options.Database or else "postgres". With TLS it asks for it (sslmode=verify-full and
// the authority's certificate), without it forbids it; with ClientCert it names a certificate of
// the superuser. It holds the password, and stays the same until Stop.
func (s *Server) URI(database string) string {
	uri := "postgres://" + s.userinfo() + fmt.Sprintf("@%s:%d/%s", s.Host(), s.port, escape(s.database(database)))
	if s.ca == nil {
		return uri + "?sslmode=disable"
	}
	uri += "?sslmode=verify-full&sslrootcert=" + escape(s.caFile)
	if s.opts.Auth == ClientCert {
		uri += "&sslcert=" + escape(s.ownCert) + "&sslkey=" + escape(s.ownKey)
	}
	return uri
}

// SocketURI is like URI, through the unix socket.
func (s *Server) SocketURI(database string) string {
	return "postgres://" + s.userinfo() + fmt.Sprintf("@/%s?host=%s&port=%d&sslmode=disable",
		escape(s.database(database)), escape(s.sock), s.port)
}

func (s *Server) userinfo() string {
	if s.opts.Password == "" {
		return escape(s.opts.User)
	}
	return escape(s.opts.User) + ":" + escape(s.opts.Password)
}

func (s *Server) database(name string) string {
	switch {
	case name != "":
		return name
	case s.opts.Database != "":
		return s.opts.Database
	default:
		return "postgres"
	}
}

// escape percent-encodes all but the characters that mean themselves in every part of a URI. (Go's
// own escapers each leave some that libpq takes for a delimiter in one place or another.)
func escape(text string) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
