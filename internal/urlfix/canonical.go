package urlfix

import (
	"strconv"
	"strings"
)

// secrets says what becomes of the secrets in a written URI.
type secrets uint8

const (
	showSecrets secrets = iota
	omitSecrets
	maskSecrets
)

// URI returns the canonical libpq URI, with its secrets. Any libpq tool accepts it: it has no pool
// and driver keys, and Settings are part of options. Parse of it gives the same URI again.
func (d *DSN) URI() string { return string(d.appendURI(nil, showSecrets)) }

// SafeURI is URI without Password, SSLPassword and Settings, for a driver that is given those
// apart. Its query has the keys of Params only, and host and port. Settings are better sent as
// startup parameters than in options: a pooler in between knows some of them, and no options.
func (d *DSN) SafeURI() string {
	bare := *d
	bare.Settings = nil
	return string(bare.appendURI(nil, omitSecrets))
}

// appendURI writes the URI. The slash after the authority is always there: it ends libpq's search
// for "@", so that nothing in the query can be taken for userinfo.
func (d *DSN) appendURI(b []byte, mode secrets) []byte {
	b = append(b, "postgres://"...)
	b = d.appendUserinfo(b, mode)
	if !d.hostsInQuery {
		for i, h := range d.Hosts {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendHost(b, h)
		}
	}
	b = append(b, '/')
	b = appendEscaped(b, d.Database, "")
	return d.appendQuery(b, mode)
}

// appendUserinfo writes "user:password@", of which each part may be missing.
func (d *DSN) appendUserinfo(b []byte, mode secrets) []byte {
	password := mode != omitSecrets && d.Password.IsSet()
	if d.User == "" && !password {
		return b
	}
	user := d.User
	if mode == maskSecrets {
		user = ShownUser(user)
	}
	b = appendEscaped(b, user, mask)
	if password {
		b = append(b, ':')
		b = appendSecret(b, d.Password, mode)
	}
	return append(b, '@')
}

// appendSecret writes a secret, or what stands for it.
func appendSecret(b []byte, s Secret, mode secrets) []byte {
	if mode == maskSecrets {
		return append(b, mask...)
	}
	return appendEscaped(b, s.Reveal(), "")
}

// appendHost writes a host for the authority: IPv6 in brackets, a directory with its slashes
// encoded.
func appendHost(b []byte, h Host) []byte {
	if strings.IndexByte(h.Name, ':') >= 0 && h.Name[0] != '/' {
		b = append(b, '[')
		b = appendEscaped(b, h.Name, ":")
		b = append(b, ']')
	} else {
		b = appendEscaped(b, h.Name, "")
	}
	if h.Port != 0 {
		b = append(b, ':')
		b = strconv.AppendUint(b, uint64(h.Port), 10)
	}
	return b
}

// queryLiterals stand for themselves in a query value for libpq, pgx and RFC 3986 alike. "+" does
// not: dialects disagree on it.
const queryLiterals = "/:,"

// shownLiterals keeps the mask as it is where a URI is only shown.
func shownLiterals(mode secrets) string {
	if mode == maskSecrets {
		return queryLiterals + "*"
	}
	return queryLiterals
}

// appendQuery writes host and port if they are not in the authority, then Params in their order,
// then what has no place in them. Read again, everything is in the place where it was.
func (d *DSN) appendQuery(b []byte, mode secrets) []byte {
	separator := byte('?')
	key := func(name string) {
		b = append(b, separator)
		separator = '&'
		b = append(b, name...)
		b = append(b, '=')
	}
	if d.hostsInQuery {
		key("host")
		for i, h := range d.Hosts {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendEscaped(b, h.Name, queryLiterals)
		}
		if port := d.Hosts[0].Port; port != 0 {
			key("port")
			b = strconv.AppendUint(b, uint64(port), 10)
		}
	}
	merged := len(d.Settings) == 0
	for _, p := range d.Params {
		key(p.Key)
		value := p.Value
		if mode == maskSecrets {
			value = p.Shown()
		}
		b = appendEscaped(b, value, shownLiterals(mode))
		if p.Key == "options" && !merged {
			b = d.appendSettings(b, p.Value != "", mode)
			merged = true
		}
	}
	if !merged {
		key("options")
		b = d.appendSettings(b, false, mode)
	}
	if d.SSLPassword.IsSet() && mode != omitSecrets {
		key("sslpassword")
		b = appendSecret(b, d.SSLPassword, mode)
	}
	return b
}

// appendSettings writes Settings as "-c name=value" for the server, which splits options at white
// space and takes a backslash as an escape (pg_split_opts, postinit.c).
func (d *DSN) appendSettings(b []byte, after bool, mode secrets) []byte {
	var text strings.Builder
	for _, s := range d.Settings {
		if after {
			text.WriteByte(' ')
		}
		after = true
		text.WriteString("-c ")
		text.WriteString(s.Key)
		text.WriteByte('=')
		value := s.Value
		if mode == maskSecrets {
			value = s.Shown()
		}
		for i := range len(value) {
			if strings.IndexByte(" \t\n\v\f\r\\", value[i]) >= 0 {
				text.WriteByte('\\')
			}
			text.WriteByte(value[i])
		}
	}
	return appendEscaped(b, text.String(), shownLiterals(mode))
}
