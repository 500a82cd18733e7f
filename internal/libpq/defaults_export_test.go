package libpq

import (
	"os/user"
	"testing"
)

// SetCurrentUser makes the system name another account, or none, for the rest of the test.
func SetCurrentUser(t *testing.T, named func() (*user.User, error)) {
	before := currentUser
	currentUser = named
	t.Cleanup(func() { currentUser = before })
}
