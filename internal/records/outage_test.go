package records_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsafe/pgsafe/internal/failure"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/records"
)

// pool is what records call the pool.
type pool struct{}

func (pool) LogValue() slog.Value { return slog.StringValue("orders") }

// fixture is Records with their log.
type fixture struct {
	*records.Records
	log bytes.Buffer
}

func newFixture() *fixture {
	f := &fixture{}
	f.Records = &records.Records{Logger: slog.New(slog.NewTextHandler(&f.log, nil)), Pool: pool{}}
	return f
}

var errRefused = errors.Join(errors.New("password=s3cret"), syscall.ECONNREFUSED)

// fail has a number of dials fail.
func (f *fixture) fail(n int) {
	for range n {
		f.Dialed(context.Background(), errRefused, failure.DialReason(errRefused))
	}
}

func (f *fixture) succeed() { f.Dialed(context.Background(), nil, "") }

// messages returns the messages that were logged since the last call.
func (f *fixture) messages() (all []string) {
	for line := range strings.Lines(f.log.String()) {
		_, after, _ := strings.Cut(line, `msg="`)
		message, _, _ := strings.Cut(after, `"`)
		all = append(all, message)
	}
	f.log.Reset()
	return all
}

func TestOutages(t *testing.T) {
	bubble := func(name string, f func(*testing.T, *fixture)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { f(t, newFixture()) })
		})
	}
	const begin = "pgsafe: unreachable since 2000-01-01T00:00:00Z, "
	bubble("an outage is logged at once, then every ten seconds, and at its end with the callers that failed",
		func(t *testing.T, f *fixture) {
			f.fail(1)
			check.Equal(t, strings.Join(f.messages(), "|"), begin+"1 dials failed: refused")
			for range 19 {
				time.Sleep(time.Second)
				f.fail(1)
				f.Unserved()
			}
			check.Equal(t, strings.Join(f.messages(), "|"), begin+"11 dials failed: refused")
			time.Sleep(time.Second)
			f.fail(1)
			check.Equal(t, strings.Join(f.messages(), "|"), begin+"21 dials failed: refused")
			f.succeed()
			check.Equal(t, strings.Join(f.messages(), "|"), "pgsafe: the server is back after 20s, 19 callers failed meanwhile")
		})
	bubble("a second outage counts anew", func(t *testing.T, f *fixture) {
		f.fail(3)
		f.Unserved()
		f.succeed()
		f.messages()
		f.Unserved() // of a pool that is full
		time.Sleep(time.Minute)
		f.fail(1)
		f.succeed()
		check.Equal(t, strings.Join(f.messages(), "|"),
			"pgsafe: unreachable since 2000-01-01T00:01:00Z, 1 dials failed: refused|"+
				"pgsafe: the server is back after 0s, 0 callers failed meanwhile")
	})
	bubble("outages in a storm of short ones are logged every ten seconds", func(t *testing.T, f *fixture) {
		for range 100 {
			f.fail(1)
			f.succeed()
		}
		check.Equal(t, len(f.messages()), 2)
	})
	bubble("a dial that was cancelled is no outage", func(t *testing.T, f *fixture) {
		f.Dialed(context.Background(), context.Canceled, failure.ReasonOther)
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		f.Dialed(ended, errRefused, failure.ReasonRefused)
		f.succeed()
		check.Equal(t, len(f.messages()), 0)
	})
	bubble("a record has the pool and the reason, and not the error", func(t *testing.T, f *fixture) {
		f.fail(1)
		line := f.log.String()
		for _, want := range []string{"level=WARN", "pool=orders", "dials=1", "reason=refused", "callers=0"} {
			check.Equal(t, strings.Contains(line, want), true)
		}
		check.Equal(t, strings.Contains(line, "s3cret"), false)
	})
}
