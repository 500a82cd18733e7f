package sqltext

import (
	"slices"
	"strings"
)

const (
	maxRead    = 16 << 10 // bytes of a text that are read, and of the longest one that a Cache keeps
	maxMasked  = 4 << 10  // bytes of Text.Masked
	maxSummary = 255      // bytes of Text.Summary: OpenTelemetry's limit for db.query.summary
)

// Text is what may be told of a SQL text. Its strings are valid UTF-8 and share no memory with the
// text.
type Text struct {
	// Summary is OpenTelemetry's db.query.summary, such as "SELECT users": the operations, in upper
	// case, each with its targets as they are written, in the order of the text; "; " stands
	// between statements. It has at most 255 bytes and is cut between two names. It is empty only
	// if no statement begins with a command that PostgreSQL has.
	//
	// Common table expressions, savepoints, cursors and prepared statements are no targets: their
	// names say nothing about the database, and some are generated. A function in FROM is one.
	// Names are as they are, so a target of which there are thousands, such as a partition for each
	// day, makes as many summaries.
	Summary string

	// Masked is OpenTelemetry's db.query.text: each literal is "?", comments are gone, blanks are
	// one space. Lists of nothing but literals are alike whatever their length: IN (?), ARRAY[?],
	// and of several rows of VALUES the first. It has at most 4 KiB and ends in " ..." if there was
	// more. It is empty if nothing of the text may be shown.
	Masked string

	// Operation is the first operation of Summary: "SELECT", "CREATE TABLE".
	Operation string

	Class Class

	// Leaves are its lasting effects in the session, as far as its words show them.
	Leaves State
}

// Class is what a text does, as far as its words tell: what a function does that it calls is not
// known. Of several statements the strongest counts, and later constants are stronger. Only of
// Begin and End it is the last in the text that counts, because that is the state which the text
// leaves.
type Class uint8

// The classes, from weak to strong.
const (
	Other     Class = iota // CALL, DO, EXECUTE, LOCK, VACUUM, SET LOCAL, and all that is not known
	Query                  // SELECT, even FOR UPDATE; VALUES, TABLE, SHOW, COPY TO, FETCH
	Write                  // INSERT, UPDATE, DELETE and MERGE, also in WITH; TRUNCATE, COPY FROM, REFRESH
	Schema                 // CREATE, ALTER, DROP, GRANT, REVOKE, COMMENT, SELECT INTO
	Savepoint              // SAVEPOINT, RELEASE, ROLLBACK TO
	Session                // outlives the transaction: SET, RESET, LISTEN, PREPARE, WITH HOLD, temporary tables, locks
	Begin                  // BEGIN, START TRANSACTION
	End                    // COMMIT, END, ROLLBACK, ABORT, PREPARE TRANSACTION
)

func stronger(a, b Class) Class {
	if a >= Begin && b >= Begin {
		return b
	}
	return max(a, b)
}

// Read reads a text. It takes any string, in time that does not grow with those longer than 16 KiB.
func Read(sql string) Text {
	text, whole := readable(sql)
	tokens := tokenize(plain(text, whole))
	var (
		sum    summary
		out    printer
		class  Class
		state  State
		hidden bool
	)
	statements := split(tokens)
	for i, statement := range statements {
		p := parser{tokens: statement, out: &sum, secret: len(statement)}
		if i > 0 {
			sum.separate()
			out.separate()
		}
		p.names()
		p.statement()
		class = stronger(class, p.class)
		state |= p.state
		hidden = hidden || p.hidden
		out.print(statement[:p.secret])
		out.mask(statement[p.secret:])
		if p.readsInput { // what follows may be its rows, as in a dump
			if rest := slices.Concat(statements[i+1:]...); len(rest) > 0 {
				out.separate()
				out.mask(rest)
			}
			break
		}
	}
	t := Text{Summary: sum.String(), Operation: strings.Clone(sum.first), Class: class, Leaves: state}
	if !hidden && sum.first != "" { // what is no statement may be anything
		t.Masked = out.finish(whole)
	}
	return t
}

// split cuts the tokens at each semicolon that ends a statement. Those in parentheses do not
// (CREATE RULE), nor do those in the body of a function, which goes from BEGIN ATOMIC to the end of
// the text.
func split(tokens []token) [][]token {
	var statements [][]token
	start, depth := 0, 0
	for i, t := range tokens {
		switch t.key {
		case "(":
			depth++
		case ")":
			depth = max(0, depth-1)
		case "ATOMIC":
			if i > 0 && tokens[i-1].key == "BEGIN" {
				return append(statements, tokens[start:])
			}
		case ";":
			if depth == 0 {
				statements = append(statements, tokens[start:i])
				start = i + 1
			}
		}
	}
	return append(statements, tokens[start:])
}
