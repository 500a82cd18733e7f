package libpq

import "github.com/pgsafe/pgsafe/internal/urlfix"

// keyword is the value of one keyword, and where it comes from.
type keyword struct {
	value string
	origin
}

// origin is where a value comes from.
type origin struct {
	part   string // what an error about it calls it: the keyword itself, or the variable of the environment
	source source
}

// source is where a value comes from.
type source uint8

const (
	connString source = iota
	serviceFile
	environment
	byDefault
)

// keywords are the merged values for one configuration, under libpq's names: what the connection
// string says outranks the service file, that outranks the environment, and that the defaults
// (conninfo_add_defaults, fe-connect.c). Each value was checked on its own. Secrets are not among
// them.
type keywords map[string]keyword

// get returns the value of a keyword, "" if it has none.
func (k keywords) get(name string) string { return k[name].value }

// part returns what an error calls the place that the value of a keyword came from: "sslcrl", or
// "PGSSLCRL". It is the keyword itself where that has no value.
func (k keywords) part(name string) string {
	if one, ok := k[name]; ok {
		return one.part
	}
	return name
}

// fill gives a keyword its value, unless a source of higher rank did so. An empty value counts: it
// excludes sources of lower rank.
func (k keywords) fill(name, value string, from origin) {
	if _, ok := k[name]; !ok {
		k[name] = keyword{value, from}
	}
}

// assume gives a keyword without a value, or with an empty one, its default.
func (k keywords) assume(name, value string) {
	if k.get(name) == "" {
		k[name] = keyword{value, origin{name, byDefault}}
	}
}

// secret is a password, and whether a source gave it. An empty password excludes sources of lower
// rank too.
type secret struct {
	urlfix.Secret
	given bool
}

func (s *secret) offer(text string) {
	if !s.given {
		*s = secret{urlfix.NewSecret(text), true}
	}
}

// settings is all that the connection string, the service file, the environment and the defaults
// say.
type settings struct {
	keywords              keywords
	runtime               map[string]string // settings of the server
	password, sslPassword secret
}

// settle merges the sources, the one of the highest rank first.
func settle(d *urlfix.DSN) (*settings, *urlfix.Error) {
	s := &settings{keywords: keywords{}, runtime: map[string]string{}}
	s.fromString(d)
	if err := s.fromService(); err != nil {
		return nil, err
	}
	if err := s.fromEnvironment(); err != nil {
		return nil, err
	}
	if err := s.fromDefaults(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *settings) fromString(d *urlfix.DSN) {
	for _, p := range d.HostParams() {
		s.keywords.fill(p.Key, p.Value, origin{p.Key, connString})
	}
	for _, p := range d.Params {
		name := p.Key
		if name == "application_name" && d.FallbackName {
			name = "fallback_application_name"
		}
		s.keywords.fill(name, p.Value, origin{name, connString})
	}
	if d.User != "" {
		s.keywords.fill("user", d.User, origin{"user", connString})
	}
	if d.Database != "" {
		s.keywords.fill("dbname", d.Database, origin{"dbname", connString})
	}
	for _, p := range d.Settings {
		s.runtime[p.Key] = p.Value
	}
	s.password = secret{d.Password, d.Password.IsSet()}
	s.sslPassword = secret{d.SSLPassword, d.SSLPassword.IsSet()}
	for _, name := range d.Empty {
		switch name {
		case "password":
			s.password.offer("")
		case "sslpassword":
			s.sslPassword.offer("")
		default:
			s.keywords.fill(name, "", origin{name, connString})
		}
	}
}

// offer is for what a source of lower rank says. Secrets and what is already there need no check.
func (s *settings) offer(name, value string, from origin) *urlfix.Error {
	switch name {
	case "password":
		s.password.offer(value)
		return nil
	case "sslpassword":
		s.sslPassword.offer(value)
		return nil
	}
	if _, ok := s.keywords[name]; ok {
		return nil
	}
	p, err := urlfix.Check(name, value)
	if err != nil {
		err.Part = from.part
		return err
	}
	switch {
	case p.Key == "":
	case urlfix.IsSetting(p.Key):
		if _, ok := s.runtime[p.Key]; !ok {
			s.runtime[p.Key] = p.Value
		}
	default:
		s.keywords.fill(p.Key, p.Value, from)
	}
	return nil
}

// applicationName follows build_startup_packet (fe-protocol3.c).
func (k keywords) applicationName() string {
	if name := k.get("application_name"); name != "" {
		return name
	}
	return k.get("fallback_application_name")
}

// runtimeParams are what the startup packet says beside user and database.
func (s *settings) runtimeParams() map[string]string {
	params := s.runtime
	for name, value := range map[string]string{
		"application_name": s.keywords.applicationName(),
		"options":          s.keywords.get("options"),
		"client_encoding":  s.keywords.get("client_encoding"),
	} {
		if value != "" {
			params[name] = value
		}
	}
	return params
}
