package session_test

import (
	"context"
	"testing"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/session"
)

func TestSessionWithState(t *testing.T) {
	db := open(t, pgsafe.WithProfile(pgsafe.Profile{MaxConns: 3}))
	check.OK(t, session.Do(t.Context(), db, func(ctx context.Context) error {
		exec(t, ctx, db, "SET application_name = 'kept'")
		mine := backend(t, ctx, db)
		t.Run("a session keeps the connection whose settings it has changed", func(t *testing.T) {
			for range 20 {
				check.Equal(t, backend(t, ctx, db), mine)
				check.Equal(t, backend(t, t.Context(), db) == mine, false)
			}
			check.Equal(t, one[string](t, ctx, db, "SHOW application_name"), "kept")
		})
		t.Run("its transactions run on that connection", func(t *testing.T) {
			check.OK(t, session.Tx(ctx, db, nil, func(ctx context.Context) error {
				check.Equal(t, backend(t, ctx, db), mine)
				return nil
			}))
		})
		t.Run("a transaction cannot begin within one that a text has begun", func(t *testing.T) {
			exec(t, ctx, db, "BEGIN")
			isError(t, session.Tx(ctx, db, nil, func(context.Context) error { return nil }), session.ErrOptions)
			exec(t, ctx, db, "ROLLBACK")
			check.OK(t, session.Tx(ctx, db, nil, func(context.Context) error { return nil }))
		})
		return nil
	}))
	t.Run("the next user of the connection does not meet the session's settings", func(t *testing.T) {
		allBack(t, db)
		for range 3 {
			check.Equal(t, one[string](t, t.Context(), db, "SHOW application_name") == "kept", false)
		}
	})
}
