package sqltext

// State is a set of effects: what a statement leaves in its session when its transaction is over.
//
// Only the words of a text count. A function that has such effects by itself leaves no trace in it.
type State uint16

// The effects. Unknown also stands for whatever else has no effect of its own: see Whole.
const (
	Settings    State = 1 << iota // SET, RESET, set_config(..., false), UPDATE pg_settings: any setting, so the role too
	Role                          // SET ROLE, SET SESSION AUTHORIZATION
	Listening                     // LISTEN
	Temporary                     // CREATE TEMP, SELECT INTO TEMP, a name in pg_temp; not with ON COMMIT DROP
	Locks                         // pg_advisory_lock and its like, except a transaction's locks
	Cursors                       // DECLARE ... WITH HOLD
	Prepared                      // PREPARE
	Deallocated                   // DEALLOCATE ALL, DISCARD ALL: statements that the driver takes to be prepared are not
	Seed                          // setseed: the next values of random() are known
	Permanent                     // LOAD, dblink_connect: only the connection's end undoes it
	Unknown                       // DO, CALL, EXECUTE: code that the text does not show
)

// Whole is what a session is reset from after code that the text does not show. Such code rarely
// runs DEALLOCATE ALL, and without it the driver's prepared statements can stay.
const Whole = ^(Deallocated | Permanent)

// stateNames are in the order of the constants.
var stateNames = [...]string{"settings", "role", "listen", "temporary", "lock", "cursor", "prepared", "deallocated",
	"seed", "permanent", "unknown"}

// Names returns one word for each effect in the set.
func (s State) Names() []string {
	var names []string
	for i, name := range stateNames {
		if s&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// leaves adds to the effects of the statement.
func (p *parser) leaves(s State) { p.state |= s }

// leftBy returns the effects of a command that only names what it is about.
func (p *parser) leftBy(key string) State {
	switch key {
	case "LISTEN":
		return Listening
	case "LOAD":
		return Permanent
	case "DO", "CALL", "EXECUTE":
		return Unknown
	case "RESET":
		if p.is("ROLE", "SESSION") {
			return Role
		}
		return Settings
	case "DISCARD":
		if p.is("ALL") {
			return Settings | Role | Deallocated
		}
	case "DEALLOCATE":
		p.skip("PREPARE")
		if p.is("ALL") {
			return Deallocated
		}
	}
	return 0
}

// leavesTemporary is called for what is created as temporary. With ON COMMIT DROP it goes with the
// transaction.
func (p *parser) leavesTemporary() {
	for i, t := range p.tokens {
		if t.key == "ON" && i+2 < len(p.tokens) && p.tokens[i+1].key == "COMMIT" && p.tokens[i+2].key == "DROP" {
			return
		}
	}
	p.leaves(Temporary)
}
