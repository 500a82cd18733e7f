package session

import (
	"context"

	"github.com/pgsafe/pgsafe/internal/ctxsettings"
)

// WithSettings returns a context whose statements run with these settings of PostgreSQL (any that
// SET takes, such as app.tenant_id or search_path), on every *sql.DB that was opened with the
// pgsafe driver:
//
//	ctx = session.WithSettings(ctx, map[string]string{"app.tenant_id": tenant})
//	rows, err := db.QueryContext(ctx, "SELECT * FROM orders") // its policies see app.tenant_id
//
// Calls add up, and of two values of one setting the inner call's holds. The map is copied.
//
// The settings go to the server in front of each statement, in the same implicit transaction, and
// end with it. That takes no round trip. Where it cannot be they are set for the session first, in
// one more round trip: for other statements than SELECT, VALUES, INSERT, UPDATE, DELETE, MERGE,
// TRUNCATE and SHOW, several statements in one text, native code, the simple protocol, and settings
// whose names begin with default_transaction_. If a setting is refused the statement does not run
// and fails with ErrSettings.
//
// Once a context has used a name, each statement of that pool gets a value for it: its own
// context's, or the session's default. So settings never reach a statement of another context,
// whatever a function, a trigger or a SET does. Use few names: each costs every statement a little.
//
// A transaction has the settings of the context that began it. A context without settings inherits
// them, and one with others fails with ErrSettings. On a *sql.Conn a context without settings
// inherits those of the statement before it (on a new one, those of DB.Conn's context, if
// database/sql opened no connection in the background for it: give every statement its context).
//
// For a setting with a dot in its name a statement without a value sees the empty string, or NULL
// before the first use of the name on its connection (guc.c, add_placeholder_variable). A policy
// that is right in both cases:
//
//	USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::int)
//
// Through a pooler that gives each transaction another session of the server's (PgBouncer) a
// statement that would need the session fails with ErrSettings outside a transaction, as does a
// text in a transaction that ends it and goes on (COMMIT AND CHAIN). With pgsafe_conn=native
// settings are refused.
func WithSettings(ctx context.Context, values map[string]string) context.Context {
	return ctxsettings.With(ctx, ctxsettings.Of(ctx).And(values))
}

// WithRole returns a context whose statements run as this role, as with SET ROLE: what is said of
// WithSettings holds for it. Of two calls the inner one's role holds. The user of the connection
// string must be a member of it. "none" is refused with ErrSettings, because it is that user.
func WithRole(ctx context.Context, role string) context.Context {
	return ctxsettings.With(ctx, ctxsettings.Of(ctx).As(role))
}
