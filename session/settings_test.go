package session_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/pgsafe/pgsafe/internal/ctxsettings"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/session"
)

func TestWithSettings(t *testing.T) {
	t.Run("calls add up, and the inner one wins", func(t *testing.T) {
		ctx := session.WithSettings(t.Context(), map[string]string{"app.a": "1", "app.b": "2"})
		ctx = session.WithSettings(ctx, map[string]string{"APP.B": "3", "app.c": "4"})
		ctx = session.WithRole(session.WithRole(ctx, "outer"), "inner")
		s := ctxsettings.Of(ctx)
		check.Equal(t, fmt.Sprint(s.Names()), "[app.a app.b app.c]")
		for name, want := range map[string]string{"app.a": "1", "app.b": "3", "app.c": "4"} {
			got, _ := s.Value(name)
			check.Equal(t, got, want)
		}
		check.Equal(t, s.Role(), "inner")
		check.Equal(t, s.Check(), nil)
	})
	t.Run("the outer context keeps its own", func(t *testing.T) {
		outer := session.WithSettings(t.Context(), map[string]string{"app.a": "1"})
		_ = session.WithSettings(outer, map[string]string{"app.a": "2"})
		got, _ := ctxsettings.Of(outer).Value("app.a")
		check.Equal(t, got, "1")
	})
	t.Run("the map is copied", func(t *testing.T) {
		values := map[string]string{"app.a": "1"}
		ctx := session.WithSettings(t.Context(), values)
		values["app.a"] = "2"
		got, _ := ctxsettings.Of(ctx).Value("app.a")
		check.Equal(t, got, "1")
	})
	t.Run("a context without any has none, and looking costs nothing", func(t *testing.T) {
		session.WithRole(t.Context(), "another's")
		ctx := context.WithValue(t.Context(), session.ErrSettings, "other")
		check.Equal(t, ctxsettings.Of(ctx), nil)
		check.Equal(t, testing.AllocsPerRun(100, func() { ctxsettings.Of(ctx) }), 0)
	})
	t.Run("their text has no value in it", func(t *testing.T) {
		s := ctxsettings.Of(session.WithSettings(t.Context(), map[string]string{"app.a": "s3cret"}))
		for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
			if text := fmt.Sprintf(verb, s); strings.Contains(text, "s3cret") {
				t.Errorf("%s shows %s", verb, text)
			}
		}
	})
}

func TestRefusedSettings(t *testing.T) {
	set := func(name, value string) func(context.Context) context.Context {
		return func(ctx context.Context) context.Context {
			return session.WithSettings(ctx, map[string]string{name: value})
		}
	}
	role := func(name string) func(context.Context) context.Context {
		return func(ctx context.Context) context.Context { return session.WithRole(ctx, name) }
	}
	for what, c := range map[string]struct {
		with func(context.Context) context.Context
		says string
	}{
		"a setting without a name":         {set("", "s3cret"), "has no name"},
		"a NUL in a name":                  {set("app.\x00", "s3cret"), "NUL"},
		"a NUL in a value":                 {set("app.a", "s3cret\x00"), `"app.a"`},
		"the role":                         {set("Role", "s3cret"), "WithRole"},
		"the user":                         {set("session_authorization", "s3cret"), "WithRole"},
		"a property of the transaction":    {set("TRANSACTION_READ_ONLY", "s3cret"), "transaction"},
		"the encoding that pgx relies on":  {set("client_encoding", "s3cret"), "pgx"},
		"the strings that pgx relies on":   {set("standard_conforming_strings", "s3cret"), "pgx"},
		"a role without a name":            {role(""), "role"},
		"a role with a NUL":                {role("s3cret\x00"), "role"},
		"one below others that are fine":   {func(ctx context.Context) context.Context { return role("a")(set("", "")(set("a", "b")(ctx))) }, "no name"},
		"one that an inner call would fix": {func(ctx context.Context) context.Context { return role("a")(role("")(ctx)) }, "role"},
	} {
		t.Run(what+" is refused, without the value", func(t *testing.T) {
			err := ctxsettings.Of(c.with(t.Context())).Check()
			check.Equal(t, errors.Is(err, session.ErrSettings), true)
			if text := fmt.Sprint(err); !strings.Contains(text, c.says) || strings.Contains(text, "s3cret") {
				t.Errorf("the error is %q", text)
			}
		})
	}
}

func TestEqualSettings(t *testing.T) {
	with := func(values map[string]string) *ctxsettings.Settings {
		return ctxsettings.Of(session.WithSettings(t.Context(), values))
	}
	a := with(map[string]string{"a": "1", "b": "2"})
	for what, c := range map[string]struct {
		other *ctxsettings.Settings
		equal bool
	}{
		"the same, made anew":   {with(map[string]string{"B": "2", "a": "1"}), true},
		"another value":         {with(map[string]string{"a": "1", "b": "3"}), false},
		"one less":              {with(map[string]string{"a": "1"}), false},
		"none":                  {nil, false},
		"no settings in a call": {with(nil), false},
		"a role more":           {a.As("joe"), false},
	} {
		t.Run(what, func(t *testing.T) {
			check.Equal(t, a.Equal(c.other), c.equal)
			check.Equal(t, c.other.Equal(a), c.equal)
		})
	}
	t.Run("none of either kind", func(t *testing.T) { check.Equal(t, with(nil).Equal(nil), true) })
}
