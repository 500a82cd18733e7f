package session

import (
	"context"
	"strings"
)

// suspects are texts of queries whose rows were left open when nobody watched them. From then on somebody does, to find the
// line.
type suspects struct{ texts memo[string, bool] }

// maxSuspects bounds the texts.
const maxSuspects = 64

// has costs next to nothing while nothing was left open.
func (s *suspects) has(text string) bool {
	_, is := s.texts.get(text)
	return is
}

func (s *suspects) add(text string) {
	s.texts.add(strings.Clone(text), true, maxSuspects) // it may be a part of a longer string
}

// CutOff is called by pgsafe's driver, which finds it as the cause of ctx, for the rows of a query that the session's end has
// closed. Those that are watched the session has told already.
func (e *endedSession) CutOff(ctx context.Context, query string) {
	if ctx.Value(watchedKey{}) != nil {
		return
	}
	db := (*session)(e).db
	db.suspects.add(query)
	db.told.cutOff(db.summary(query))
}
