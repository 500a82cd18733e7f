package main

import (
	"context"
	"fmt"
	"time"
)

// Status is the outcome of a check.
type Status string

// The outcomes. Only StatusFailed makes the doctor exit with 1.
const (
	StatusOK      Status = "ok"
	StatusWarning Status = "warning" // it works, but needs attention
	StatusFailed  Status = "failed"
	StatusSkipped Status = "skipped" // it cannot be checked here; the detail says why
)

// Result is what a check found. No text of it holds a secret.
type Result struct {
	Status  Status
	Detail  string   // one sentence or two, without a line end
	Notes   []string // what else is worth knowing, one thing each
	Timings *Timings // nil if nothing was timed
}

func ok(format string, args ...any) Result {
	return Result{Status: StatusOK, Detail: fmt.Sprintf(format, args...)}
}
func warning(format string, args ...any) Result {
	return Result{Status: StatusWarning, Detail: fmt.Sprintf(format, args...)}
}
func failed(format string, args ...any) Result {
	return Result{Status: StatusFailed, Detail: fmt.Sprintf(format, args...)}
}
func skipped(format string, args ...any) Result {
	return Result{Status: StatusSkipped, Detail: fmt.Sprintf(format, args...)}
}

// Timings sums up how long one thing took, each time it was done.
type Timings struct {
	What  string
	Times []time.Duration
}

// Summary returns the least, the mean and the greatest time, zeros if there is none.
func (t *Timings) Summary() (least, mean, most time.Duration) {
	if len(t.Times) == 0 {
		return 0, 0, 0
	}
	least = t.Times[0]
	var sum time.Duration
	for _, d := range t.Times {
		least, most, sum = min(least, d), max(most, d), sum+d
	}
	return least, sum / time.Duration(len(t.Times)), most
}

// check is one question that the doctor asks.
type check struct {
	id    string // stable, for programs
	title string
	needs string // the id of a check without whose success this one makes no sense, or ""
	run   func(context.Context, *patient) Result
}
