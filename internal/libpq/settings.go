package libpq

import "github.com/pgsafe/pgsafe/internal/urlfix"

// keyword is the value of one keyword, and what an error about it calls its origin: the keyword itself, or the
// variable of the environment.
type keyword struct{ value, origin string }

// keywords are the merged values for one configuration, under libpq's names: what the connection string says outranks
// the service file, that outranks the environment, and that the defaults (conninfo_add_defaults, fe-connect.c). Each
// value was checked on its own. Secrets are not among them.
type keywords map[string]keyword

// get returns the value of a keyword, "" if it has none.
func (k keywords) get(name string) string { return k[name].value }

// part returns what an error calls the place that the value of a keyword came from: "sslcrl", or "PGSSLCRL". It is
// the keyword itself where that has no value.
func (k keywords) part(name string) string {
	if one, ok := k[name]; ok {
		return one.origin
	}
	return name
}

// fill gives a keyword its value, unless a source of higher rank did so. An empty value is one too: it keeps those of
// lower rank away.
func (k keywords) fill(name, value, origin string) {
	if _, ok := k[name]; !ok {
		k[name] = keyword{value, origin}
	}
}

// settings is all that the connection string, the service file, the environment and the defaults say.
type settings struct {
	keywords              keywords
	runtime               map[string]string // settings of the server
	password, sslPassword urlfix.Secret
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
	s.fromDefaults()
	return s, nil
}

func (s *settings) fromString(d *urlfix.DSN) {
	for _, p := range d.HostParams() {
		s.keywords.fill(p.Key, p.Value, p.Key)
	}
	for _, p := range d.Params {
		name := p.Key
		if name == "application_name" && d.FallbackName {
			name = "fallback_application_name"
		}
		s.keywords.fill(name, p.Value, name)
	}
	if d.User != "" {
		s.keywords.fill("user", d.User, "user")
	}
	if d.Database != "" {
		s.keywords.fill("dbname", d.Database, "dbname")
	}
	for _, p := range d.Settings {
		s.runtime[p.Key] = p.Value
	}
	s.password, s.sslPassword = d.Password, d.SSLPassword
}

// offer is for what a source of lower rank says. Secrets and what is already there need no check.
func (s *settings) offer(name, value, origin string) *urlfix.Error {
	switch name {
	case "password":
		offerSecret(&s.password, value)
		return nil
	case "sslpassword":
		offerSecret(&s.sslPassword, value)
		return nil
	}
	if _, ok := s.keywords[name]; ok {
		return nil
	}
	p, err := urlfix.Check(name, value)
	if err != nil {
		err.Part = origin
		return err
	}
	switch {
	case p.Key == "":
	case urlfix.IsSetting(p.Key):
		if _, ok := s.runtime[p.Key]; !ok {
			s.runtime[p.Key] = p.Value
		}
	default:
		s.keywords.fill(p.Key, p.Value, origin)
	}
	return nil
}

func offerSecret(secret *urlfix.Secret, text string) {
	if !secret.IsSet() {
		*secret = urlfix.NewSecret(text)
	}
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
