package scope

import (
	"context"
	"time"
)

// CallSite captures the call site of the caller, as for a text that was left open before.
func CallSite() { callSite() }

// Turn is a turn, for its tests.
type Turn struct{ turn }

// Take is take.
func (t *Turn) Take(ctx context.Context) error { return t.take(ctx) }

// Leave is leave.
func (t *Turn) Leave() { t.leave() }

// Keep is keep.
func (t *Turn) Keep(holder string, inner *Turn) { t.keep(holder, inner.runs) }

// Touch is touch.
func (t *Turn) Touch() { t.touch() }

// Inherit is inherit.
func (t *Turn) Inherit(heir func()) bool { return t.inherit(heir) }

// IsTaken is isTaken.
func (t *Turn) IsTaken() bool { return t.isTaken() }

// Busy is BusyTimeout.
func Busy() time.Duration { return BusyTimeout }
