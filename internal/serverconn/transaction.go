package serverconn

import (
	"context"
	"time"

	"github.com/pgsafe/pgsafe/internal/canceler"
	"github.com/pgsafe/pgsafe/internal/socket"
	"github.com/pgsafe/pgsafe/internal/sqltext"
)

// Busy reports whether the answer to a statement is not read to its end.
func (c *Conn) Busy() bool { return c.pgx.PgConn().IsBusy() }

// AtWork reports whether the server owes the answer to a statement. It may be called at any time.
func (c *Conn) AtWork() bool { return c.wire.Owes() }

// Idle reports whether the server owes no answer, and nothing is being sent. It is false if that is not
// known. It may be called at any time.
func (c *Conn) Idle() bool { return c.wire.Idle() }

// Aborted reports whether a statement has failed in the transaction, so that COMMIT will roll back.
func (c *Conn) Aborted() bool { return c.pgx.PgConn().TxStatus() == 'E' }

// HasEffects reports whether statements have left session state that their session may need, and the
// connection can still have it.
func (c *Conn) HasEffects() bool {
	return !c.facts.Nameless && c.session.effects != 0 && c.reusable()
}

// Summary is what messages call a statement, without its literals.
func (c *Conn) Summary(text string) string { return sqltext.Read(text).Summary }

// Turned reports whether the last statement has committed a transaction, or begun one.
func (c *Conn) Turned() bool { return c.wire.Turned() }

// Controls reports whether a text begins or ends a transaction. Savepoints do not.
func (c *Conn) Controls(text string) bool { return c.config.Shapes.of(text).controls }

// Control runs a statement that controls the transaction, such as SAVEPOINT, under the settings that
// the transaction has.
func (c *Conn) Control(ctx context.Context, text string) error {
	if err := c.ready(); err != nil {
		return err
	}
	_, err := c.pgx.Exec(ctx, text)
	return c.Failed(ctx, err)
}

// Cut ends what runs on the connection, and the connection. It may be called at any time.
func (c *Conn) Cut() { _ = c.pgx.PgConn().Conn().Close() } // it is gone either way

// listen reads what the server has said since the last statement. A session that is over closes here:
// a COMMIT that is sent to it would have an unknown outcome.
func (c *Conn) listen(ctx context.Context) {
	switch c.socket.Peek() {
	case socket.Closed:
		c.Close()
		return
	case socket.Waiting:
	default:
		return
	}
	within, cancel := context.WithTimeout(canceler.Patient(context.WithoutCancel(ctx), 0), c.config.PingTimeout)
	defer cancel()
	started := time.Now()
	err := c.pgx.Ping(within)
	c.config.Tracer.Pinged(c.pgx, started)
	if err != nil {
		c.cause = err
		c.Close()
	}
}
