package session

import (
	"context"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
)

// suspects are texts of queries whose rows were left open when nobody watched them. From then on somebody does, to find the
// line. The zero value is empty.
type suspects struct {
	mu    sync.Mutex // guards replacing texts
	texts atomic.Pointer[map[string]bool]
}

// maxSuspects bounds the texts.
const maxSuspects = 64

// has costs no lock, and next to nothing while nothing was left open.
func (s *suspects) has(text string) bool {
	texts := s.texts.Load()
	return texts != nil && (*texts)[text]
}

func (s *suspects) add(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	texts := map[string]bool{}
	if before := s.texts.Load(); before != nil {
		texts = maps.Clone(*before)
	}
	if len(texts) < maxSuspects {
		texts[strings.Clone(text)] = true // it may be a part of a longer string
		s.texts.Store(&texts)
	}
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
