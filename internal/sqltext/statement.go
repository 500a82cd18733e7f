package sqltext

// statement reads a statement from its first word on. One that no command begins is left alone.
func (p *parser) statement() {
	key := p.peek().key
	switch key {
	case "(", "SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "WITH", "VALUES", "TABLE":
		p.query(&level{start: true})
		return
	}
	p.at++
	switch key {
	case "CREATE", "ALTER", "DROP":
		p.definition(key)
	case "GRANT", "REVOKE":
		p.grant(key)
	case "BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE":
		p.transaction(key)
	case "SET":
		p.set()
	case "COPY":
		p.copyTable()
	case "PREPARE":
		p.prepare()
	case "DECLARE":
		p.declare()
	case "EXPLAIN":
		p.explain()
	default:
		p.simple(key)
	}
}

// How many targets a command has.
type arity uint8

const (
	none arity = iota
	one
	many
)

// command is one that only names what it is about.
type command struct {
	operation string
	class     Class
	arity     arity
	skip      []string // words before the targets
}

var commands = map[string]command{
	"ANALYSE":    {"ANALYZE", Other, many, []string{"VERBOSE", "SKIP_LOCKED"}},
	"ANALYZE":    {"ANALYZE", Other, many, []string{"VERBOSE", "SKIP_LOCKED"}},
	"CALL":       {"CALL", Other, one, nil},
	"CHECKPOINT": {"CHECKPOINT", Other, none, nil},
	"CLOSE":      {"CLOSE", Other, none, nil},
	"CLUSTER":    {"CLUSTER", Other, one, []string{"VERBOSE"}},
	"COMMENT":    {"COMMENT", Schema, none, nil},
	"DEALLOCATE": {"DEALLOCATE", Session, none, nil},
	"DISCARD":    {"DISCARD", Session, one, nil},
	"DO":         {"DO", Other, none, nil},
	"EXECUTE":    {"EXECUTE", Other, none, nil},
	"FETCH":      {"FETCH", Query, none, nil},
	"IMPORT":     {"IMPORT FOREIGN SCHEMA", Schema, none, nil},
	"LISTEN":     {"LISTEN", Session, one, nil},
	"LOAD":       {"LOAD", Session, none, nil},
	"LOCK":       {"LOCK", Other, many, []string{"TABLE"}},
	"MOVE":       {"MOVE", Query, none, nil},
	"NOTIFY":     {"NOTIFY", Other, one, nil},
	"REASSIGN":   {"REASSIGN OWNED", Schema, none, nil},
	"REFRESH":    {"REFRESH MATERIALIZED VIEW", Write, one, []string{"MATERIALIZED", "VIEW", "CONCURRENTLY"}},
	"REINDEX": {"REINDEX", Other, one,
		[]string{"INDEX", "TABLE", "SCHEMA", "DATABASE", "SYSTEM", "CONCURRENTLY"}},
	"RESET":    {"RESET", Session, one, []string{"SESSION"}},
	"SECURITY": {"SECURITY LABEL", Schema, none, nil},
	"SHOW":     {"SHOW", Query, one, nil},
	"TRUNCATE": {"TRUNCATE", Write, many, []string{"TABLE"}},
	"UNLISTEN": {"UNLISTEN", Session, one, nil},
	"VACUUM":   {"VACUUM", Other, many, []string{"FULL", "FREEZE", "VERBOSE", "ANALYZE", "ANALYSE"}},
}

func (p *parser) simple(key string) {
	c, ok := commands[key]
	if !ok {
		return
	}
	p.classify(c.class)
	p.out.operation(c.operation)
	p.leaves(p.leftBy(key))
	p.skipGroup() // options, as VACUUM has
	p.skipAll(c.skip...)
	switch c.arity {
	case one:
		p.target()
	case many:
		p.targets()
	}
}

// transaction reads what begins, divides or ends a transaction. The names of savepoints and of
// prepared transactions are left out.
func (p *parser) transaction(key string) {
	p.skip("WORK", "TRANSACTION")
	switch {
	case key == "BEGIN":
		p.out.operation(key)
		p.classify(Begin)
	case key == "START":
		p.out.operation("START TRANSACTION")
		p.classify(Begin)
	case key == "SAVEPOINT":
		p.out.operation(key)
		p.classify(Savepoint)
	case key == "RELEASE":
		p.out.operation("RELEASE SAVEPOINT")
		p.classify(Savepoint)
	case p.is("TO"):
		p.out.operation("ROLLBACK TO SAVEPOINT")
		p.classify(Savepoint)
	case p.is("PREPARED"):
		p.out.operation(key + " PREPARED") // of another transaction
	default:
		p.out.operation(key)
		p.classify(End)
	}
}

// set reads SET. Values are masked whatever they are: SET app.secret = hunter2 needs no quotes.
// Roles and the modes of transactions are no values in this sense.
func (p *parser) set() {
	operation, class, stays := "SET", Session, Settings|Role
	if p.skip("LOCAL") {
		operation, class, stays = "SET LOCAL", Other, 0
	} else if p.is("SESSION") && p.after() != "AUTHORIZATION" && p.after() != "CHARACTERISTICS" {
		p.at++
	}
	switch {
	case p.is("TRANSACTION", "CONSTRAINTS"):
		p.classify(Other)
		p.out.operation("SET " + p.peek().key)
		return
	case p.is("SESSION") && p.after() == "AUTHORIZATION":
		operation += " SESSION AUTHORIZATION"
		stays &= Role
	case p.is("SESSION"):
		operation += " SESSION " + p.after()
		stays &= Settings
	case p.is("ROLE") && p.after() != "=" && p.after() != "TO":
		operation += " ROLE"
		stays &= Role
	case p.is("TIME") && p.after() == "ZONE":
		operation += " TIME ZONE"
		stays &= Settings
		p.at += 2
		p.secret = p.at
	default: // the name may be the role's
		p.classify(class)
		p.leaves(stays)
		p.out.operation(operation)
		p.target()
		p.value()
		return
	}
	p.classify(class)
	p.leaves(stays)
	p.out.operation(operation)
}

// value masks the value of a setting, to the end of the statement.
func (p *parser) value() {
	p.skip("=", "TO")
	p.secret = p.at
}

// copyTable reads COPY, whose FROM and TO name files or programs.
func (p *parser) copyTable() {
	p.out.operation("COPY")
	if p.skip("(") {
		p.query(&level{start: true})
		return
	}
	p.skip("BINARY")
	p.target()
	p.skipGroup()
	if p.skip("FROM") {
		p.classify(Write)
		p.readsInput = p.is("STDIN")
	} else {
		p.classify(Query)
	}
}

// explain reads EXPLAIN, which has the class of what it explains: with ANALYZE it runs it.
func (p *parser) explain() {
	p.out.operation("EXPLAIN")
	p.skipAll("ANALYZE", "ANALYSE", "VERBOSE")
	switch p.after() {
	case "(", "SELECT", "WITH", "VALUES", "TABLE":
	default:
		p.skipGroup() // options
	}
	p.statement()
}

// prepare reads PREPARE, which is two commands.
func (p *parser) prepare() {
	if p.is("TRANSACTION") {
		p.out.operation("PREPARE TRANSACTION")
		p.classify(End)
		return
	}
	p.out.operation("PREPARE")
	p.classify(Session)
	p.leaves(Prepared)
	if p.find("AS") {
		p.at++
		p.statement()
	}
}

// declare reads a cursor. One WITH HOLD outlives its transaction.
func (p *parser) declare() {
	p.out.operation("DECLARE")
	p.classify(Query)
	for p.find("WITH", "FOR") {
		if p.skip("FOR") {
			p.query(&level{start: true})
			return
		}
		p.at++
		if p.skip("HOLD") {
			p.classify(Session)
			p.leaves(Cursors)
		}
	}
}
