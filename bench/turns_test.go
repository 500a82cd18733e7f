package bench_test

import (
	"context"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	turnTime   = 50 * time.Millisecond
	warmUpTime = 10 * time.Millisecond
	// blockRounds is how many rounds use the same connections. Which cores the server's processes
	// run on can make one connection twice as fast as another, for as long as both live.
	blockRounds = 3
)

// entrant is one way to do an operation that others do too.
type entrant struct {
	label string
	do    func(ctx context.Context) error
}

// turn is what an entrant did in one turn, for each operation. An operation's wall time is the
// turn's time divided by the operations of all goroutines.
type turn struct{ wall, cpu, allocs, bytes float64 }

// quartiles are the first quartile, the median and the third quartile of one number over all rounds.
type quartiles struct{ first, median, third float64 }

// result is what one entrant did in all its turns. rate and cpuRatio compare it with the first
// entrant: each is a quotient of two turns of the same round.
type result struct {
	label    string
	turn               // the median of each number
	rate     quartiles // operations in a second
	cpuRatio quartiles
}

// block is the lifetime of some entrants' connections.
type block struct {
	testing.TB
	cleanups []func()
}

// Cleanup has f called when the block ends.
func (b *block) Cleanup(f func()) { b.cleanups = append(b.cleanups, f) }

func (b *block) end() {
	for _, f := range slices.Backward(b.cleanups) {
		f()
	}
}

// contest gives each entrant one turn a round, in random order, and returns their results in the
// order of the entrants. Short turns spread what else the machine does over all entrants. enter
// opens the entrants' pools, anew for each block of rounds.
func contest(
	tb testing.TB, ctx context.Context, goroutines, rounds int, enter func(tb testing.TB) []entrant,
) []result {
	tb.Helper()
	var labels []string
	var turns [][]turn
	for done := 0; done < rounds; done += blockRounds {
		func() {
			block := &block{TB: tb}
			defer block.end()
			entrants := enter(block)
			if turns == nil {
				turns = make([][]turn, len(entrants))
			}
			labels = labels[:0]
			for _, e := range entrants {
				labels = append(labels, e.label)
				takeTurn(tb, ctx, goroutines, warmUpTime, e) // makes connections and prepares statements
			}
			for range min(blockRounds, rounds-done) {
				for _, i := range rand.Perm(len(entrants)) {
					turns[i] = append(turns[i], takeTurn(tb, ctx, goroutines, turnTime, entrants[i]))
				}
			}
		}()
	}
	results := make([]result, len(labels))
	for i, label := range labels {
		results[i] = compare(label, turns[i], turns[0])
	}
	return results
}

// takeTurn repeats the operation in all goroutines until the turn's time is over.
func takeTurn(tb testing.TB, ctx context.Context, goroutines int, length time.Duration, e entrant) turn {
	tb.Helper()
	runtime.GC() // the turn starts without the garbage of the one before
	var done atomic.Int64
	var wg sync.WaitGroup
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu, begin := cpuTime(), time.Now()
	for range goroutines {
		wg.Go(func() {
			for time.Since(begin) < length {
				if err := e.do(ctx); err != nil {
					tb.Errorf("%s: %v", e.label, err)
					return
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	wall := time.Since(begin)
	cpu = cpuTime() - cpu
	runtime.ReadMemStats(&after)
	if tb.Failed() {
		tb.FailNow()
	}
	n := float64(done.Load())
	return turn{
		wall: float64(wall) / n, cpu: float64(cpu) / n,
		allocs: float64(after.Mallocs-before.Mallocs) / n, bytes: float64(after.TotalAlloc-before.TotalAlloc) / n,
	}
}

func compare(label string, turns, base []turn) result {
	over := func(number func(i int) float64) quartiles {
		values := make([]float64, len(turns))
		for i := range turns {
			values[i] = number(i)
		}
		return quartilesOf(values)
	}
	return result{
		label: label,
		turn: turn{
			wall:   over(func(i int) float64 { return turns[i].wall }).median,
			cpu:    over(func(i int) float64 { return turns[i].cpu }).median,
			allocs: over(func(i int) float64 { return turns[i].allocs }).median,
			bytes:  over(func(i int) float64 { return turns[i].bytes }).median,
		},
		rate:     over(func(i int) float64 { return base[i].wall / turns[i].wall }),
		cpuRatio: over(func(i int) float64 { return turns[i].cpu / base[i].cpu }),
	}
}

func quartilesOf(values []float64) quartiles {
	slices.Sort(values)
	at := func(quarter int) float64 { return values[(len(values)-1)*quarter/4] }
	return quartiles{at(1), at(2), at(3)}
}

// report makes the results metrics of benchmarks that are named after the entrants.
func report(b *testing.B, results []result) {
	for _, r := range results {
		reportMetrics(b, r.label, map[string]float64{
			"ns/op": r.wall, "cpu-ns/op": r.cpu, "allocs/op": r.allocs, "B/op": r.bytes,
			"rate/pgx": r.rate.median, "rate-q1/pgx": r.rate.first, "rate-q3/pgx": r.rate.third,
			"cpu/pgx": r.cpuRatio.median, "cpu-q1/pgx": r.cpuRatio.first, "cpu-q3/pgx": r.cpuRatio.third,
		})
	}
}

// reportMetrics makes what was measured before the metrics of a benchmark. Nothing runs in it, so
// that entrants can take turns.
func reportMetrics(b *testing.B, driver string, metrics map[string]float64) {
	b.Run("driver="+driver, func(b *testing.B) {
		b.ReportMetric(0, "ns/op") // leaves the time of nothing out, unless metrics has a time
		for unit, value := range metrics {
			b.ReportMetric(value, unit)
		}
	})
}
