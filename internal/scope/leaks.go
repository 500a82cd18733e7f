package scope

import (
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pgsafe/pgsafe/internal/ratelog"
	"github.com/pgsafe/pgsafe/internal/sqltext"
)

// leaks remembers the texts whose rows, transactions or connections were left open. When such a text
// runs again its call site is captured, so that the next report has it. The capture walks the call
// stack. Below ten frames that costs a twentieth of a quick query, and below forty a quarter of it
// (BenchmarkCallSite), so no other text pays for it. The zero value is ready to use.
type leaks struct {
	any   atomic.Bool
	mu    sync.RWMutex
	texts map[string]*ratelog.Limiter // of the records about each text, from the second one on
	rest  ratelog.Limiter             // of the records about texts that are not remembered
}

// maxLeaks bounds the texts that are remembered.
const maxLeaks = 256

// site is a call site of the application, as a return address. Zero is unknown.
type site uintptr

// siteDepth is how far the call stack is searched: the mapper's frames lie between the application
// and database/sql.
const siteDepth = 48

// site returns the call site of a text that was left open before.
func (l *leaks) site(text string) site {
	if !l.any.Load() || !l.known(text) {
		return 0
	}
	return callSite()
}

func (l *leaks) known(text string) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	_, known := l.texts[text]
	return known
}

// allow remembers a text, and reports whether a record about it may be written: the first one, the
// first with a call site, and then as a Limiter allows. skipped is how many were left out before.
func (l *leaks) allow(text string) (skipped int64, ok bool) {
	l.any.Store(true)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.texts == nil {
		l.texts = make(map[string]*ratelog.Limiter)
	}
	limiter, known := l.texts[text]
	switch {
	case known:
	case len(l.texts) < maxLeaks:
		l.texts[text] = new(ratelog.Limiter)
		return 0, true
	default:
		limiter = &l.rest
	}
	return limiter.Allow(time.Now())
}

// callSite returns the first frame of the application: the first outside pgsafe, database/sql and
// modules that were downloaded, such as mappers.
func callSite() site {
	var pcs [siteDepth]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for {
		frame, more := frames.Next()
		if isApplication(frame) {
			return site(frame.PC + 1) // as in a list of callers, whose frames are looked up at PC-1
		}
		if !more {
			return 0
		}
	}
}

// below are the prefixes of functions between the application and the call stack's top.
var below = []string{
	"runtime.", "database/sql.",
	"github.com/pgsafe/pgsafe.", "github.com/pgsafe/pgsafe/session.", "github.com/pgsafe/pgsafe/internal/",
}

func isApplication(f runtime.Frame) bool {
	for _, prefix := range below {
		if strings.HasPrefix(f.Function, prefix) {
			return false
		}
	}
	// A module's folder has its version in its name, with -trimpath too.
	return !strings.Contains(f.File, "@v") && !strings.Contains(f.File, "/vendor/")
}

// frame looks the call site up.
func (s site) frame() runtime.Frame {
	frame, _ := runtime.CallersFrames([]uintptr{uintptr(s)}).Next()
	return frame
}

// leftOpen reports what was left open: on the session's span, in the metrics and in the log.
func (h *Home) leftOpen(s *Session, kind Left, text string, at site) {
	summary := sqltext.Read(text).Summary
	attrs := []any{slog.Any("pool", h.LogPool), slog.String("what", kind.String()), slog.String("statement", summary)}
	var file string
	var line int
	if at != 0 {
		frame := at.frame()
		file, line = frame.File, frame.Line
		attrs = append(attrs, slog.String("opened", place(file, line)))
	}
	if s != nil {
		s.telling.LeftOpen(kind.String(), summary, file, line)
	} else {
		h.Tracer.LeftOpen(kind.String())
	}
	if skipped, ok := h.leaks.allow(text); ok {
		attrs = append(attrs, slog.Int64("more", skipped))
		h.Logger.Warn("pgsafe: left open at the end of its session or transaction, and closed now", attrs...)
	}
}
