package urlfix

import (
	"maps"
	"slices"
	"strings"
)

// dialect is a way to write a connection string: a grammar, and what the parameters mean where that
// is not libpq's meaning.
type dialect struct {
	name string // in DSN.Dialect
	// answers are further names by which a caller may ask for it.
	answers []string
	// read is the grammar. base is the offset after the scheme.
	read func(d *DSN, s string, base int, rules *dialect) *Error
	// tool outranks the shared table of keywords. It may be nil.
	tool *tool
	// query is how the query of a URI is cut and decoded.
	query queryStyle
	// settings: keys that are not known otherwise may name server settings.
	settings bool
	// foreign: keys of exactly one tool are translated as that tool means them.
	foreign bool
	// hostPorts: a host in the query may carry its port, as in host=h1:5432,h2:5433. libpq would
	// look up the whole.
	hostPorts bool
	// queryWins: host and port in the query replace the URL's, instead of contradicting them.
	queryWins bool
	// defaults sets what the tool assumes where the string says nothing, and libpq assumes less. It
	// may be nil.
	defaults func(b *builder)
}

// tool is what one ecosystem calls its parameters.
type tool struct {
	name  string // as its users call it
	rules map[string]*rule
	// private are the keys that mean this in the tool's own dialect only, and not in a plain URI.
	private []string
	// finish gives a meaning to the parameters with useLater, and to those that mean more next to
	// the tool's keys in a plain URI. It may be nil.
	finish func(b *builder) *Error
	// finishLater is finish for a tool that looks at parameters with useLater only, and has nothing
	// to do without any.
	finishLater func(b *builder) *Error
}

// queryStyle says how the query of a URI is decoded.
type queryStyle uint8

const (
	queryLibpq   queryStyle = iota // one "=", strict escapes, "+" is itself
	queryForm                      // an HTML form's: "+" is a blank, a bad escape stands for itself
	queryPercent                   // as a form, but "+" is itself
)

var (
	libpqURI = dialect{name: "libpq", answers: []string{"pgx"}, read: parseURI, settings: true, foreign: true,
		hostPorts: true}
	libpqKeyword = dialect{name: "libpq-keyword", answers: []string{"libpq", "pgx"}, read: parseKeywordValue,
		tool: &keywordTool, settings: true}
)

// keywordTool also has lib/pq's own keys: of the tools in foreign.go, it alone reads this form.
var keywordTool = tool{name: "libpq", finishLater: finishLibpqGo, rules: with(table(
	&rule{name: "ssl", use: useRefuse, hint: "write sslmode=require or sslmode=verify-full"},
), slices.Collect(maps.Values(libpqGoTool.rules)))}

// forms are the dialects in which one tool reads the two forms of libpq. nil: it does not.
type forms struct{ uri, keyword *dialect }

// named are the dialects that a caller may ask for. Those without forms have a form of their own,
// by which they are recognised anyway.
var named = map[string]forms{
	"libpq":      {&libpqURI, &libpqKeyword},
	"pgx":        {&libpqURI, &libpqKeyword},
	"libpq-go":   {&libpqGoURI, &libpqGoKeyword},
	"sqlalchemy": {sqlalchemyDrivers["psycopg2"], nil},
	"asyncpg":    {&asyncpgURI, nil},
	"django":     {&djangoURI, nil},
	"rails":      {&railsURI, nil},
	"ecto":       {&ectoURI, nil},
	"node":       {&nodeURI, nil},
	"postgresjs": {&postgresjsURI, nil},
	"prisma":     {&prismaURI, nil},
	"jdbc":       {},
	"npgsql":     {},
	"pdo":        {},
}

// answersTo reports whether the dialect may be called name.
func (d *dialect) answersTo(name string) bool {
	return d.name == name || slices.Contains(d.answers, name)
}

// finishes reports whether the dialect looks at all parameters together, whichever they are.
func (d *dialect) finishes() bool {
	return d.defaults != nil || d.tool != nil && d.tool.finish != nil
}

// settingRule is the rule of all server settings. Its name takes the place of the key in errors.
var settingRule = &rule{name: "server setting", use: useSetting}

// lookup returns the rule for a key, or nil if the key is unknown. For a key of another tool it
// returns foreignRule: what that means is known only when all keys of the string are.
func (d *dialect) lookup(key string) *rule {
	if d.tool != nil {
		if r, ok := d.tool.rules[key]; ok {
			return r
		}
	}
	if r, ok := keywords[key]; ok {
		return r
	}
	if d.settings && IsSetting(key) {
		return settingRule
	}
	if _, ok := optionName(key); ok && d.foreign {
		return optionRule
	}
	if d.foreign && len(foreignKeys[key]) > 0 {
		return foreignRule
	}
	return nil
}

// unknownKey repeats the key only if it can be no piece of a password: one behind a raw "&" is.
func unknownKey(key string, pos int) *Error {
	if users := foreignKeys[key]; len(users) > 0 {
		var tools []string
		for _, u := range users {
			tools = append(tools, u.tool.name)
		}
		return fault(CodeUnsupported, key, pos,
			"it belongs to "+strings.Join(slices.Compact(tools), " and ")+", and this is no string of theirs",
			"write libpq's keyword for it, or name the dialect that the string is written in")
	}
	return unknownIn(key, pos, `if it is part of a password, write & as %26 and = as %3D`, nil)
}

// unknownKeyword is unknownKey for the form in which nothing is percent-encoded.
func unknownKeyword(key string, pos int) *Error {
	return unknownIn(key, pos, "if it is part of a value, "+quoteHint, nil)
}

func unknownIn(key string, pos int, hint string, t *tool) *Error {
	if name := similarTo(key, t); name != "" && name != key {
		hint = "did you mean " + name + "?"
	}
	part := "parameter"
	if name, known := namable(key, t); known {
		part = name
	}
	return fault(CodeUnknownKey, part, pos, "its name is not known", hint)
}
