package urlfix

import (
	"strconv"
	"strings"
)

// Code is the kind of fault, for programs. A caller may compare it; new codes may be added.
type Code string

const (
	// CodeSyntax: the string does not follow the grammar of its dialect.
	CodeSyntax Code = "syntax"
	// CodeAmbiguous: there are two readings, and they name different servers, users or passwords.
	CodeAmbiguous Code = "ambiguous"
	// CodeUnknownKey: no tool knows the parameter. It is never sent to a server.
	CodeUnknownKey Code = "unknown_key"
	// CodeUnsupported: the meaning is clear, and cannot be honoured.
	CodeUnsupported Code = "unsupported"
	// CodeOtherDatabase: a connection string of another database or service.
	CodeOtherDatabase Code = "other_database"
	// CodeConflict: two places of the string contradict each other.
	CodeConflict Code = "conflict"
	// CodeValue: a parameter, host or port has a value it cannot have, or one that would weaken
	// TLS.
	CodeValue Code = "value"
	// CodeControlCharacter: NUL, a newline or another control character.
	CodeControlCharacter Code = "control_character"
	// CodeTooLong: longer than MaxLength bytes.
	CodeTooLong Code = "too_long"
)

// Error says what is wrong with a connection string. All texts in it are static ones of this
// package, or names from its tables: never a slice of the string, because a misplaced separator
// turns any part into password text. It wraps nothing.
type Error struct {
	Code   Code
	Part   string // the part of the string: "host", "query", or the name of a known parameter
	Reason string
	Hint   string // what to write instead
	Pos    int    // byte offset into the string, -1 if there is none
}

// Error returns one line without any text of the connection string. It names the place of the
// fault: the string, the environment, or a Profile that was built in code.
func (e *Error) Error() string {
	var b strings.Builder
	switch {
	case e.Part == "Profile":
		b.WriteString("pgsafe: invalid settings: ")
	case e.Part == "PGSAFE_PROFILE" || e.Part == "environment":
		b.WriteString("pgsafe: invalid environment: ")
	default:
		b.WriteString("pgsafe: invalid connection string: ")
	}
	b.WriteString(e.Part)
	b.WriteString(": ")
	b.WriteString(e.Reason)
	if e.Pos >= 0 {
		b.WriteString(" (at byte ")
		b.WriteString(strconv.Itoa(e.Pos))
		b.WriteString(")")
	}
	if e.Hint != "" {
		b.WriteString("; ")
		b.WriteString(e.Hint)
	}
	return b.String()
}

// Shapes for hints: what a correct string looks like, with placeholders.
const (
	shapeURI     = "write postgres://USER:PASSWORD@HOST:PORT/DATABASE"
	shapeKeyword = "host=HOST user=USER password='PASSWORD' dbname=DATABASE"
	shapeBoth    = shapeURI + " or " + shapeKeyword
	encodeHint   = "percent-encode special characters of user and password (@ as %40, / as %2F, : as %3A, ? as %3F, # " +
		"as %23, % as %25), or write " + shapeKeyword
	encodeKVHint  = "percent-encode it in the query (& as %26, = as %3D, % as %25, blank as %20)"
	quoteHint     = "put the value in single quotes, as in password='PASSWORD'"
	valueHint     = "correct the value, or leave the parameter out"
	portHint      = "write HOST:5432, say, or leave the port out"
	notYetHint    = "leave it out, or configure the connection in code"
	hostShapeHint = "a host is a name, an IPv4 address, an IPv6 address in brackets, or a socket directory as in " +
		"postgres:///DATABASE?host=/DIRECTORY"
)

// fault builds an Error. Every argument is a static text or a name from the tables.
func fault(code Code, part string, pos int, reason, hint string) *Error {
	return &Error{Code: code, Part: part, Reason: reason, Hint: hint, Pos: pos}
}
