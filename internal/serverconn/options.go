package serverconn

import (
	"database/sql/driver"

	"github.com/jackc/pgx/v5"

	tracing "github.com/pgsafe/pgsafe/internal/telemetry"
)

// options are pgx's options among the arguments of a statement: all in front of the first argument
// that is none (pgx.Conn.exec, pgx.Conn.Query).
type options struct {
	mode     pgx.QueryExecMode
	rewriter pgx.QueryRewriter // nil for none
	count    int
}

// readOptions reads the options, of which the last one of a kind counts.
func readOptions(mode pgx.QueryExecMode, args []driver.NamedValue) options {
	o := options{mode: mode}
	for _, arg := range args {
		switch value := arg.Value.(type) {
		case pgx.QueryExecMode:
			o.mode = value
		case pgx.QueryRewriter:
			o.rewriter = value
		case pgx.QueryResultFormats, pgx.QueryResultFormatsByOID:
		default:
			return o
		}
		o.count++
	}
	return o
}

// keepsText reports whether the rewriter, if there is one, makes no other statement of a text.
func (o options) keepsText() bool {
	switch o.rewriter.(type) {
	case nil, tracing.Commenter, pgx.NamedArgs, pgx.StrictNamedArgs:
		return true
	}
	return false
}

// comments reports whether the rewriter, if there is one, adds no argument.
func (o options) comments() bool {
	if o.rewriter == nil {
		return true
	}
	_, ok := o.rewriter.(tracing.Commenter)
	return ok
}

// caches reports whether pgx keeps what it knows of the text.
func (o options) caches() bool {
	return o.mode == pgx.QueryExecModeCacheStatement || o.mode == pgx.QueryExecModeCacheDescribe
}

// with returns args with the mode of o and a tag.
func (o options) with(t tag, args []driver.NamedValue) []driver.NamedValue {
	all := make([]driver.NamedValue, 0, len(args)+2)
	for _, arg := range args[:o.count] {
		switch arg.Value.(type) {
		case pgx.QueryExecMode, pgx.QueryRewriter:
		default:
			all = append(all, arg)
		}
	}
	all = append(all, driver.NamedValue{Value: o.mode}, driver.NamedValue{Value: tagger{t, o.rewriter}})
	return append(all, args[o.count:]...)
}
