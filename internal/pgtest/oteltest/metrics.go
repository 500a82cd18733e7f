package oteltest

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// Metrics collects all metrics, by name.
func (r *Recorder) Metrics() map[string]metricdata.Metrics {
	r.t.Helper()
	var all metricdata.ResourceMetrics
	if err := r.reader.Collect(context.Background(), &all); err != nil {
		r.t.Fatal(err)
	}
	found := map[string]metricdata.Metrics{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			found[m.Name] = m
		}
	}
	return found
}

// Sum returns the present value of a counter or an updowncounter, of the first data point that has
// all attributes in where. Without such a data point it is 0.
func (r *Recorder) Sum(name string, where ...attribute.KeyValue) int64 {
	r.t.Helper()
	data, ok := r.Metrics()[name].Data.(metricdata.Sum[int64])
	if !ok {
		r.t.Fatalf("%s is not a sum", name)
	}
	for _, p := range data.DataPoints {
		fits := true
		for _, want := range where {
			got, _ := p.Attributes.Value(want.Key)
			fits = fits && got == want.Value
		}
		if fits {
			return p.Value
		}
	}
	return 0
}

// Count returns the number of measurements of a histogram of times.
func (r *Recorder) Count(name string) uint64 {
	r.t.Helper()
	data, ok := r.Metrics()[name].Data.(metricdata.Histogram[float64])
	if !ok {
		r.t.Fatalf("%s is not a histogram of times", name)
	}
	var n uint64
	for _, p := range data.DataPoints {
		n += p.Count
	}
	return n
}

// Dump writes all measurements without times, one per line.
func (r *Recorder) Dump() string {
	r.t.Helper()
	var lines []string
	line := func(name, unit string, set attribute.Set, value string) {
		var where []string
		for _, a := range set.ToSlice() {
			where = append(where, string(a.Key)+"="+normal(a))
		}
		lines = append(lines, fmt.Sprintf("%s %s %s {%s}\n", name, value, unit, strings.Join(where, " ")))
	}
	for name, m := range r.Metrics() {
		switch data := m.Data.(type) {
		case metricdata.Histogram[float64]:
			for _, p := range data.DataPoints {
				line(name, m.Unit, p.Attributes, fmt.Sprintf("count=%d", p.Count))
			}
		case metricdata.Histogram[int64]:
			for _, p := range data.DataPoints {
				line(name, m.Unit, p.Attributes, fmt.Sprintf("count=%d sum=%d", p.Count, p.Sum))
			}
		case metricdata.Sum[int64]:
			for _, p := range data.DataPoints {
				line(name, m.Unit, p.Attributes, fmt.Sprint(p.Value))
			}
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}
