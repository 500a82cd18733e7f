package serverconn

import (
	"strings"

	"github.com/pgsafe/pgsafe/internal/sqltext"
)

// shape is what a text allows its settings.
type shape struct {
	known     bool // it begins with a command, so it is not the name of a prepared statement
	pipelined bool // settings can go in front of it, in one implicit transaction
	several   bool // it may be several statements
	controls  bool // it begins or ends a transaction; savepoints do not
	goesOn    bool // it ends a transaction and goes on in another one
}

// shapesLimit is how many texts are remembered, as telemetry does for each server.
const shapesLimit = 2048

// ShapeCache remembers the shapes of texts. It is safe for concurrent use.
type ShapeCache struct {
	texts *sqltext.Cache[shape]
}

// NewShapeCache returns an empty cache.
func NewShapeCache() *ShapeCache {
	return &ShapeCache{sqltext.NewCache(shapesLimit, readShape)}
}

// pipelined are the commands in front of which settings can go. Others may begin or end a
// transaction, or refuse to run in one (xact.c, PreventInTransactionBlock).
var pipelined = map[string]bool{
	"SELECT": true, "VALUES": true, "TABLE": true, "SHOW": true,
	"INSERT": true, "UPDATE": true, "DELETE": true, "MERGE": true, "TRUNCATE": true,
}

// readShape reads a text, or the beginning of a long one.
func readShape(sql string) shape {
	text := sqltext.Read(sql)
	inner := strings.TrimRight(sql, "; \t\r\n")
	several := strings.Contains(inner, ";")
	if several && !sqltext.Doubtful(sql) { // or it may be in a literal
		shown := strings.TrimRight(text.Masked, "; ")
		several = shown == "" || strings.HasSuffix(shown, "...") || strings.Contains(shown, ";")
	}
	chains := several && sqltext.Chains(sql)
	ends := text.Class == sqltext.Begin || text.Class == sqltext.End
	return shape{
		known:     text.Operation != "",
		pipelined: (text.Class == sqltext.Query || text.Class == sqltext.Write) && pipelined[text.Operation],
		several:   several,
		controls:  chains || text.Class >= sqltext.Begin,
		goesOn:    chains || ends && (several || strings.Contains(strings.ToUpper(text.Masked), "CHAIN")),
	}
}

// of returns the shape of a text. Texts are remembered by their beginning, so the rest of a long
// text is looked at each time.
func (c *ShapeCache) of(sql string) shape {
	s := c.texts.Get(sql)
	if rest := sqltext.Unread(sql); strings.Contains(rest, ";") {
		chains := sqltext.ChainsUnread(sql)
		s.several, s.controls, s.goesOn = true, s.controls || chains, s.goesOn || chains
	}
	return s
}
