package session

import (
	"context"

	"github.com/pgsafe/pgsafe/internal/ctxsettings"
)

// WithSettings returns a context whose statements run with these settings of PostgreSQL (any that SET takes, such as
// app.tenant_id or search_path), on every *sql.DB that was opened with the pgsafe driver:
//
//	ctx = session.WithSettings(ctx, map[string]string{"app.tenant_id": tenant})
//	rows, err := db.QueryContext(ctx, "SELECT * FROM orders") // its policies see app.tenant_id
//
// Calls add up, and of two values of one setting the inner call's holds. The map is copied.
//
// A connection gets them before its first statement in that context, in one round trip, and only if it carries others.
// Nobody else can meet them: a statement whose context has no settings runs without any, except within a transaction
// or on a *sql.Conn, where it runs with those of the statement before it (on a new *sql.Conn with those of DB.Conn's
// context, if database/sql opened no connection in the background for it: give every statement its context). Within a
// transaction they cannot change: a statement with others fails with ErrSettings, as do all statements if a setting
// is refused, and the statement does not run.
//
// On a connection that has carried it before, a setting of one's own is not NULL afterwards but the empty string (guc.c,
// add_placeholder_variable). A policy that is right in both cases:
//
//	USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::int)
//
// Through a pooler that gives each transaction another session of the server's (PgBouncer) they hold in transactions
// only: begin one with the context. A statement outside of one fails with ErrSettings. With pgsafe_conn=native they are
// refused.
func WithSettings(ctx context.Context, values map[string]string) context.Context {
	return ctxsettings.With(ctx, ctxsettings.Of(ctx).And(values))
}

// WithRole returns a context whose statements run as this role, as with SET ROLE: what is said of WithSettings holds
// for it. Of two calls the inner one's role holds. The user of the connection string must be a member of it.
func WithRole(ctx context.Context, role string) context.Context {
	return ctxsettings.With(ctx, ctxsettings.Of(ctx).As(role))
}
