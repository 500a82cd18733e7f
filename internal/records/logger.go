package records

import (
	"context"
	"log/slog"
	"sync"
)

// Default is the logger of a Connector that is given none. It asks slog.Default for each record, so
// that a logger that the application sets later gets them too.
var Default = slog.New(defaultHandler{})

// defaultHandler hands everything to slog.Default's handler.
type defaultHandler struct{}

// Enabled reports what slog.Default's handler does.
func (defaultHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return slog.Default().Enabled(ctx, level)
}

// Handle hands the record on.
func (defaultHandler) Handle(ctx context.Context, r slog.Record) error {
	return slog.Default().Handler().Handle(ctx, r)
}

// WithAttrs returns slog.Default's handler with attributes.
func (defaultHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return slog.Default().Handler().WithAttrs(attrs)
}

// WithGroup returns slog.Default's handler with a group.
func (defaultHandler) WithGroup(name string) slog.Handler {
	return slog.Default().Handler().WithGroup(name)
}

// warned are the warnings that Default has logged. There are as many as texts in the tables.
var warned sync.Map

// Warning logs what to check about a part of a connection string. Default logs each text once in
// the life of the process: layers that know drivers only open the same string for each connection.
func Warning(logger *slog.Logger, part, text string) {
	if logger == Default {
		if _, again := warned.LoadOrStore([2]string{part, text}, true); again {
			return
		}
	}
	logger.Warn("pgsafe: connection string", "part", part, "warning", text)
}
