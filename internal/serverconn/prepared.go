package serverconn

import (
	"context"
	"crypto/sha256"
	"database/sql/driver"
	"encoding/hex"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/pgsafe/pgsafe/internal/ctxsettings"
)

// A prepared statement is a text. It runs in a mode of pgx in which the server describes the
// parameters, so that they are encoded as with pgx's own prepared statements, whatever mode the
// application has for its plain statements.

// prepared is what a connection knows of prepared statements.
type prepared struct {
	mode    pgx.QueryExecMode // in which they run; zero before the first one
	extra   bool              // that is not the mode of plain statements
	names   int               // how many statements pgx's cache holds; zero if the connection has no names
	planned map[string]struct{}
}

// maxPlanned bounds the statements that are prepared on the server and that pgx's cache does not
// know of yet. There are never more of them than the cache holds.
const maxPlanned = 64

// choose chooses the mode. A pooler may give each sequence of messages another session: see
// connect.avoidNames.
func (p *prepared) choose(config *pgx.ConnConfig, nameless bool) {
	p.mode = config.DefaultQueryExecMode
	switch {
	case !nameless && config.StatementCacheCapacity > 0:
		p.mode, p.names = pgx.QueryExecModeCacheStatement, config.StatementCacheCapacity
	case nameless && config.DescriptionCacheCapacity > 0:
		p.mode = pgx.QueryExecModeCacheDescribe
	case !nameless:
		p.mode = pgx.QueryExecModeDescribeExec
	}
	p.extra = p.mode != config.DefaultQueryExecMode
}

// ready chooses the mode once.
func (p *prepared) ready(c *Conn) *prepared {
	if p.mode == 0 {
		p.choose(c.pgx.Config(), c.facts.Nameless)
	}
	return p
}

// name returns the name under which pgx's statement cache would prepare a text (internal/stmtcache,
// StatementName). The first run then finds it prepared (pgx.Conn.Prepare) and takes it into the
// cache. It returns "" if too many are prepared that have not run: the first run then prepares the
// text once more.
func (p *prepared) name(text string) string {
	if len(p.planned) >= min(maxPlanned, p.names) {
		return ""
	}
	digest := sha256.Sum256([]byte(text))
	return "stmtcache_" + hex.EncodeToString(digest[:24])
}

// plan notes that a text is prepared and has not run yet.
func (p *prepared) plan(text string) {
	if p.planned == nil {
		p.planned = make(map[string]struct{})
	}
	p.planned[text] = struct{}{}
}

// ran notes that pgx's cache knows a text.
func (p *prepared) ran(text string) {
	if len(p.planned) > 0 {
		delete(p.planned, text)
	}
}

// arguments adds the mode to a statement's arguments, as one of pgx's options.
func (p *prepared) arguments(args []driver.NamedValue) []driver.NamedValue {
	if !p.extra {
		return args
	}
	return append([]driver.NamedValue{{Value: p.mode}}, args...)
}

// Prepare asks the server for the number of parameters of a text.
func (c *Conn) Prepare(ctx context.Context, want *ctxsettings.Settings, text string) (inputs int, err error) {
	s := statement{kind: parsed, text: text}
	if err := c.begin(ctx, want, &s); err != nil {
		return 0, err
	}
	p := c.prepared.ready(c)
	name := p.name(s.text)
	sd, err := run(c, &s, func() (*pgconn.StatementDescription, error) { return c.pgx.Prepare(ctx, name, s.text) })
	if err != nil {
		return 0, c.prepareFailed(ctx, want, err)
	}
	if name != "" {
		p.plan(s.text)
	}
	return len(sd.ParamOIDs), nil
}

// prepareFailed is failed for PREPARE, which leaves nothing behind if its connection breaks.
func (c *Conn) prepareFailed(ctx context.Context, want *ctxsettings.Settings, err error) error {
	if refusal := c.wire.Refusal(); refusal != nil {
		return c.settingsFailed(ctx, want, refusal)
	}
	return c.failedHarmless(ctx, err)
}

// ExecPrepared is Exec for the text of a prepared statement. pgx takes no text without arguments
// into its cache (pgx.Conn.exec).
func (c *Conn) ExecPrepared(
	ctx context.Context, want *ctxsettings.Settings, text string, args []driver.NamedValue,
) (driver.Result, error) {
	p := c.prepared.ready(c)
	res, err := c.Exec(ctx, want, text, p.arguments(args))
	if err == nil && len(args) > 0 {
		p.ran(c.sent(text))
	}
	return res, err
}

// QueryPrepared is Query for the text of a prepared statement.
func (c *Conn) QueryPrepared(
	ctx context.Context, want *ctxsettings.Settings, text string, args []driver.NamedValue,
) (*stdlib.Rows, error) {
	p := c.prepared.ready(c)
	rows, err := c.Query(ctx, want, text, p.arguments(args))
	if err == nil {
		p.ran(c.sent(text))
	}
	return rows, err
}

// sent is a text as the statement that ran last had it: see statement.tag.
func (c *Conn) sent(text string) string {
	t := c.tags.get(c.session.within)
	if t == "" || !c.config.Shapes.of(text).known {
		return text
	}
	return text + string(t)
}
