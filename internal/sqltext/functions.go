package sqltext

import (
	"maps"
	"slices"
	"strings"
)

// functions are PostgreSQL's functions with lasting effects, and its extensions' functions, by the
// last part of their names. Not among them are:
//   - nextval and setval: an INSERT has the same effect on lastval() and its text does not show it;
//   - locks and snapshots of a transaction: pg_advisory_xact_lock, pg_export_snapshot, lo_open;
//   - what undoes effects: pg_advisory_unlock, dblink_disconnect, pg_backup_stop;
//   - what outlives the session: pg_stat_reset, pg_replication_origin_create.
var functions = map[string]State{
	"set_config": Settings | Role, // its name may be an argument
	"set_limit":  Settings,        // of pg_trgm
	"setseed":    Seed,

	"pg_advisory_lock": Locks, "pg_advisory_lock_shared": Locks,
	"pg_try_advisory_lock": Locks, "pg_try_advisory_lock_shared": Locks,

	"dblink_connect": Permanent, "dblink_connect_u": Permanent,
	"pg_backup_start": Permanent, "pg_start_backup": Permanent, // a backup ends with its session
	"pg_replication_origin_session_setup": Permanent,
	// These may make a temporary slot, which ends with its session.
	"pg_create_physical_replication_slot": Permanent, "pg_create_logical_replication_slot": Permanent,
	"pg_copy_physical_replication_slot": Permanent, "pg_copy_logical_replication_slot": Permanent,

	// These run a text.
	"query_to_xml": Unknown, "query_to_xmlschema": Unknown, "query_to_xml_and_xmlschema": Unknown,
	"ts_stat": Unknown, "ts_rewrite": Unknown,
	"crosstab": Unknown, "crosstab2": Unknown, "crosstab3": Unknown, "crosstab4": Unknown,
}

func functionNames() []string { return slices.Collect(maps.Keys(functions)) }

// names adds the effects that names have wherever they stand: calls of functions, and objects in the
// temporary schema. What U& in front of a quoted name makes of it is not read.
func (p *parser) names() {
	for i, t := range p.tokens {
		switch {
		case !t.named():
		case strings.HasPrefix(t.key, `U&"`):
			p.leaves(Unknown)
		case p.keyAt(i+1) == "(":
			p.called(fold(t.text), i+1)
		case p.keyAt(i+1) == "." || p.keyAt(i-1) == "INTO":
			if isTemporarySchema(fold(t.text)) {
				p.leavesTemporary()
			}
		}
	}
}

// called adds the effects of a call. Its arguments are in the parentheses that open at a token.
func (p *parser) called(function string, at int) {
	state := functions[function]
	if state == 0 || function == "set_config" && p.lastArgumentIs("TRUE", at) { // is_local
		return
	}
	p.leaves(state)
	p.classify(Session)
}

// lastArgumentIs reports whether the last argument in the parentheses that open at a token is the
// word key and nothing else.
func (p *parser) lastArgumentIs(key string, at int) bool {
	before := p.at
	p.at = at
	p.skipGroup()
	end := p.at - 1
	p.at = before
	return end-2 > at && p.tokens[end-1].key == key && p.tokens[end-2].key == ","
}

// isTemporarySchema reports whether a name is one of a session's temporary schema: pg_temp, or the
// name that stands for it, such as pg_temp_3.
func isTemporarySchema(name string) bool {
	const prefix = "pg_temp"
	return len(name) >= len(prefix) && strings.EqualFold(name[:len(prefix)], prefix)
}
