package urlfix

import (
	"maps"
	"slices"
	"strings"
)

// djangoURI is what dj-database-url (dj_database_url/__init__.py) and django-environ
// (environ/environ.py) read, and Laravel (Support/ConfigurationUrlParser.php), whose scheme is one
// of theirs.
var djangoURI = dialect{
	name: "django", answers: []string{"pdo"}, read: parseWeb, tool: &djangoTool,
	query: queryForm, settings: true, defaults: djangoSocket,
}

// postgisURI is also what Rails reads, with activerecord-postgis-adapter.
var postgisURI = dialect{
	name: "django", answers: []string{"pdo", "rails"}, read: parseWeb, tool: &postgisTool,
	query: queryForm, settings: true, defaults: djangoSocket,
}

// postgisTool has Rails' parameters, except where Django's have the same name.
var postgisTool = tool{name: "Django", rules: with(
	with(table(), slices.Collect(maps.Values(railsTool.rules))), slices.Collect(maps.Values(djangoTool.rules)))}

// djangoTool are Django's own settings, which both take from the query, one of them in capitals
// too.
var djangoTool = tool{
	name: "Django",
	rules: with(table(
		currentSchema,
		timeout,
		charset,
		serverVersion,
		&rule{name: "ssl", use: useRefuse, hint: "psycopg does not know it; write sslmode=require or sslmode=verify-full"},
		ignored("server_side_binding", "left out: parameters are always bound by the server"),
		refused("assume_role", "set the role in code after connecting"),
	), djangoSettings(
		&rule{name: "conn_max_age", use: usePool, to: "pool_max_conn_lifetime", check: checkSeconds,
			drop: []string{"0", "None"}},
		&rule{name: "conn_health_checks", use: useIgnore},
		&rule{name: "atomic_requests", use: useIgnore, drop: []string{"False", "false"},
			warn: "left out: Django makes a transaction of each request; begin one in code"},
		refused("autocommit", "transactions are begun in code", "True", "true"),
		&rule{name: "disable_server_side_cursors", use: useIgnore},
	)),
}

// djangoSettings gives each rule its key in capitals as well.
func djangoSettings(rules ...*rule) []*rule {
	for _, r := range rules {
		inCapitals := *r
		inCapitals.name = strings.ToUpper(r.name)
		rules = append(rules, &inCapitals)
	}
	return rules
}

// djangoSocket is django-environ's way to write a socket directory:
// postgis:////var/run/postgresql/DATABASE.
func djangoSocket(b *builder) {
	i := strings.LastIndexByte(b.d.Database, '/')
	if i <= 0 || b.d.Database[0] != '/' || b.seen.host.ok {
		return
	}
	b.seen.host = given{true, b.d.Database[:i], -1}
	b.d.Database = b.d.Database[i+1:]
	b.d.change("database", "its directory became the host")
}
