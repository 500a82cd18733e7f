// Package urlfix reads connection strings of PostgreSQL, also those whose password was pasted in
// without being percent-encoded, and writes each as one canonical libpq URI. It gives the meaning
// the string has for the tool it was written for, or an error. It never guesses: where two readings
// are possible, it refuses.
//
// The grammars:
//   - libpq URI: conninfo_uri_parse_options, conninfo_uri_parse_params and conninfo_uri_decode in
//     src/interfaces/libpq/fe-connect.c of PostgreSQL 18
//   - libpq keyword/value string: conninfo_parse, same file
//   - SQLAlchemy URL (sqlalchemy.go), the URLs of tools that use the URL library of their language (web.go), JDBC's
//     (jdbc.go), and the forms of ADO.NET (npgsql.go) and PDO (pdo.go)
//
// Deliberate differences from libpq:
//   - A host must look like one, control characters and invalid UTF-8 are refused, as are blanks that versions of
//     libpq treat differently and hosts, ports, users or passwords that are given twice with different values.
//   - A URI that libpq would misread, and that has exactly one sensible reading, gets that one (readings.go).
//   - Server settings, as in search_path=app, are accepted as keys, as pgx and lib/pq do; pool_* and pgsafe_* too.
//   - Keywords that a Go driver cannot honour are refused by name, or left out where that changes nothing.
//   - No error text holds a piece of the string.
//
// A dialect is a file: its grammar, and a table of the parameters that mean something else than
// libpq's. Each names the sources of its tool that it follows.
package urlfix

import (
	"strings"
	"unicode/utf8"
)

// MaxLength is the length in bytes above which Parse refuses a string unread.
const MaxLength = 1 << 20

// Parse reads a connection string of any supported dialect. The empty string is valid: it leaves
// all to the PG* environment variables and defaults, which Parse itself does not look at. It reads
// no file either. Its time grows linearly with len(dsn). The error is always an *Error.
//
// The form of a string tells its dialect, or its key pgsafe_dialect does. A plain URI or
// keyword/value string that does not has libpq's meaning; parameters in it that belong to one tool
// only have that tool's.
func Parse(dsn string) (*DSN, error) { return ParseAs(dsn, "") }

// ParseAs is Parse of a string that is written in a dialect, one of Dialects. It refuses a string
// that has the form of another one. "" is for a dialect that is not known.
func ParseAs(dsn, dialect string) (*DSN, error) {
	d := new(DSN)
	if err := parse(d, dsn, dialect); err != nil {
		return nil, err
	}
	return d, nil
}

// Normalize returns the canonical URI of dsn, as Parse and URI do, and dsn itself if it is
// canonical already; and the keys that are no part of it, as DSN.Pool and DSN.Driver. dialect means
// the same as to ParseAs. The error is always an *Error.
func Normalize(dsn, dialect string) (uri string, pool, driver []Param, err error) {
	var d DSN
	if err := parse(&d, dsn, dialect); err != nil {
		return "", nil, nil, err
	}
	var buf [512]byte
	canonical := d.appendURI(buf[:0], showSecrets)
	if string(canonical) == dsn {
		return dsn, d.Pool, d.Driver, nil
	}
	return string(canonical), d.Pool, d.Driver, nil
}

// parse is Parse into a DSN of the caller's, so that Normalize needs none on the heap.
func parse(d *DSN, s, dialect string) *Error {
	s = plainBlanks(s)
	if err := checkText(s); err != nil {
		return err
	}
	if dialect == "" && !strings.Contains(s, "ialect") { // of pgsafe_dialect, the "_" of which may be escaped
		if base, ok := libpqScheme(s); ok {
			return parseURI(d, s, base, &libpqURI)
		}
	}
	// The dialects are called through tables. They get a separate DSN, so that the compiler can
	// usually keep Normalize's DSN on the stack.
	own := new(DSN)
	err := parseDetected(own, s, dialect)
	*d = *own
	return err
}

// libpqScheme recognises the two schemes of libpq, which compares them byte by byte.
func libpqScheme(s string) (base int, ok bool) {
	for _, scheme := range [...]string{"postgres://", "postgresql://"} {
		if strings.HasPrefix(s, scheme) {
			return len(scheme), true
		}
	}
	return 0, false
}

// checkText refuses what is wrong in every dialect.
func checkText(s string) *Error {
	if len(s) > MaxLength {
		return fault(CodeTooLong, "string", -1, "it is longer than 1 MiB", shapeBoth)
	}
	ascii := true
	for i := range len(s) {
		switch c := s[i]; {
		case control(c):
			return controlFault(s, i)
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	if !ascii && !utf8.ValidString(s) {
		return fault(CodeValue, "string", -1, "it is not valid UTF-8", encodeHint)
	}
	if s == "" {
		return nil
	}
	if err := pasted(s); err != nil {
		return err
	}
	if c := s[0]; c == '"' || c == '\'' || c == '`' {
		return fault(CodeSyntax, "string", 0, "it starts with a quotation mark", "remove the quotes around the string")
	}
	return nil
}

// controlFault names the usual case: the newline at the end of a file that a string was read from.
func controlFault(s string, i int) *Error {
	if strings.Trim(s[i:], "\r\n") == "" {
		return fault(CodeControlCharacter, "string", i, "it ends with a newline", "trim the string before use")
	}
	return fault(CodeControlCharacter, "string", i, "it holds a control character", encodeHint)
}
