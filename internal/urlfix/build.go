package urlfix

import (
	"cmp"
	"slices"
	"strings"
)

// builder gives the parts of a string their meaning.
type builder struct {
	d     *DSN
	rules *dialect
	p     *parts
	seen  *seen
}

// seen are the parameters that get their meaning together with others. They are behind a pointer of
// their own so that the compiler can keep the DSN of Normalize on the stack.
type seen struct {
	host, port         given  // of the query, or of the keywords
	mode, modeByAlias  given  // sslmode, and ssl
	modeText, sslText  string // the same two as they stand
	fallbackName       given
	userSet, secretSet bool
	databaseSet        bool
	later              []late
	tools              []*tool // the tools of the foreign keys, nil before the first question
}

// late is a parameter that the tool's finish looks at.
type late struct {
	name string
	given
}

// given is a value that may be given, also as the empty text.
type given struct {
	ok    bool
	value string
	pos   int
}

// maxParams bounds the lists that are searched one by one.
const maxParams = 1000

func tooManyParams() *Error {
	return fault(CodeTooLong, "parameters", -1, "there are more than 1,000", "leave out what is not needed")
}

// build gives the parts that a grammar found their meaning, in d. Nothing reaches d that was not
// looked up in the tables and checked.
func build(d *DSN, rules *dialect, p *parts) *Error {
	if len(p.pairs) > maxParams {
		return tooManyParams()
	}
	if rules.tool != nil {
		if err := checkRepeated(p.pairs, rules); err != nil {
			return err
		}
	}
	var together seen
	b := builder{d: d, rules: rules, p: p, seen: &together}
	d.User, d.Database = p.user, p.database
	d.Password = NewSecret(p.password)
	for i := range p.pairs {
		if err := b.add(p.pairs[i]); err != nil {
			return err
		}
	}
	if err := b.plainConflict(); err != nil {
		return err
	}
	if rules.finishes() || len(together.later) > 0 || len(together.tools) > 0 {
		var err *Error
		if *d, together, err = finish(*d, together, rules); err != nil {
			return err
		}
	}
	if err := b.hosts(); err != nil {
		return err
	}
	if err := b.tls(); err != nil {
		return err
	}
	if err := b.protocol(); err != nil {
		return err
	}
	if b.seen.fallbackName.ok && param(d, "application_name") == nil {
		d.Params = append(d.Params, Param{"application_name", b.seen.fallbackName.value})
		d.FallbackName = true
		d.change("fallback_application_name", "became application_name")
	}
	return b.names()
}

// finish lets the tools in question look at what they put off, and at what they assume. They are
// called through tables: with values of their own, the compiler can keep the DSN of Normalize on
// the stack, see parse.
func finish(d DSN, together seen, rules *dialect) (DSN, seen, *Error) {
	b := &builder{d: &d, rules: rules, p: &parts{}, seen: &together}
	tools := together.tools
	if rules.tool != nil {
		tools = []*tool{rules.tool}
	}
	for _, t := range tools {
		for _, finish := range [...]func(*builder) *Error{t.finish, t.finishLater} {
			if finish == nil {
				continue
			}
			if err := finish(b); err != nil {
				return d, together, err
			}
		}
	}
	if rules.defaults != nil {
		rules.defaults(b)
	}
	return d, together, nil
}

// add checks one parameter and puts it in its place.
func (b *builder) add(one pair) *Error {
	r := b.rules.lookup(one.key)
	if r == foreignRule {
		var err *Error
		if r, err = b.foreign(one); err != nil {
			return err
		}
	}
	for _, value := range r.drop {
		if one.value == value {
			b.d.change(r.name, "left out: its value changes nothing")
			return nil
		}
	}
	value := one.value
	if r.check != nil {
		var reason string
		if value, reason = r.check(value); reason != "" {
			return fault(CodeValue, r.name, one.pos, reason, cmp.Or(r.hint, valueHint))
		}
	}
	switch {
	case r.to != "":
		b.d.change(r.name, "became "+r.to)
	case value != one.value && r.use != useSSL && r.use != useLater:
		b.d.change(r.name, "its value was written in the canonical form")
	}
	if r.warn != "" {
		b.d.warn(r.name, r.warn)
	}
	return b.place(r, one, value)
}

// place puts a checked value where its rule says. What names the server or the user, and what
// protects the connection, must not be given twice with different values: libpq takes the last one
// in silence (conninfo_storeval), lib/pq the first. Of other parameters, the last one counts.
func (b *builder) place(r *rule, one pair, value string) *Error {
	d := b.d
	switch r.use {
	case useParam:
		return b.setParam(r, one, value)
	case useOptional:
		if value == "" {
			if p := param(d, r.target()); p != nil && decisive[p.Key] {
				return contradiction(r.name, one.pos)
			}
			d.change(r.name, "left out: it is empty")
			b.remove(&d.Params, r.target()) // an earlier value does not count
			b.markEmpty(r.target())
			break
		}
		return b.setParam(r, one, value)
	case useUser:
		if (b.p.user != "" || b.seen.userSet) && value != d.User {
			return contradiction("user", one.pos)
		}
		b.seen.userSet, d.User = true, value
		b.empty("user", r, value)
	case usePassword:
		if (b.p.password != "" || b.seen.secretSet) && value != d.Password.Reveal() {
			return contradiction("password", one.pos)
		}
		b.seen.secretSet, d.Password = true, NewSecret(value)
		b.empty("password", r, value)
	case useHost:
		return keepOne(&b.seen.host, "host", one)
	case usePort:
		return keepOne(&b.seen.port, "port", one)
	case useDatabase:
		if err := b.checkDatabase(r, one); err != nil {
			return err
		}
		b.seen.databaseSet, d.Database = true, value
		b.empty("dbname", r, value)
	case useSSLPassword:
		if d.SSLPassword.IsSet() && d.SSLPassword.Reveal() != value {
			return contradiction(r.name, one.pos)
		}
		d.SSLPassword = NewSecret(value)
		b.empty("sslpassword", r, value)
	case useSSLMode:
		if b.seen.mode.ok && b.seen.mode.value != value {
			return contradiction(r.name, one.pos)
		}
		b.seen.mode, b.seen.modeText = given{true, value, one.pos}, one.value
		b.set(&d.Params, "sslmode", value)
	case useSSL:
		if b.seen.modeByAlias.ok && b.seen.modeByAlias.value != value {
			return contradiction(r.name, one.pos)
		}
		b.seen.modeByAlias, b.seen.sslText = given{true, value, one.pos}, one.value
		b.set(&d.Params, "sslmode", value)
	case useFallbackName:
		b.seen.fallbackName = given{true, one.value, one.pos}
	case useSetting:
		if r == settingRule {
			b.setting(one.key, value)
			break
		}
		if name, ok := optionName(one.key); ok {
			b.setting(name, value)
			break
		}
		b.setting(r.target(), value)
	case usePool:
		b.set(&d.Pool, r.target(), value)
	case useDriver:
		b.set(&d.Driver, r.target(), value)
	case useLater:
		if earlier := b.later(r.name); earlier.ok && earlier.value != value {
			if decisive[r.name] {
				return contradiction(r.name, one.pos)
			}
			d.warn(r.name, "given more than once: the last value counts")
		}
		b.seen.later = append(b.seen.later, late{r.name, given{true, value, one.pos}})
	case useIgnore:
		if r.warn == "" {
			d.change(r.name, "left out: it has no effect")
		}
	case useRefuse:
		return fault(CodeUnsupported, r.name, one.pos, "it is not supported", r.hint)
	}
	return nil
}

// empty warns of an empty value for a keyword, which the canonical URI cannot have.
func (b *builder) empty(keyword string, r *rule, value string) {
	switch {
	case value != "":
	case b.markEmpty(keyword):
		b.d.warn(r.name,
			"an empty value keeps the environment and the service file from filling it in; the canonical URI does not say that")
	default:
		b.d.warn(r.name, "an empty value is taken as not given")
	}
}

// markEmpty puts a keyword into DSN.Empty, and reports whether it did: what an empty value means to
// another tool than libpq is that tool's own.
func (b *builder) markEmpty(keyword string) bool {
	if !b.rules.answersTo("libpq") {
		return false
	}
	if !slices.Contains(b.d.Empty, keyword) {
		b.d.Empty = append(b.d.Empty, keyword)
	}
	return true
}

// set puts a parameter into a list, once. It keeps the place where it was first.
func (b *builder) set(list *[]Param, key, value string) {
	for i := range *list {
		if p := &(*list)[i]; p.Key == key {
			if p.Value != value {
				b.d.warn(key, "given more than once: the last value counts")
				p.Value = value
			}
			return
		}
	}
	if *list == nil {
		*list = make([]Param, 0, len(b.p.pairs)+1) // one more for sslmode, which others may imply
	}
	*list = append(*list, Param{key, value})
}

// setting puts a server setting into Settings. Known names become lower case, because two spellings
// of one name would otherwise be two settings.
func (b *builder) setting(key, value string) {
	key = settingName(key)
	for i := range b.d.Settings {
		if s := &b.d.Settings[i]; s.Key == key {
			s.Value = value
			b.d.warn(settingRule.name, "given more than once: the last value counts")
			return
		}
	}
	b.d.Settings = append(b.d.Settings, Param{key, value})
}

// remove takes a parameter out of a list.
func (b *builder) remove(list *[]Param, key string) {
	*list = slices.DeleteFunc(*list, func(p Param) bool { return p.Key == key })
}

// param finds a connection keyword, or returns nil.
func param(d *DSN, key string) *Param {
	for i := range d.Params {
		if d.Params[i].Key == key {
			return &d.Params[i]
		}
	}
	return nil
}

// names has a last look at user, database and dialect.
func (b *builder) names() *Error {
	d := b.d
	if strings.Contains(d.Database, "://") {
		return fault(CodeValue, "database", -1, "it looks like a connection string of its own", shapeBoth)
	}
	if strings.HasPrefix(d.Database, "/") || strings.HasPrefix(d.Database, "var/run/") {
		d.warn("database", "it looks like a path; a socket directory is written as postgres:///DATABASE?host=/DIRECTORY")
	}
	if err := d.checkHidden(); err != nil {
		return err
	}
	for _, text := range [...]string{d.User, d.Password.Reveal()} {
		if placeholder(text) {
			d.warn("user or password", placeholderWarning)
		}
	}
	if placeholder(d.Database) {
		d.warn("database", placeholderWarning)
	}
	d.warnOdd()
	return nil
}

// later returns what was put off under the name of a rule. Of several, the last one counts.
func (b *builder) later(name string) given {
	for i := len(b.seen.later) - 1; i >= 0; i-- {
		if l := b.seen.later[i]; l.name == name {
			return l.given
		}
	}
	return given{}
}

// setMode sets sslmode in place of what the string says.
func (b *builder) setMode(mode string) {
	if p := param(b.d, "sslmode"); p != nil {
		p.Value = mode
		return
	}
	b.set(&b.d.Params, "sslmode", mode)
}
