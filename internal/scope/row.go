package scope

import (
	"context"
	"database/sql/driver"

	"github.com/pgsafe/pgsafe/internal/ctxsettings"
	"github.com/pgsafe/pgsafe/internal/serverconn"
)

// QueryRow runs a query of one row in the level.
func (l *Level) QueryRow(ctx context.Context, text string, args ...any) ([]driver.Value, error) {
	return Run(ctx, l, text, func(c *serverconn.Conn) ([]driver.Value, error) {
		return queryRow(ctx, c, ctxsettings.Of(ctx), text, args)
	})
}

// QueryRow runs a query of one row on a connection of the pool, outside sessions and transactions.
func (h *Home) QueryRow(ctx context.Context, text string, args ...any) ([]driver.Value, error) {
	c, err := h.Acquire(ctx, text, nil, 0)
	if err != nil {
		return nil, err
	}
	defer h.Pool.Release(c)
	return queryRow(ctx, c.Server.(*serverconn.Conn), nil, text, args)
}

func queryRow(
	ctx context.Context, c *serverconn.Conn, want *ctxsettings.Settings, text string, args []any,
) ([]driver.Value, error) {
	named := make([]driver.NamedValue, len(args))
	for i, a := range args {
		named[i] = driver.NamedValue{Ordinal: i + 1, Value: a}
	}
	rows, err := c.Query(ctx, want, text, named)
	if err != nil {
		return nil, err
	}
	row := make([]driver.Value, len(rows.Columns()))
	if err := rows.Next(row); err != nil {
		_ = rows.Close() // its error is the same
		return nil, c.Failed(ctx, err)
	}
	return row, c.Failed(ctx, rows.Close())
}
