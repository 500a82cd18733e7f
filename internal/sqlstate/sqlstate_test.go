package sqlstate_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/pgsafe/pgsafe/internal/sqlstate"
)

type serverError struct{ code string }

func (e serverError) Error() string    { return "refused" }
func (e serverError) SQLState() string { return e.code }

func TestOf(t *testing.T) {
	unique := serverError{sqlstate.UniqueViolation}
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"a server's error has its code":                 {unique, sqlstate.UniqueViolation},
		"a wrapped error has the code of its cause":     {fmt.Errorf("insert: %w", unique), sqlstate.UniqueViolation},
		"joined errors have the code of one among them": {errors.Join(errors.New("first"), unique), sqlstate.UniqueViolation},
		"an error that is not a server's has no code":   {errors.New("refused"), ""},
		"no error has no code":                          {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := sqlstate.Of(c.err); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestClass(t *testing.T) {
	for code, want := range map[string]string{
		sqlstate.AdminShutdown: sqlstate.ClassOperatorIntervention, "23": "23", "2": "", "": "",
	} {
		t.Run(fmt.Sprintf("the class of %q is %q", code, want), func(t *testing.T) {
			if got := sqlstate.Class(code); got != want {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestName(t *testing.T) {
	for code, want := range map[string]string{
		sqlstate.UniqueViolation: "unique_violation", sqlstate.TransactionTimeout: "transaction_timeout",
		"00000": "successful_completion", "MY001": "", "": "",
	} {
		t.Run(fmt.Sprintf("the condition name of %q is %q", code, want), func(t *testing.T) {
			if got := sqlstate.Name(code); got != want {
				t.Errorf("got %q", got)
			}
		})
	}
}
