package urlfix

import (
	"strconv"
	"strings"
)

// What is shown of parts that are no secret in libpq, and are used as one.

// mask stands for a secret in a text that is shown.
const mask = "***"

// ShownUser hides what follows a colon in the name of a user. "app%3Apassword@h" in a URI is such a
// user, with the password in its name.
func ShownUser(name string) string {
	if i := strings.IndexByte(name, ':'); i >= 0 {
		return name[:i+1] + mask
	}
	return name
}

// ShownSetting hides the value of a setting with a dot in its name. PostgreSQL's own have none:
// these are the application's, as app.jwt_secret.
func ShownSetting(name, value string) string {
	if value != "" && strings.IndexByte(name, '.') >= 0 {
		return mask
	}
	return value
}

// Shown returns the value without what may be a secret.
func (p Param) Shown() string {
	if p.Key == "options" {
		return ShownOptions(p.Value)
	}
	return ShownSetting(p.Key, p.Value)
}

// ShownOptions is ShownSetting for each setting in options: "-c name=value", "-cname=value" or
// "--name=value". A backslash takes the next character as it is (pg_split_opts, postinit.c).
func ShownOptions(options string) string {
	if strings.IndexByte(options, '.') < 0 {
		return options
	}
	var b strings.Builder
	for pos := 0; pos < len(options); {
		end := pos
		for end < len(options) && !optionSpace(options[end]) {
			if options[end] == '\\' && end+1 < len(options) {
				end++
			}
			end++
		}
		word := options[pos:end]
		if name, value, found := strings.Cut(word, "="); found {
			word = name + "=" + ShownSetting(name, value)
		}
		b.WriteString(word)
		for pos = end; pos < len(options) && optionSpace(options[pos]); pos++ {
			b.WriteByte(options[pos])
		}
	}
	return b.String()
}

// optionSpace reports whether c is white space to the server.
func optionSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }

// Redact returns dsn for logs, read in the dialect: the canonical URI with the secrets hidden. If
// the string is invalid, any part of it may be the password. The result then has only its length
// and its scheme, if that is one of libpq's.
//
// Without a dialect, another tool may take more of the string for the password. Then Redact returns
// the reading with the longest password, unless that shows a part of another reading's.
func Redact(dsn, dialect string) string {
	if text := shownReading(dsn, dialect); text != "" {
		return text
	}
	base, _ := libpqScheme(dsn)
	return dsn[:base] + "[unparseable, " + strconv.Itoa(len(dsn)) + " bytes]"
}

// shownReading returns the reading that hides the most, or "".
func shownReading(dsn, dialect string) string {
	d, err := ParseAs(dsn, dialect)
	if err != nil {
		return ""
	}
	if dialect != "" {
		return d.String()
	}
	readings := []*DSN{d}
	for _, name := range Dialects() {
		other, err := ParseAs(dsn, name)
		if err != nil || other.Password.Reveal() == readings[0].Password.Reveal() {
			continue
		}
		readings = append(readings, other)
		if len(other.Password.Reveal()) > len(d.Password.Reveal()) {
			d = other
		}
	}
	text := d.String()
	for _, other := range readings {
		if other.Password.Reveal() != d.Password.Reveal() && sharesText(text, other.Password.Reveal()) {
			return ""
		}
	}
	return text
}

// sharesText reports whether text holds four characters in a row of the secret.
func sharesText(text, secret string) bool {
	const shown = 4
	for i := 0; i+shown <= len(secret); i++ {
		if strings.Contains(text, secret[i:i+shown]) {
			return true
		}
	}
	return false
}
