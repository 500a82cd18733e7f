package urlfix

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
)

// DSN is what a connection string means, in libpq's words. Printed in any way it shows no secret.
type DSN struct {
	// Dialect is the language the string was written in: "libpq", "libpq-keyword",
	// "sqlalchemy+psycopg2", ...
	Dialect string
	// Hosts are tried in order. Empty means libpq's default: PGHOST, else the local socket.
	Hosts []Host
	// User and Database are "" when not given.
	User     string
	Password Secret
	Database string
	// SSLPassword decrypts the client's key. It is apart from Params because it is a secret.
	SSLPassword Secret
	// Params are the other connection keywords, decoded and checked, each at most once.
	Params []Param
	// FallbackName: the application_name in Params was given as fallback_application_name.
	// PGAPPNAME outranks it.
	FallbackName bool
	// Empty names the keywords of libpq that have the empty value in the string. URI leaves them
	// out, because a URI cannot express them. To libpq such a value excludes the service file and
	// the environment.
	Empty []string
	// Settings are server settings that were given as bare keys. In URI they are part of options.
	Settings []Param
	// Pool are the pool_* keys. Their names are checked, their values are not.
	Pool []Param
	// Driver are the keys for the driver: default_query_exec_mode, pgsafe_*.
	Driver []Param
	// Changes list what differs from the string as it was written. Warnings list what to check.
	Changes  []Note
	Warnings []Note

	// hostsInQuery: the hosts can only be written as host= in the query. In the authority, an empty
	// host means PGHOST, and a list of hosts without ports shuts out PGPORT.
	hostsInQuery bool
}

// Host is one server to try. Name is a host name, an IP address without brackets, a socket
// directory, or "" for libpq's default. Port 0 is "not given".
type Host struct {
	Name string
	Port uint16
}

// Param is a parameter with its decoded value.
type Param struct {
	Key   string
	Value string
}

// Note is a remark about a part of the string, in static words and names from the tables.
type Note struct {
	Part string
	Text string
}

// String returns the canonical URI with "***" for each secret.
func (d DSN) String() string { return string(d.appendURI(nil, maskSecrets)) }

// GoString is String: %#v shows no more than %v.
func (d DSN) GoString() string { return d.String() }

// Format writes String for every verb, since %d would otherwise print the fields.
func (d DSN) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, d.String()) }

// LogValue implements slog.LogValuer with String.
func (d DSN) LogValue() slog.Value { return slog.StringValue(d.String()) }

// MarshalJSON implements json.Marshaler with String.
func (d DSN) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

func (d *DSN) change(part, text string) { d.Changes = append(d.Changes, Note{part, text}) }
func (d *DSN) warn(part, text string)   { d.Warnings = append(d.Warnings, Note{part, text}) }
