package serverconn

import (
	"context"
	"crypto/sha256"
	"encoding/hex"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe/internal/ctxsettings"
)

// tag is a comment behind a text, "" for none. The caches of pgx know a statement by its text, but
// its plan and its description belong to the schemas that it found its names in. So the text
// differs for each search_path and role: the role is part of the default search_path ("$user").
type tag string

// tags remembers the last one.
type tags struct {
	of  *ctxsettings.Settings
	tag tag
}

// get returns the tag of a statement with these settings.
func (t *tags) get(s *ctxsettings.Settings) tag {
	path, given := s.Value("search_path")
	if !given && s.Role() == "" {
		return ""
	}
	if t.of != s {
		digest := sha256.Sum256([]byte(path + "\x00" + s.Role()))
		*t = tags{s, tag("\n/*" + hex.EncodeToString(digest[:6]) + "*/")}
	}
	return t.tag
}

// tagger puts a tag behind a text. Tracers see the text without it.
type tagger struct {
	tag   tag
	inner pgx.QueryRewriter // nil for none
}

var _ pgx.QueryRewriter = tagger{}

// RewriteQuery puts the tag behind what the inner rewriter makes of a text.
func (t tagger) RewriteQuery(ctx context.Context, conn *pgx.Conn, sql string, args []any) (string, []any, error) {
	if t.inner != nil {
		var err error
		if sql, args, err = t.inner.RewriteQuery(ctx, conn, sql, args); err != nil {
			return "", nil, err
		}
	}
	return sql + string(t.tag), args, nil
}
