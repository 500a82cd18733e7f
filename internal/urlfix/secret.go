package urlfix

import (
	"fmt"
	"io"
	"log/slog"
)

// redacted is what a set Secret shows to whoever does not ask for it by name.
const redacted = "[redacted]"

// Secret is a text that shows itself only through Reveal. Printed in any way (fmt with any verb,
// slog, JSON, text encoding) it is "[redacted]", or "" when it is not set. The zero value is not
// set.
//
// The text lies behind a pointer, so that fmt shows an address even where it cannot call methods:
// in an unexported field of another struct.
type Secret struct {
	text *string
}

// NewSecret returns a Secret that reveals text. The empty text is a Secret that is not set.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{text: &text}
}

// Reveal returns the text itself.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsSet reports whether there is a text.
func (s Secret) IsSet() bool { return s.text != nil }

// String returns "[redacted]", or "" when s is not set.
func (s Secret) String() string {
	if s.text == nil {
		return ""
	}
	return redacted
}

// GoString is String: %#v shows no more than %v.
func (s Secret) GoString() string { return s.String() }

// Format writes String for every verb, since %x or %d would otherwise look inside.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText implements encoding.TextMarshaler.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON implements json.Marshaler.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + s.String() + `"`), nil }
