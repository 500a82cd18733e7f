package urlfix

// rule says what becomes of a parameter.
type rule struct {
	name string
	use  use
	// to is the name in libpq's words (or the pool's, or the server's), where that is another one.
	to string
	// check returns the value in its canonical form, or the reason why it cannot be.
	check func(value string) (canonical, reason string)
	// drop lists values that change nothing: with one of them, the parameter is left out.
	drop []string
	// warn is said whenever the parameter is given with a value that is not dropped.
	warn string
	// hint goes with an error about the value.
	hint string
}

// use is the place in a DSN that a parameter goes to.
type use uint8

const (
	useParam        use = iota // DSN.Params
	useOptional                // the same, but libpq takes the empty value as not given
	useUser                    // DSN.User
	usePassword                // DSN.Password
	useHost                    // DSN.Hosts
	usePort                    // DSN.Hosts
	useDatabase                // DSN.Database
	useSSLPassword             // DSN.SSLPassword
	useSSLMode                 // sslmode
	useSSL                     // sslmode, under another name
	useFallbackName            // application_name, if there is none
	useSetting                 // DSN.Settings
	usePool                    // DSN.Pool
	useDriver                  // DSN.Driver
	useLater                   // nowhere yet: the tool's finish looks at it, together with others
	useIgnore                  // nowhere: a Go driver has no use for it
	useRefuse                  // an error, by name
)

// target is the name under which the parameter is kept.
func (r *rule) target() string {
	if r.to != "" {
		return r.to
	}
	return r.name
}

// table keys rules by their names.
func table(rules ...*rule) map[string]*rule {
	m := make(map[string]*rule, len(rules))
	for _, r := range rules {
		m[r.name] = r
	}
	return m
}

// refused is a keyword that cannot be honoured, except for the values that change nothing.
func refused(name, hint string, drop ...string) *rule {
	if hint == "" {
		hint = notYetHint
	}
	return &rule{name: name, use: useRefuse, hint: hint, drop: drop}
}

// ignored is a parameter that has no meaning in a Go driver, or one that it always honours. why is
// for a warning; without one, it is only told that the parameter was left out.
func ignored(name, why string) *rule {
	return &rule{name: name, use: useIgnore, warn: why}
}
