package session

import (
	"errors"

	"github.com/pgsafe/pgsafe/internal/ctxsettings"
	"github.com/pgsafe/pgsafe/internal/scope"
	"github.com/pgsafe/pgsafe/internal/serverconn"
)

// The errors of this package, and of statements within a session or a transaction. They are returned
// wrapped, with their cause: use errors.Is.
var (
	// ErrEnded is the error of a statement whose context belongs to a transaction that is over. It is
	// context.Canceled too. Work that outlives the transaction needs Detach.
	ErrEnded = scope.ErrEnded

	// ErrBusy is the error of a statement when something else keeps the transaction's connection: a
	// nested transaction, or native code, that has done nothing for five seconds; or open rows of more
	// than 16 MiB. An argument whose Value runs a statement with the same context gets it too, after ten
	// seconds at most: the statement waits for the one that it is an argument of.
	ErrBusy = scope.ErrBusy

	// ErrLost is the error of statements in a transaction whose connection broke, or that a statement
	// has ended. The transaction is not committed, unless that statement was a COMMIT which its text did
	// not show. In a session with session state it means that the state is gone.
	ErrLost = scope.ErrLost

	// ErrRolledBack is the error of Tx whose function returned nil, when the transaction could not be
	// committed: a statement had failed and its error was dropped, or a nested transaction was left
	// open. The cause is wrapped too.
	ErrRolledBack = scope.ErrRolledBack

	// ErrCommitUnknown is the error of Tx, and of sql.Tx.Commit, when the connection broke after COMMIT
	// was sent and before its answer came: the transaction may be committed. Such a transaction is never
	// run again. See TxOptions.CommitCheck.
	ErrCommitUnknown = serverconn.ErrCommitUnknown

	// ErrOptions is the error of what is not possible within a transaction: a nested one with a higher
	// isolation level than the outer one has, and a text such as COMMIT.
	ErrOptions = scope.ErrOptions

	// ErrSettings is the error of a statement that did not run because the settings or the role of its
	// context could not be applied: this package or the server refuses a name or a value, or they differ
	// from the settings of the transaction under way. No value of a setting is in the error.
	ErrSettings = ctxsettings.Err

	// ErrForeign is the error of Do and Tx for a *sql.DB that is not of the pgsafe driver, that has
	// native connections (WithNativeConn), or whose Connector a layer hides: see DoOn and TxOn.
	ErrForeign = errors.New("session: the *sql.DB is not of the pgsafe driver, has native connections, " +
		"or a layer hides its Connector (then use DoOn, TxOn)")
)
