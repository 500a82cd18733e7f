package pgtest_test

import (
	"testing"

	"github.com/pgsafe/pgsafe/internal/pgtest"
)

func TestShows(t *testing.T) {
	for _, c := range []struct {
		name, text, secret string
		want               bool
	}{
		{"four characters in a row are shown", "xx268[yy", "y5268[69", true},
		{"the first and the last four characters are shown", "y526 8[69", "y5268[69", true},
		{"three characters in a row are not shown", "y52 68[", "y5268[69", false},
		{"four digits may belong to a port", "127.0.0.1:45268", "y5268[69", false},
		{"a short secret has no four characters to show", "abc", "abc", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := pgtest.Shows(c.text, c.secret); got != c.want {
				t.Errorf("%q shows %q: got %v", c.text, c.secret, got)
			}
		})
	}
}
