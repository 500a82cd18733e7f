// Package ctxsettings is what a context asks of the connection that its statements run on: package
// session puts it there, and package pgsafe applies it to a connection.
package ctxsettings

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
)

// Err is session.ErrSettings.
var Err = errors.New("the settings of the context could not be applied")

// Settings are settings and a role for a connection. They do not change once made; nil are none.
// They are safe for concurrent use.
type Settings struct {
	values *values
	role   string   // "" for none
	names  []string // the names of values, sorted
	err    error    // why they can never be applied
}

// values are the values by name, in lower case. They lie behind a pointer: fmt follows one pointer
// at most within a struct (print.go, badVerb), and a struct may hold a *Settings.
type values struct{ byName map[string]string }

type key struct{}

// inUse is true once a context of the process has settings. Until then no context is searched: that
// takes time in proportion to its depth, and an allocation if it was made by WithoutCancel
// (context.go, withoutCancelCtx.Value).
var inUse atomic.Bool

// Of returns what ctx asks for, nil if that is nothing.
func Of(ctx context.Context) *Settings {
	if !inUse.Load() {
		return nil
	}
	s, _ := ctx.Value(key{}).(*Settings)
	return s
}

// With returns a context that asks for s.
func With(ctx context.Context, s *Settings) context.Context {
	inUse.Store(true)
	return context.WithValue(ctx, key{}, s)
}

// And returns s with further values, which outrank its own.
func (s *Settings) And(more map[string]string) *Settings {
	sum := s.clone()
	for _, name := range slices.Sorted(maps.Keys(more)) {
		if err := check(name, more[name]); err != nil && sum.err == nil {
			sum.err = err
		}
		sum.values.byName[fold(name)] = more[name]
	}
	sum.names = slices.Sorted(maps.Keys(sum.values.byName))
	return sum
}

// As returns s with another role.
func (s *Settings) As(role string) *Settings {
	sum := s.clone()
	sum.role = role
	if err := checkRole(role); err != nil && sum.err == nil {
		sum.err = err
	}
	return sum
}

// checkRole refuses a role. "none" is the user of the connection (variable.c, check_role), and may
// do more than the role that was meant.
func checkRole(role string) error {
	switch {
	case strings.TrimSpace(role) == "" || strings.Contains(role, "\x00"):
		return fmt.Errorf("%w: the role has no name, or a NUL in it", Err)
	case strings.EqualFold(strings.TrimSpace(role), "none"):
		return fmt.Errorf("%w: the role \"none\" is the user of the connection", Err)
	}
	return nil
}

func (s *Settings) clone() *Settings {
	if s == nil {
		return &Settings{values: &values{make(map[string]string)}}
	}
	sum := *s
	sum.values = &values{maps.Clone(s.values.byName)}
	return &sum
}

// fold is how PostgreSQL compares names of settings (guc.c, guc_name_compare).
func fold(name string) string {
	return strings.Map(func(c rune) rune {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		return c
	}, name)
}

// refused are settings that do not stay set as others do, or that the driver relies on.
var refused = map[string]string{
	"role":                        "use WithRole",
	"session_authorization":       "use WithRole",
	"transaction_isolation":       "it is the transaction's own",
	"transaction_read_only":       "it is the transaction's own",
	"transaction_deferrable":      "it is the transaction's own",
	"client_encoding":             "pgx relies on UTF8",
	"standard_conforming_strings": "pgx relies on it",
}

// check refuses a setting, without its value in the error.
func check(name, value string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: a setting has no name", Err)
	case strings.Contains(name, "\x00"):
		return fmt.Errorf("%w: the name of a setting has a NUL in it", Err)
	case strings.Contains(value, "\x00"):
		return fmt.Errorf("%w: the value of %q has a NUL in it", Err, name)
	case refused[fold(name)] != "":
		return fmt.Errorf("%w: %q cannot be set by the context: %s", Err, name, refused[fold(name)])
	}
	return nil
}

// Check returns why the settings can never be applied, errors.Is Err. It is nil for none.
func (s *Settings) Check() error {
	if s == nil {
		return nil
	}
	return s.err
}

// Equal reports whether both ask for the same.
func (s *Settings) Equal(other *Settings) bool {
	if s.Empty() || other.Empty() {
		return s.Empty() && other.Empty()
	}
	return s == other || s.role == other.role && maps.Equal(s.values.byName, other.values.byName)
}

// Empty reports whether there are none.
func (s *Settings) Empty() bool { return s == nil || s.role == "" && len(s.names) == 0 }

// Role returns the role, "" if there is none.
func (s *Settings) Role() string {
	if s == nil {
		return ""
	}
	return s.role
}

// Names returns the names of the settings, sorted. The caller must not change it.
func (s *Settings) Names() []string {
	if s == nil {
		return nil
	}
	return s.names
}

// Value returns the value of a setting, and whether there is one.
func (s *Settings) Value(name string) (value string, ok bool) {
	if s == nil {
		return "", false
	}
	value, ok = s.values.byName[name]
	return value, ok
}

// String tells the names, and no value.
func (s *Settings) String() string { return "settings(" + strings.Join(s.Names(), ", ") + ")" }

// GoString is String, so that %#v shows no value either.
func (s *Settings) GoString() string { return s.String() }
