package wire_test

import (
	"io"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

// BenchmarkTap is what a Wire adds to a prepared statement: its request, and an answer of so many
// rows.
func BenchmarkTap(b *testing.B) {
	request := asked(&pgproto3.Bind{PreparedStatement: "stmtcache_0123456789abcdef0123456789abcdef"},
		&pgproto3.Execute{}, &pgproto3.Sync{})
	for name, rows := range map[string]int{"1 row": 1, "1000 rows": 1000} {
		b.Run(name, func(b *testing.B) {
			answer := said(&pgproto3.BindComplete{})
			for range rows {
				answer = append(answer, said(row(3))...)
			}
			answer = append(answer, said(complete(), &pgproto3.ReadyForQuery{TxStatus: 'I'})...)
			server := &again{text: answer}
			r, w := tapped(b, server, io.Discard)
			buf := make([]byte, 8<<10)
			query := func() {
				_, _ = w.Write(request)
				for left := len(answer); left > 0; {
					n, err := r.Read(buf)
					if err != nil {
						b.Fatal(err)
					}
					left -= n
				}
			}
			if n := testing.AllocsPerRun(10, query); n != 0 {
				b.Errorf("a statement allocates %v times", n)
			}
			b.ReportAllocs()
			b.SetBytes(int64(len(answer)))
			for b.Loop() {
				query()
			}
		})
	}
}

// again says the same again and again.
type again struct {
	text []byte
	at   int
}

func (a *again) Read(p []byte) (int, error) {
	n := copy(p, a.text[a.at:])
	a.at = (a.at + n) % len(a.text)
	return n, nil
}

func TestTheTapAllocatesNothing(t *testing.T) {
	t.Run("a prepared statement and its answer pass through a Wire without an allocation", func(t *testing.T) {
		request := asked(&pgproto3.Bind{PreparedStatement: "s"}, &pgproto3.Execute{}, &pgproto3.Sync{})
		answer := said(&pgproto3.BindComplete{}, row(3), complete(), &pgproto3.ReadyForQuery{TxStatus: 'I'})
		r, w := tapped(t, &again{text: answer}, io.Discard)
		buf := make([]byte, 8<<10)
		n := testing.AllocsPerRun(100, func() {
			_, _ = w.Write(request)
			_, _ = r.Read(buf)
		})
		check.Equal(t, n, 0)
	})
}
