package serverconn

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/pgsafe/pgsafe/internal/ctxsettings"
)

// InUse holds the names of settings that contexts have used on the connections of one pool. Once a
// name is in use, each statement runs with a value for it: its context's, or the session's default.
// Without that a function that runs set_config(..., false) could lend one tenant's value to a
// context without settings. It is safe for concurrent use.
//
// A name is in use once a server has accepted it. Others would fail every statement.
type InUse struct {
	mu    sync.Mutex // guards replacing names
	names atomic.Pointer[names]
}

// names does not change once made; nil are none.
type names struct {
	list  []string // sorted
	role  bool     // a context has used a role
	early bool     // one of them counts when a transaction begins
}

// get returns the names in use. It costs one atomic load.
func (u *InUse) get() *names { return u.names.Load() }

// add notes that a server has accepted the settings.
func (u *InUse) add(s *ctxsettings.Settings) {
	if s.Empty() || u.get().covers(s) {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	var sum names
	if old := u.get(); old != nil {
		sum = *old
	}
	sum.list = slices.Concat(sum.list, s.Names())
	slices.Sort(sum.list)
	sum.list = slices.Compact(sum.list)
	sum.role = sum.role || s.Role() != ""
	sum.early = slices.ContainsFunc(sum.list, isEarly)
	u.names.Store(&sum)
}

// isEarly reports whether a setting counts when a transaction begins: it is too late for one that
// is under way (xact.c, StartTransaction).
func isEarly(name string) bool { return strings.HasPrefix(name, "default_transaction_") }

// covers reports whether all of the settings are in use.
func (n *names) covers(s *ctxsettings.Settings) bool {
	if n == nil {
		return s.Empty()
	}
	for _, name := range s.Names() {
		if _, found := slices.BinarySearch(n.list, name); !found {
			return false
		}
	}
	return n.role || s.Role() == ""
}

// all returns the names, sorted. The caller must not change it.
func (n *names) all() []string {
	if n == nil {
		return nil
	}
	return n.list
}

// hasRole reports whether a role is in use.
func (n *names) hasRole() bool { return n != nil && n.role }

// hasEarly reports whether a setting is in use that counts when a transaction begins.
func (n *names) hasEarly() bool { return n != nil && n.early }
