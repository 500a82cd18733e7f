package pgsafe

import (
	"errors"
	"log/slog"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

// Normalize returns ONE canonical libpq URI (postgres://...) that means what dsn means to the tool
// it was written for: libpq (as URI or keyword/value string), SQLAlchemy, JDBC, Npgsql, PDO, Ecto,
// Prisma, and others, see Dialect. Its password may be without percent-encoding.
//
//   - A string that is valid for libpq keeps its meaning. Normalize of the result is the result.
//   - If two readings name different servers, users or passwords, Normalize refuses instead of
//     guessing.
//   - No translation protects the connection less than dsn asked for.
//   - The keys of pgsafe and its pool (pool_*, pgsafe_*, default_query_exec_mode, ...) are checked
//     and left out, so that any libpq tool can read the result. Server settings given as keys become
//     part of options.
//   - The empty string is valid. It means libpq's environment variables and defaults, which
//     Normalize does not read.
//
// The result holds the password. The error is a *DSNError, which never does.
func Normalize(dsn string) (string, error) { return Dialect("").Normalize(dsn) }

// Redact returns the string for logs. If dsn is valid, that is its canonical URI with "***" for
// each secret: passwords, what follows a colon in the user, and values of settings with a dot in
// their name. If another dialect takes more of the string for the password, that is hidden too. If
// dsn is invalid, any part of it may be the password. The result then has only its length and its
// scheme, if that is one of PostgreSQL's: "postgres://[unparseable, 57 bytes]".
func Redact(dsn string) string { return Dialect("").Redact(dsn) }

// Redact is the function Redact for a string in the dialect d.
func (d Dialect) Redact(dsn string) string { return urlfix.Redact(dsn, string(d)) }

// Report is what a connection string means. It holds no secret.
type Report struct {
	// Dialect is the language of the string: "libpq", "libpq-keyword", "sqlalchemy+psycopg2", ...
	Dialect string `json:"dialect"`
	// Hosts are tried in order. Empty means PGHOST, else the local socket.
	Hosts []ReportHost `json:"hosts"`
	// User and Database are "" when the string does not give them. What follows a colon in User is
	// "***".
	User        string `json:"user"`
	Database    string `json:"database"`
	HasPassword bool   `json:"has_password"`
	// URI is the canonical URI with "***" for each secret.
	URI string `json:"uri"`
	// Params are libpq's other keywords. Settings are settings of the server.
	Params   []ReportParam `json:"params,omitempty"`
	Settings []ReportParam `json:"settings,omitempty"`
	// Pool and Driver are keys that sql.Open honours. The canonical URI does not have them.
	Pool   []ReportParam `json:"pool,omitempty"`
	Driver []ReportParam `json:"driver,omitempty"`
	// Changes list what differs from the string as it was written. Warnings list what to check.
	Changes  []ReportNote `json:"changes,omitempty"`
	Warnings []ReportNote `json:"warnings,omitempty"`
}

// ReportHost is one server. Name "" is the default host; Port 0 is the default port.
type ReportHost struct {
	Name string `json:"name"`
	Port uint16 `json:"port,omitempty"`
}

// ReportParam is a parameter with its value. The value of sslpassword, and of a setting with a dot
// in its name, is "***".
type ReportParam struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// ReportNote is a remark about a part of the string.
type ReportNote struct {
	Part string `json:"part"`
	Text string `json:"text"`
}

// Inspect reports what dsn means. It takes any form that Normalize takes. The error is a *DSNError.
func Inspect(dsn string) (*Report, error) { return Dialect("").Inspect(dsn) }

// report reports what a parsed string means.
func report(d *urlfix.DSN) *Report {
	r := &Report{
		Dialect:     d.Dialect,
		Hosts:       make([]ReportHost, len(d.Hosts)),
		User:        urlfix.ShownUser(d.User),
		Database:    d.Database,
		HasPassword: d.Password.IsSet(),
		URI:         d.String(),
		Params:      reportParams(d.Params),
		Settings:    reportParams(d.Settings),
		Pool:        reportParams(d.Pool),
		Driver:      reportParams(d.Driver),
		Changes:     reportNotes(d.Changes),
		Warnings:    reportNotes(d.Warnings),
	}
	for i, h := range d.Hosts {
		r.Hosts[i] = ReportHost(h)
	}
	if d.SSLPassword.IsSet() {
		r.Params = append(r.Params, ReportParam{"sslpassword", "***"})
	}
	return r
}

func reportParams(params []urlfix.Param) []ReportParam {
	var out []ReportParam
	for _, p := range params {
		out = append(out, ReportParam{p.Key, p.Shown()})
	}
	return out
}

func reportNotes(notes []urlfix.Note) []ReportNote {
	var out []ReportNote
	for _, n := range notes {
		out = append(out, ReportNote(n))
	}
	return out
}

// String returns the dialect and the URI without secrets, on one line.
func (r *Report) String() string { return r.Dialect + " " + r.URI }

// GoString is String: %#v shows no more than %v.
func (r *Report) GoString() string { return r.String() }

// LogValue implements slog.LogValuer with String.
func (r *Report) LogValue() slog.Value { return slog.StringValue(r.String()) }

// DSNCode is the kind of fault of a connection string, for programs. New codes may be added.
type DSNCode string

const (
	// CodeSyntax: the string does not follow the grammar of its dialect.
	CodeSyntax = DSNCode(urlfix.CodeSyntax)
	// CodeAmbiguous: there are two readings, and they name different servers, users or passwords.
	CodeAmbiguous = DSNCode(urlfix.CodeAmbiguous)
	// CodeUnknownKey: no tool knows the parameter. It is never sent to a server.
	CodeUnknownKey = DSNCode(urlfix.CodeUnknownKey)
	// CodeUnsupported: the meaning is clear, but pgsafe cannot honour it.
	CodeUnsupported = DSNCode(urlfix.CodeUnsupported)
	// CodeOtherDatabase: a connection string of another database or service.
	CodeOtherDatabase = DSNCode(urlfix.CodeOtherDatabase)
	// CodeConflict: two places of the string contradict each other.
	CodeConflict = DSNCode(urlfix.CodeConflict)
	// CodeValue: a parameter, host or port has an invalid value, or a value that would weaken TLS.
	CodeValue = DSNCode(urlfix.CodeValue)
	// CodeControlCharacter: NUL, a newline or another control character.
	CodeControlCharacter = DSNCode(urlfix.CodeControlCharacter)
	// CodeTooLong: longer than 1 MiB.
	CodeTooLong = DSNCode(urlfix.CodeTooLong)
)

// DSNError says what is wrong with a connection string. Its texts are static or names of known
// parameters, never a slice of the string, and it wraps nothing: it may be logged and shown.
type DSNError struct {
	Code   DSNCode
	Part   string // the part of the string: "host", "query", or the name of a known parameter
	Reason string
	Hint   string // what to write instead
	Pos    int    // byte offset into the string, -1 if there is none
}

// Error returns one line: part, reason, position and hint.
func (e *DSNError) Error() string {
	return (&urlfix.Error{Part: e.Part, Reason: e.Reason, Hint: e.Hint, Pos: e.Pos}).Error()
}

// dsnError turns an error of urlfix into a *DSNError.
func dsnError(err error) *DSNError {
	if own, ok := errors.AsType[*DSNError](err); ok {
		return own
	}
	var e *urlfix.Error
	if !errors.As(err, &e) {
		panic("pgsafe: urlfix returned an error of another type")
	}
	return &DSNError{Code: DSNCode(e.Code), Part: e.Part, Reason: e.Reason, Hint: e.Hint, Pos: e.Pos}
}
