package sqltext_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/pgsafe/pgsafe/internal/sqltext"
)

func TestCacheKeepsItsLimitAndTextsInUse(t *testing.T) {
	for _, limit := range []int{-1, 1, 2, 31, 32, 1000, 4096} {
		t.Run(fmt.Sprintf("a cache with the limit %d keeps a text in use", limit), func(t *testing.T) {
			const hot = "SELECT hot"
			reads := 0
			c := sqltext.NewCache(limit, func(sql string) *string {
				if sql == hot {
					reads++
				}
				return &sql
			})
			for i := range 100_000 {
				sql := fmt.Sprintf("SELECT %d", i)
				if got := *c.Get(sql); got != sql {
					t.Fatalf("Get(%q) is what was made of %q", sql, got)
				}
				c.Get(hot)
			}
			if n := c.Len(); n > max(1, limit) {
				t.Errorf("it keeps %d texts", n)
			}
			// A single entry, or two with one text in between, keeps no text in use.
			if limit > 2 && reads > 1 {
				t.Errorf("a text in use was made %d times", reads)
			}
		})
	}
}

func TestCacheKeepsAFullSetOfTextsInUse(t *testing.T) {
	made := 0
	c := sqltext.NewCache(1024, func(string) int { made++; return made })
	for range 10 {
		for i := range 400 {
			c.Get(fmt.Sprint("SELECT ", i))
		}
	}
	if made != 400 {
		t.Errorf("400 texts were made %d times in a cache with room for 1024", made)
	}
}

func TestCacheReturnsTheSameValueToAllCallers(t *testing.T) {
	var made atomic.Int64
	c := sqltext.NewCache(100, func(sql string) *string { made.Add(1); return &sql })
	const readers, texts = 8, 50
	got := make([][texts]*string, readers)
	var wg sync.WaitGroup
	for r := range readers {
		wg.Go(func() {
			for i := range texts {
				got[r][i] = c.Get(fmt.Sprint("SELECT ", i))
			}
		})
	}
	wg.Wait()
	for r := range readers {
		if got[r] != got[0] {
			t.Fatal("two readers got different values of one text")
		}
	}
	if n := made.Load(); n < texts {
		t.Errorf("%d values were made of %d texts", n, texts)
	}
}

func TestTheFirstValueOfATextWins(t *testing.T) {
	var calls atomic.Int64
	both := make(chan struct{})
	c := sqltext.NewCache(100, func(sql string) *string {
		if calls.Add(1) == 2 {
			close(both)
		}
		<-both
		return &sql
	})
	got := make(chan *string)
	for range 2 {
		go func() { got <- c.Get("SELECT 1") }()
	}
	if a, b := <-got, <-got; a != b {
		t.Error("two that asked at once got different values")
	}
}

func TestCacheKeepsNoMoreThanItsKeys(t *testing.T) {
	t.Run("a text that is part of a longer one is copied", func(t *testing.T) {
		long := strings.Repeat("SELECT 1 ", 10_000)
		kept := sqltext.NewCache(10, func(sql string) string { return sql }).Get(long[9:18])
		if unsafe.StringData(kept) == unsafe.StringData(long[9:]) {
			t.Error("the longer one is kept")
		}
	})
	t.Run("the part of a long text that is read is kept", func(t *testing.T) {
		var made []int
		c := sqltext.NewCache(10, func(sql string) int { made = append(made, len(sql)); return 0 })
		for _, n := range []int{16 << 10, 16<<10 + 1, 1 << 20} {
			c.Get(strings.Repeat("x", n))
		}
		if !slices.Equal(made, []int{16 << 10, 16<<10 + 1}) {
			t.Errorf("values were made of %v", made)
		}
	})
	t.Run("the cache keeps few long texts, and none replaces a text in use", func(t *testing.T) {
		made := 0
		c := sqltext.NewCache(64, func(string) int { made++; return 0 })
		for i := range 1000 {
			c.Get("SELECT 1")
			c.Get(fmt.Sprint(i) + strings.Repeat("x", 16<<10))
		}
		if made != 1001 || c.Len() > 9 {
			t.Errorf("%d values were made and %d texts kept", made, c.Len())
		}
	})
}

func TestACacheHitAllocatesNothing(t *testing.T) {
	c := sqltext.NewCache(10, sqltext.Read)
	const sql = "SELECT * FROM users WHERE id = $1"
	c.Get(sql)
	if n := testing.AllocsPerRun(100, func() { c.Get(sql) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
