package libpq

import (
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

// defaultConnectTimeout is in seconds. libpq's default is to wait for ever, and pgxpool's is two
// minutes.
const defaultConnectTimeout = "10"

// fromDefaults fills in what libpq assumes, as far as it is not what pgx assumes anyway.
func (s *settings) fromDefaults() *urlfix.Error {
	k := s.keywords
	k.assume("connect_timeout", defaultConnectTimeout)
	if k.get("user") == "" { // the account need not be looked up otherwise
		name := accountName()
		if name == "" { // pgx would take the user of PGSERVICE, although the string may name another service
			return &urlfix.Error{Code: urlfix.CodeValue, Part: "user", Pos: -1,
				Reason: "none is given, and the system has no name for the account that this process runs as",
				Hint:   "add user, or set PGUSER"}
		}
		k.assume("user", name)
	}
	fillExisting(k, "sslrootcert", filepath.Join(tlsDir, "root.crt"))
	if k.get("sslcert") == "" && k.get("sslkey") == "" && exists(inHome(filepath.Join(tlsDir, "postgresql.key"))) {
		// As in pgx, both or neither; libpq would complain about a certificate without its key.
		if fillExisting(k, "sslcert", filepath.Join(tlsDir, "postgresql.crt")); k.get("sslcert") != "" {
			fillExisting(k, "sslkey", filepath.Join(tlsDir, "postgresql.key"))
		}
	}
	if k.get("sslrootcert") == "system" { // conninfo_add_defaults, fe-connect.c
		k.fill("sslmode", "verify-full", origin{"sslrootcert", byDefault})
	}
	return nil
}

// currentUser asks the system.
var currentUser = user.Current

// accountName is who runs this process, "" if the system does not tell (pg_fe_getauthname,
// fe-auth.c).
func accountName() string {
	account, err := currentUser()
	if err != nil {
		return ""
	}
	// Windows puts the domain in front.
	return account.Username[strings.LastIndexByte(account.Username, '\\')+1:]
}

// The files that libpq looks for, in inHome. On Windows, pqGetHomeDirectory (fe-connect.c) leads to
// a directory of PostgreSQL's own.
const serviceFileName = ".pg_service.conf"

var passfileName, tlsDir = func() (string, string) {
	if runtime.GOOS == "windows" {
		return "pgpass.conf", "."
	}
	return ".pgpass", ".postgresql"
}()

// inHome returns the path of a file in the directory that libpq's files of the user are in, "" if
// there is none.
func inHome(name string) string {
	if runtime.GOOS == "windows" {
		if data := os.Getenv("APPDATA"); data != "" {
			return filepath.Join(data, "postgresql", name)
		}
		return ""
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, name)
}

func fillExisting(k keywords, name, file string) {
	if path := inHome(file); exists(path) {
		k.assume(name, path)
	}
}

func exists(path string) bool {
	if path == "" {
		return false
	}
	_, err := os.Stat(path)
	return err == nil
}

// defaultHost is where a server without a host is: in the socket directory that packages of
// PostgreSQL use here, else on localhost. libpq knows its directory from when it was built; these
// are pgx's (pgconn/defaults.go).
func defaultHost() string {
	for _, dir := range [...]string{"/var/run/postgresql", "/private/tmp", "/tmp"} {
		if runtime.GOOS != "windows" && exists(dir) {
			return dir
		}
	}
	return "localhost"
}
