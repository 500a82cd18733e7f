package main

import (
	"encoding/json"
	"io"
	"math"
	"time"
)

// Report is what the doctor found, as --json tells it. It holds no secret.
type Report struct {
	Status   Status        `json:"status"` // the worst of the checks; skipped ones do not count
	Dialect  string        `json:"dialect,omitempty"`
	URI      string        `json:"uri"`
	Embedded bool          `json:"embedded"`
	Source   string        `json:"source"` // where the string came from
	Seconds  float64       `json:"seconds"`
	Count    count         `json:"count"`
	Checks   []reportCheck `json:"checks"`
}

type reportCheck struct {
	ID      string         `json:"id"`
	Title   string         `json:"title"`
	Status  Status         `json:"status"`
	Detail  string         `json:"detail"`
	Notes   []string       `json:"notes,omitempty"`
	Seconds float64        `json:"seconds"`
	Timings *reportTimings `json:"timings,omitempty"`
}

type reportTimings struct {
	What  string  `json:"what"`
	Count int     `json:"count"`
	Min   float64 `json:"min_ms"`
	Mean  float64 `json:"mean_ms"`
	Max   float64 `json:"max_ms"`

	least, mean, most time.Duration
}

func newReport() *Report { return &Report{Status: StatusOK} }

func (r *Report) add(c check, res Result, took time.Duration) {
	rc := reportCheck{
		ID: c.id, Title: c.title, Status: res.Status, Detail: printable(res.Detail), Seconds: rounded(took, time.Second),
	}
	for _, n := range res.Notes {
		rc.Notes = append(rc.Notes, printable(n))
	}
	if res.Timings != nil && len(res.Timings.Times) > 0 {
		least, mean, most := res.Timings.Summary()
		rc.Timings = &reportTimings{
			What: res.Timings.What, Count: len(res.Timings.Times),
			Min: rounded(least, time.Millisecond), Mean: rounded(mean, time.Millisecond), Max: rounded(most, time.Millisecond),
			least: least, mean: mean, most: most,
		}
	}
	r.Checks = append(r.Checks, rc)
	switch res.Status {
	case StatusOK:
		r.Count.OK++
	case StatusWarning:
		r.Count.Warning++
		if r.Status == StatusOK {
			r.Status = StatusWarning
		}
	case StatusFailed:
		r.Count.Failed++
		r.Status = StatusFailed
	case StatusSkipped:
		r.Count.Skipped++
	}
}

// rounded is d in units, with three decimals.
func rounded(d, unit time.Duration) float64 {
	return math.Round(1000*float64(d)/float64(unit)) / 1000
}

func (r *Report) writeJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(r)
}
