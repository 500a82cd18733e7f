package sqltext

// modifiers stand between CREATE and the kind of thing that is created.
var modifiers = []string{"OR", "REPLACE", "GLOBAL", "LOCAL", "UNLOGGED", "RECURSIVE", "UNIQUE", "CONSTRAINT", "TRUSTED",
	"PROCEDURAL", "TEMP", "TEMPORARY"}

// object is what is known about a kind of thing that can be created.
type object uint8

const (
	unknown object = iota
	plainObject
	partOfName   // only the beginning of a kind's name
	nameless     // what follows is no name, or none to be shown
	withQuery    // AS may bring a query
	withSettings // SET brings a setting, with a value to be masked
	withPassword // it may have one, besides settings
	withSecrets  // what it is made of is a secret
)

var objects = map[string]object{
	"ACCESS": partOfName, "ACCESS METHOD": plainObject, "AGGREGATE": plainObject, "CAST": nameless,
	"COLLATION":  plainObject,
	"CONVERSION": plainObject, "DATABASE": withSettings, "DEFAULT": partOfName, "DEFAULT PRIVILEGES": nameless,
	"DOMAIN": plainObject, "EVENT": partOfName, "EVENT TRIGGER": plainObject, "EXTENSION": plainObject,
	"FOREIGN": partOfName, "FOREIGN DATA": partOfName, "FOREIGN DATA WRAPPER": plainObject, "FOREIGN TABLE": plainObject,
	"FUNCTION": withSettings, "GROUP": withPassword, "INDEX": plainObject, "LANGUAGE": plainObject, "LARGE": partOfName,
	"LARGE OBJECT": nameless, "MATERIALIZED": partOfName, "MATERIALIZED VIEW": withQuery, "OPERATOR": nameless,
	"OPERATOR CLASS": plainObject, "OPERATOR FAMILY": plainObject, "OWNED": nameless, "POLICY": plainObject,
	"PROCEDURE": withSettings, "PUBLICATION": plainObject, "ROLE": withPassword, "ROUTINE": withSettings,
	"RULE": plainObject, "SCHEMA": plainObject, "SEQUENCE": plainObject, "SERVER": withSecrets,
	"STATISTICS": plainObject, "SUBSCRIPTION": withSecrets, "SYSTEM": nameless, "TABLE": withQuery,
	"TABLESPACE": plainObject, "TEXT": partOfName, "TEXT SEARCH": partOfName, "TEXT SEARCH CONFIGURATION": plainObject,
	"TEXT SEARCH DICTIONARY": plainObject, "TEXT SEARCH PARSER": plainObject, "TEXT SEARCH TEMPLATE": plainObject,
	"TRANSFORM": nameless, "TRIGGER": plainObject, "TYPE": plainObject, "USER": withPassword,
	"USER MAPPING": withSecrets, "VIEW": withQuery,
}

// definition reads CREATE, ALTER and DROP.
func (p *parser) definition(verb string) {
	p.classify(Schema)
	for p.is(modifiers...) {
		if p.skip("TEMP", "TEMPORARY") {
			p.classify(Session)
			p.leavesTemporary()
		}
		p.skip(modifiers...)
	}
	kind, about := p.object()
	operation := verb
	if kind != "" {
		operation += " " + kind
	}
	p.out.operation(operation)
	switch {
	case about == unknown: // a slip, perhaps in a statement that would have a password
		p.hidden = p.mentions("PASSWORD")
		return
	case verb == "DROP":
		p.skip("CONCURRENTLY")
		p.exists()
		if about != nameless && kind != "USER MAPPING" {
			p.targets()
		}
		return
	case about == withSecrets, about == withPassword && p.mentions("PASSWORD"):
		p.hidden = true
		return
	case kind == "SCHEMA" || kind == "RULE": // they have other statements in them
		p.hidden = p.mentions("PASSWORD") && (p.mentions("ROLE") || p.mentions("USER"))
	}
	if about != nameless {
		p.defined()
	}
	p.defining(kind, about)
}

// object reads the longest kind of thing that is known.
func (p *parser) object() (kind string, about object) {
	for p.more() {
		longer := p.peek().key
		if kind != "" {
			longer = kind + " " + longer
		}
		known := objects[longer]
		if known == unknown {
			break
		}
		kind, about = longer, known
		p.at++
	}
	if about == partOfName {
		about = nameless
	}
	return kind, about
}

// defined adds the name of what is created or altered. An index without one goes by its table's.
func (p *parser) defined() {
	p.skip("CONCURRENTLY")
	p.exists()
	p.skip("ONLY")
	p.skip("AUTHORIZATION") // CREATE SCHEMA AUTHORIZATION name
	p.skip("ON")
	p.target()
}

// exists steps over IF EXISTS and IF NOT EXISTS.
func (p *parser) exists() {
	if p.skip("IF") {
		p.skip("NOT")
		p.skip("EXISTS")
	}
}

// defining reads what follows the name.
func (p *parser) defining(kind string, about object) {
	switch {
	case about == withQuery:
		if p.find("AS") {
			p.at++
			if p.is("EXECUTE") {
				p.leaves(Unknown)
			}
			p.query(&level{start: true})
		}
	case about == withSettings, about == withPassword, kind == "SYSTEM":
		if p.find("SET") {
			p.at++
			p.name()
			p.value()
		}
	}
}

// mentions reports whether a word is anywhere in the rest of the statement.
func (p *parser) mentions(key string) bool {
	for _, t := range p.tokens[p.at:] {
		if t.key == key {
			return true
		}
	}
	return false
}

// grantKinds stand between ON and the names.
var grantKinds = []string{"TABLE", "SEQUENCE", "DATABASE", "DOMAIN", "FUNCTION", "PROCEDURE", "ROUTINE", "LANGUAGE",
	"SCHEMA", "TABLESPACE", "TYPE", "PARAMETER", "FOREIGN", "DATA", "WRAPPER", "SERVER", "ALL", "TABLES", "SEQUENCES",
	"FUNCTIONS", "PROCEDURES", "ROUTINES", "IN"}

// grant reads GRANT and REVOKE. Of roles that are granted there are no targets.
func (p *parser) grant(verb string) {
	p.classify(Schema)
	p.out.operation(verb)
	if p.find("ON", "TO", "FROM") && p.skip("ON") {
		p.skipAll(grantKinds...)
		p.targets()
	}
}
