package serverconn

import (
	"database/sql/driver"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe/internal/ctxsettings"
	"github.com/pgsafe/pgsafe/internal/wire"
)

// statement is a statement that is about to run.
type statement struct {
	kind kind
	text string
	args []driver.NamedValue // with pgx's options in front

	prefix   *wire.Prefix // what goes in front of it, nil for nothing
	isDirect bool         // it runs past pgx.Conn.Exec, which would take the simple protocol
}

// kind is what is done with a text.
type kind uint8

const (
	executed kind = iota // without rows
	queried              // with rows
	parsed
	native // there is no text
)

// shapeUp reports whether settings can go in front of the statement. It changes how the statement
// runs if that is needed.
func (c *Conn) shapeUp(want *ctxsettings.Settings, s *statement) (pipelines bool, err error) {
	if s.kind == native {
		return false, nil
	}
	pipelines, err = c.pipelines(want, s)
	s.tag(c, want)
	return pipelines, err
}

func (c *Conn) pipelines(want *ctxsettings.Settings, s *statement) (bool, error) {
	o, shape := readOptions(c.mode, s.args), c.config.Shapes.of(s.text)
	if c.wire == nil || !shape.pipelined || !o.keepsText() || c.hasEarly(want) {
		return false, nil
	}
	switch {
	case s.kind == parsed:
		return true, nil
	case o.mode == pgx.QueryExecModeSimpleProtocol:
		return false, nil
	case s.kind == executed && !o.comments(): // it may add no argument
		return false, nil
	case s.kind == executed && o.count == len(s.args): // pgx.Conn.exec takes the simple protocol
		s.isDirect = c.mode != pgx.QueryExecModeSimpleProtocol && !shape.several
		return s.isDirect, nil
	case o.mode == pgx.QueryExecModeDescribeExec && c.isPooled():
		return c.describeAndExec(s, o)
	}
	return true, nil
}

// describeAndExec avoids a mode in which pgx parses a statement without a name in one request and
// binds it in another one: what goes in front of the second one would be bound in its place.
func (c *Conn) describeAndExec(s *statement, o options) (pipelines bool, err error) {
	if c.descriptions == 0 {
		return false, errPooled
	}
	o.mode = pgx.QueryExecModeCacheDescribe
	s.args = o.with("", s.args)
	return true, nil
}

// tag puts the tag of settings behind the text, if pgx would keep what it knows of it.
func (s *statement) tag(c *Conn, of *ctxsettings.Settings) {
	t := c.tags.get(of)
	if t == "" || !c.config.Shapes.of(s.text).known {
		return
	}
	switch o := readOptions(c.mode, s.args); {
	case s.kind == parsed:
		s.text += string(t)
	case s.kind == native, !o.caches():
	case s.kind == executed && o.count == len(s.args) && o.comments(): // it is not kept
	default:
		s.args = o.with(t, s.args)
	}
}
