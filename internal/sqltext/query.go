package sqltext

import (
	"slices"
	"strings"
)

// level is what is known between two parentheses, or outside of all. In one that holds an
// expression nothing is ever expected, so EXTRACT(year FROM ts) has no target.
type level struct {
	outer *level

	operation string // the last that began here
	start     bool   // an operation may begin here
	from      bool   // FROM brings tables
	using     bool   // USING brings tables
	tables    bool   // in a list of tables, where JOIN and "," bring another one
	expect    expectation

	ctes      []string // names that WITH gave
	recursive bool     // they are known in their own queries too
	pending   string   // the name whose query comes next
}

// expectation is what the next name is.
type expectation uint8

const (
	column    expectation = iota // or an alias, a function: nothing to tell
	fromItem                     // a table, a function or a common table expression
	tableOnly                    // a table, as after INSERT INTO
	cteName
)

// query reads up to the end, or up to the parenthesis that closes the level.
func (p *parser) query(l *level) {
	for p.more() && !p.is(")") {
		p.step(l)
	}
}

// step reads one thing at a level.
func (p *parser) step(l *level) {
	start := l.start
	l.start = false
	t := p.peek()
	switch {
	case t.key == "(":
		p.group(l)
	case t.key == ",":
		p.at++
		l.comma()
	case t.kind == word && (start && p.begin(l, t.key) || p.clause(l, t.key)):
	case t.named():
		p.named(l)
	default:
		p.at++
		l.expect = column
	}
}

// group reads what is in parentheses. Those in place of a table hold a query, or tables.
func (p *parser) group(l *level) {
	p.at++
	inner := &level{outer: l, start: l.pending != ""}
	if l.expect == fromItem {
		inner.tables, inner.expect = true, fromItem
	}
	l.expect = column
	if l.pending != "" && l.recursive {
		l.ctes = append(l.ctes, l.pending)
	}
	p.query(inner)
	p.skip(")")
	if l.pending != "" {
		l.ctes = append(l.ctes, l.pending)
		l.pending = ""
		l.start = true // the query that WITH is for
	}
}

func (l *level) comma() {
	switch {
	case l.operation == "WITH":
		l.expect = cteName
	case l.tables:
		l.expect = fromItem
	}
}

// begin reads an operation that may only stand where a query begins: elsewhere its word is a name,
// or part of a clause such as FOR UPDATE.
func (p *parser) begin(l *level, key string) bool {
	switch key {
	case "INSERT", "MERGE", "UPDATE", "DELETE":
		p.operation(l, key, Write)
		p.skip("INTO", "FROM")
		l.expect = tableOnly
		l.from = key == "UPDATE"
		l.using = key == "DELETE" || key == "MERGE"
		return true
	}
	return false
}

// operation begins an operation.
func (p *parser) operation(l *level, key string, c Class) {
	p.at++
	p.classify(c)
	p.out.operation(key)
	l.operation = key
	l.from, l.using, l.tables, l.expect = false, false, false, column
}

// clause reads a reserved word.
func (p *parser) clause(l *level, key string) bool {
	switch key {
	case "SELECT":
		p.operation(l, key, Query)
		l.from = true
		return true
	case "TABLE":
		p.operation(l, key, Query)
		l.expect = fromItem
		return true
	case "VALUES":
		return p.values(l)
	case "AS":
		p.as(l)
		return true
	}
	p.at++
	switch key {
	case "WITH":
		l.with()
		if p.skip("RECURSIVE") {
			l.recursive = true
		}
	case "FROM":
		if l.from {
			l.from, l.tables, l.expect = false, true, fromItem
		}
	case "USING":
		if l.using {
			l.using, l.tables, l.expect = false, true, fromItem
		}
	case "JOIN":
		if l.tables {
			l.expect = fromItem
		}
	case "INTO":
		p.into(l)
	case "IS": // IS DISTINCT FROM is no clause
		p.skip("NOT")
		if p.skip("DISTINCT") {
			p.skip("FROM")
		}
	case "WHERE", "GROUP", "HAVING", "WINDOW", "ORDER", "LIMIT", "OFFSET", "FETCH", "FOR", "UNION", "INTERSECT",
		"EXCEPT", "RETURNING":
		l.tables, l.expect = false, column
	case "WHEN":
		l.tables = l.tables && l.operation != "MERGE"
	case "ONLY", "LATERAL":
	case "ROWS": // ROWS FROM (f(), g())
		if l.expect != fromItem || !p.skip("FROM") {
			p.at--
			return false
		}
	default:
		p.at--
		return false
	}
	return true
}

// values reads VALUES, which is an operation of its own only where it is the whole query. Without
// rows it is a name.
func (p *parser) values(l *level) bool {
	if p.after() != "(" {
		return false
	}
	if l.outer == nil && l.operation == "" {
		p.operation(l, "VALUES", Query)
		return true
	}
	p.at++
	l.tables, l.expect = false, column
	return true
}

// with begins a list of common table expressions, where one may stand. WITH ORDINALITY and the like
// begin none.
func (l *level) with() {
	if l.operation == "" || l.operation == "INSERT" {
		l.operation, l.expect = "WITH", cteName
	}
}

// as reads AS and the label after it, which may be any keyword.
func (p *parser) as(l *level) {
	p.at++
	if l.operation == "WITH" {
		p.skip("NOT")
		p.skip("MATERIALIZED")
	} else if p.peek().named() {
		p.at++
	}
}

// into reads SELECT INTO, which makes a table.
func (p *parser) into(l *level) {
	if !l.from {
		return
	}
	p.skip("LOCAL", "GLOBAL")
	if p.is("TEMP", "TEMPORARY") {
		p.classify(Session)
		p.leaves(Temporary)
	}
	p.skip("TEMP", "TEMPORARY", "UNLOGGED")
	p.skip("TABLE")
	p.classify(Schema)
	l.expect = tableOnly
}

// named reads a name for what it is at this place.
func (p *parser) named(l *level) {
	expect := l.expect
	l.expect = column
	name := p.name()
	switch {
	case expect == cteName:
		l.pending = fold(name)
		p.skipGroup() // the names of its columns
	case expect == tableOnly, expect == fromItem && !l.knows(fold(name)):
		p.out.add(name)
	}
	if expect == tableOnly && l.operation == "UPDATE" && fold(p.tokens[p.at-1].text) == "pg_settings" {
		p.leaves(Settings)
		p.classify(Session)
	}
}

// knows reports whether a common table expression has this name.
func (l *level) knows(name string) bool {
	for ; l != nil; l = l.outer {
		if slices.Contains(l.ctes, name) {
			return true
		}
	}
	return false
}

// fold makes spellings of one name equal.
func fold(name string) string {
	if strings.HasPrefix(name, `"`) {
		return strings.Trim(name, `"`)
	}
	return strings.ToLower(name)
}
