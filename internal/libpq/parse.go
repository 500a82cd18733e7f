package libpq

import (
	"cmp"
	"os"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

// pgxKeywords are those that pgx honours as libpq does, beside host, port, user and dbname. Runtime
// parameters, passwords and the files of TLS are put in afterwards.
var pgxKeywords = [...]string{
	"connect_timeout", "target_session_attrs", "passfile", "sslmode", "sslnegotiation", "sslcertmode", "sslsni",
	"channel_binding", "require_auth", "min_protocol_version", "max_protocol_version", "krbsrvname", "krbspn",
}

// pgxDefaults are for the keywords of which pgx takes an empty value for a wrong one. They are its
// own defaults.
var pgxDefaults = map[string]string{"connect_timeout": "0", "target_session_attrs": "any", "sslcertmode": "allow"}

// parse lets pgx parse all that it honours and no secret: so no error of pgx's, and no ConnString,
// can hold one.
func (s *settings) parse(servers []server) (*pgx.ConnConfig, *urlfix.Error) {
	d, err := pgxString(s.keywords, servers)
	if err != nil {
		return nil, err
	}
	var options pgx.ParseConfigOptions
	options.ConnStringAllowedKeys = []string{"host", "port", "user", "dbname"}
	for _, p := range d.Params {
		options.ConnStringAllowedKeys = append(options.ConnStringAllowedKeys, p.Key)
	}
	config, parseErr := pgx.ParseConfigWithOptions(d.SafeURI(), options)
	if parseErr != nil {
		return nil, pgxFault()
	}
	config.RuntimeParams = s.runtimeParams()
	config.Password = s.password.Reveal() // pgx's may be one from a password file, for the first server only
	return config, nil
}

// pgxFault says why pgx may have refused a string of which all values were checked one by one. Its
// own text would tell the string.
func pgxFault() *urlfix.Error {
	uri, err := neutral()
	if err != nil {
		return err
	}
	if _, err := pgx.ParseConfig(uri); err != nil {
		return &urlfix.Error{Code: urlfix.CodeValue, Part: "PGSERVICE", Pos: -1,
			Reason: "its service file has a line that libpq skips and pgx, which reads the file too, does not understand",
			Hint: "leave only [SERVICE], KEYWORD=VALUE and # comments in the file, " +
				"or unset PGSERVICE and write service=SERVICE"}
	}
	return &urlfix.Error{Code: urlfix.CodeValue, Part: "environment", Pos: -1,
		Reason: "pgx refuses the combination of the connection string, the PG* environment variables and the files they name",
		Hint:   "check min_protocol_version and max_protocol_version"}
}

// pgxString is the connection string for pgx. It names the hosts and all keywords that count, so
// that what pgx reads in the environment says nothing new.
func pgxString(k keywords, servers []server) (*urlfix.DSN, *urlfix.Error) {
	d := &urlfix.DSN{User: k.get("user"), Database: k.get("dbname")}
	for _, s := range distinct(servers) {
		d.Hosts = append(d.Hosts, urlfix.Host{Name: s.host, Port: s.port})
	}
	// Each keyword is named, even if no source gave it. Otherwise the section of PGSERVICE would
	// fill the gap, although the string may name another service.
	if d.Database == "" {
		d.Params = append(d.Params, urlfix.Param{Key: "dbname"})
	}
	for _, name := range pgxKeywords {
		d.Params = append(d.Params, urlfix.Param{Key: name, Value: cmp.Or(k.get(name), pgxDefaults[name])})
	}
	// Nor is pgx to read the files of TLS that it finds in the home directory.
	for _, name := range [...]string{"sslrootcert", "sslcert", "sslkey"} {
		d.Params = append(d.Params, urlfix.Param{Key: name})
	}
	// pgx reads the section of PGSERVICE too, whatever the string says. It finds it where we did.
	if name := os.Getenv("PGSERVICE"); name != "" {
		found, err := findService(name, "PGSERVICE")
		if err != nil {
			return nil, err
		}
		d.Params = append(d.Params, urlfix.Param{Key: "service", Value: name},
			urlfix.Param{Key: "servicefile", Value: found.file})
	}
	return d, nil
}

// Neutral returns a connection string of no server that pgx parses without looking at a file,
// whatever the environment says; only PGSERVICE must name a service that exists. pgxpool insists on
// having parsed one itself.
func Neutral() (string, error) {
	uri, err := neutral()
	if err != nil {
		return "", err
	}
	return uri, nil
}

func neutral() (string, *urlfix.Error) {
	k := keywords{}
	for name, value := range map[string]string{
		"user": "pgsafe", "sslmode": "disable",
	} {
		k.fill(name, value, origin{name, byDefault})
	}
	// For a unix socket pgx looks at no TLS file.
	d, err := pgxString(k, []server{{host: "/nowhere", port: defaultPort}})
	if err != nil {
		return "", err
	}
	return d.SafeURI(), nil
}
