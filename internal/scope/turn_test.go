package scope_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/scope"
)

// bubble runs a test in a bubble, whose time is its own.
func bubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

func TestTurn(t *testing.T) {
	bubble(t, "the turn goes to waiters in the order of their arrival", func(t *testing.T) {
		var turn scope.Turn
		check.OK(t, turn.Take(t.Context()))
		var order []int
		for i := range 5 {
			go func() {
				check.OK(t, turn.Take(t.Context()))
				order = append(order, i)
				turn.Leave()
			}()
			synctest.Wait() // it is in the queue
		}
		turn.Leave()
		synctest.Wait()
		check.Equal(t, slices.Equal(order, []int{0, 1, 2, 3, 4}), true)
		check.Equal(t, turn.IsTaken(), false)
	})
	bubble(t, "a waiter whose context ends leaves the queue, and the next one gets the turn", func(t *testing.T) {
		var turn scope.Turn
		check.OK(t, turn.Take(t.Context()))
		ctx, cancel := context.WithCancel(t.Context())
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { first <- turn.Take(ctx) }()
		synctest.Wait()
		go func() { second <- turn.Take(t.Context()) }()
		synctest.Wait()
		cancel()
		check.Equal(t, <-first, context.Canceled)
		turn.Leave()
		check.OK(t, <-second)
		turn.Leave()
		check.Equal(t, turn.IsTaken(), false)
	})
	bubble(t, "a turn that comes while its waiter gives up is passed on", func(t *testing.T) {
		for range 1000 {
			var turn scope.Turn
			check.OK(t, turn.Take(t.Context()))
			ctx, cancel := context.WithCancel(t.Context())
			got := make(chan error, 1)
			go func() { got <- turn.Take(ctx) }()
			synctest.Wait()
			go cancel()
			go turn.Leave()
			if <-got == nil {
				turn.Leave()
			}
			synctest.Wait()
			check.Equal(t, turn.IsTaken(), false)
		}
	})
	bubble(t, "a waiter waits for a statement for as long as that runs", func(t *testing.T) {
		var turn scope.Turn
		check.OK(t, turn.Take(t.Context()))
		got := make(chan error, 1)
		go func() { got <- turn.Take(t.Context()) }()
		time.Sleep(100 * scope.Busy())
		turn.Leave()
		check.OK(t, <-got)
	})
	bubble(t, "a waiter gets ErrBusy, which names the holder, once that has done nothing for the busy timeout", func(t *testing.T) {
		var turn, inner scope.Turn
		check.OK(t, turn.Take(t.Context()))
		turn.Keep("the holder", &inner)
		began := time.Now()
		err := turn.Take(t.Context())
		check.Equal(t, errors.Is(err, scope.ErrBusy), true)
		check.Equal(t, strings.Contains(err.Error(), "the holder"), true)
		check.Equal(t, time.Since(began), scope.Busy())
		check.Equal(t, turn.IsTaken(), true)
	})
	bubble(t, "a waiter waits for a holder that does something now and then", func(t *testing.T) {
		var turn, inner scope.Turn
		check.OK(t, turn.Take(t.Context()))
		turn.Keep("the holder", &inner)
		got := make(chan error, 1)
		go func() { got <- turn.Take(t.Context()) }()
		for range 10 {
			time.Sleep(scope.Busy() / 2)
			check.OK(t, inner.Take(t.Context()))
			inner.Leave()
			turn.Touch()
		}
		last := time.Now()
		check.Equal(t, errors.Is(<-got, scope.ErrBusy), true)
		check.Equal(t, time.Since(last), scope.Busy())
	})
	bubble(t, "a waiter waits for a holder whose statement runs, two levels deep", func(t *testing.T) {
		var outer, middle, inner scope.Turn
		check.OK(t, outer.Take(t.Context()))
		outer.Keep("the middle", &middle)
		check.OK(t, middle.Take(t.Context()))
		middle.Keep("the inner", &inner)
		check.OK(t, inner.Take(t.Context())) // a statement that runs
		got := make(chan error, 1)
		go func() { got <- outer.Take(t.Context()) }()
		time.Sleep(10 * scope.Busy())
		inner.Leave()
		middle.Leave()
		outer.Leave()
		check.OK(t, <-got)
	})
	bubble(t, "an heir gets the turn before the queue does, and passes it on", func(t *testing.T) {
		var turn scope.Turn
		check.OK(t, turn.Take(t.Context()))
		got := make(chan error, 1)
		go func() { got <- turn.Take(t.Context()) }()
		synctest.Wait()
		inherited := false
		check.Equal(t, turn.Inherit(func() { inherited = true }), false)
		turn.Leave()
		synctest.Wait()
		check.Equal(t, inherited, true)
		check.Equal(t, len(got), 0)
		turn.Leave()
		check.OK(t, <-got)
		turn.Leave()
		check.Equal(t, turn.Inherit(func() { t.Error("it was called") }), true)
		turn.Leave()
		check.Equal(t, turn.IsTaken(), false)
	})
	bubble(t, "one at a time has the turn, whatever the others give up", func(t *testing.T) {
		var turn scope.Turn
		var wg sync.WaitGroup
		holders, got := 0, 0
		for i := range 200 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%7)*time.Millisecond)
				defer cancel()
				if turn.Take(ctx) != nil {
					return
				}
				holders++ // the race detector sees whether two hold it
				check.Equal(t, holders, 1)
				time.Sleep(time.Millisecond)
				holders--
				got++
				turn.Leave()
			})
		}
		wg.Wait()
		check.Equal(t, turn.IsTaken(), false)
		check.Equal(t, got > 0, true)
	})
}
