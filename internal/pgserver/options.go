package pgserver

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Auth is how a server makes sure who its clients are.
type Auth int

const (
	// Trust lets everybody in under every name.
	Trust Auth = iota
	// SCRAM asks for the password, on TCP and on the unix socket.
	SCRAM
	// ClientCert asks for a certificate whose common name is the user, on TCP and only with TLS.
	// The unix socket lets everybody in who can enter its directory.
	ClientCert
)

// Options says what server to start. The zero value is a plain one: trust authentication, no TLS,
// superuser and database "postgres".
type Options struct {
	// Binaries is the installation to use. Zero means what Find finds.
	Binaries Binaries

	// Auth is the authentication of all users. SCRAM needs a Password; ClientCert turns TLS on.
	Auth Auth

	// User is the name of the superuser. Empty means "postgres".
	User string

	// Password is the superuser's. It is stored as a SCRAM verifier, and is never in the arguments
	// or the environment of a process, nor in the server's log. Empty means none.
	Password string

	// Database is created, and owned by User, before the server starts. Empty means none beside
	// "postgres".
	Database string

	// TLS makes the server offer TLS, with a certificate of a throw-away authority (see
	// Server.CAFile) for localhost, 127.0.0.1, ::1 and ServerNames. Connections without TLS stay
	// possible: an HBA line such as "hostnossl all all all reject" ends that.
	TLS bool

	// ServerNames are further host names or addresses in the server's certificate.
	ServerNames []string

	// ServerCertLifetime is how long the server's certificate is valid from now on. Zero means a
	// day; a negative one has expired.
	ServerCertLifetime time.Duration

	// HBA are lines for pg_hba.conf, put in front of those that follow from Auth: the first that
	// matches a connection counts.
	HBA []string

	// Settings are lines for postgresql.conf. They overrule the defaults: fsync, synchronous_commit
	// and full_page_writes off, max_connections 100. Where the server listens, how it logs and its
	// TLS files cannot be set here.
	Settings map[string]string

	// OnLog is called with each line that the server logs, without its line end, in order, and
	// never by two goroutines at once. It must not block and must not call the Server. Nil means no
	// call. The last part of the log is kept either way, see Server.Log.
	OnLog func(line string)
}

// defaultSettings make a server fast to start, to write to and to throw away.
var defaultSettings = map[string]string{
	"fsync":              "off",
	"synchronous_commit": "off",
	"full_page_writes":   "off",
	"max_connections":    "100",
}

// reserved are settings that this package must know to be as it wants them.
var reserved = []string{
	"config_file", "data_directory", "hba_file", "ident_file", "external_pid_file",
	"listen_addresses", "port", "unix_socket_directories", "unix_socket_permissions",
	"lc_messages", "log_destination", "logging_collector",
	"ssl", "ssl_ca_file", "ssl_cert_file", "ssl_key_file",
	"primary_conninfo",
}

var settingName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)*$`)

// complete returns o with its defaults filled in, or says what is wrong with it. The caller's maps
// and slices are not written to.
func (o Options) complete() (Options, error) {
	if o.User == "" {
		o.User = "postgres"
	}
	for _, text := range []struct{ what, value string }{
		{"User", o.User}, {"Password", o.Password}, {"Database", o.Database},
	} {
		if !utf8.ValidString(text.value) || strings.ContainsRune(text.value, 0) {
			return o, fmt.Errorf("pgserver: Options.%s is not text that PostgreSQL can store", text.what)
		}
	}
	if o.Auth < Trust || o.Auth > ClientCert {
		return o, fmt.Errorf("pgserver: Options.Auth %d is none of Trust, SCRAM, ClientCert", o.Auth)
	}
	if o.Auth == SCRAM && o.Password == "" {
		return o, errors.New("pgserver: Options.Auth SCRAM needs a Password")
	}
	o.TLS = o.TLS || o.Auth == ClientCert
	for _, line := range o.HBA {
		if strings.ContainsAny(line, "\r\n\x00") {
			return o, fmt.Errorf("pgserver: Options.HBA %q is more than one line", line)
		}
	}
	if err := checkSettings(o.Settings); err != nil {
		return o, err
	}
	settings := maps.Clone(defaultSettings)
	for name, value := range o.Settings {
		settings[strings.ToLower(name)] = value
	}
	o.Settings = settings
	return o, nil
}

func checkSettings(settings map[string]string) error {
	for name, value := range settings {
		lower := strings.ToLower(name)
		switch {
		case !settingName.MatchString(name):
			return fmt.Errorf("pgserver: %q is not the name of a setting", name)
		case slices.Contains(reserved, lower):
			return fmt.Errorf("pgserver: the setting %s is made by this package", name)
		case lower == "log_min_messages" && slices.Contains([]string{"fatal", "panic"}, strings.ToLower(value)):
			return fmt.Errorf("pgserver: with log_min_messages=%s the server does not say when it is ready", value)
		case strings.ContainsAny(value, "\r\n\x00"):
			return fmt.Errorf("pgserver: the value of the setting %s is more than one line", name)
		}
	}
	return nil
}

// configLines renders settings for postgresql.conf.
func configLines(settings map[string]string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&b, "%s = '%s'\n", name, strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(settings[name]))
	}
	return b.String()
}

// hbaLines renders pg_hba.conf. "all" as a database does not stand for replication, which standbys
// need.
func (o Options) hbaLines() string {
	var b strings.Builder
	for _, line := range o.HBA {
		b.WriteString(line + "\n")
	}
	host, local, remote := "host", "trust", "trust"
	switch o.Auth {
	case SCRAM:
		local, remote = "scram-sha-256", "scram-sha-256"
	case ClientCert:
		host, remote = "hostssl", "cert clientcert=verify-full"
	}
	for _, database := range []string{"all", "replication"} {
		fmt.Fprintf(&b, "local %s all %s\n", database, local)
		for _, address := range []string{"127.0.0.1/32", "::1/128"} {
			fmt.Fprintf(&b, "%s %s all %s %s\n", host, database, address, remote)
		}
	}
	return b.String()
}
