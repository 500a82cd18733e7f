package libpq

import (
	"os"
	"strings"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

// variables are libpq's (PQconninfoOptions, fe-connect.c, and EnvironmentOptions for settings of
// the server), and PGSSLPASSWORD, which is pgx's. PGSERVICE is read with the service file, which
// outranks all of them.
var variables = [...]struct{ name, keyword string }{
	{"PGHOST", "host"},
	{"PGHOSTADDR", "hostaddr"},
	{"PGPORT", "port"},
	{"PGDATABASE", "dbname"},
	{"PGUSER", "user"},
	{"PGPASSWORD", "password"},
	{"PGPASSFILE", "passfile"},
	{"PGAPPNAME", "application_name"},
	{"PGOPTIONS", "options"},
	{"PGCLIENTENCODING", "client_encoding"},
	{"PGCONNECT_TIMEOUT", "connect_timeout"},
	{"PGTARGETSESSIONATTRS", "target_session_attrs"},
	{"PGLOADBALANCEHOSTS", "load_balance_hosts"},
	{"PGREQUIREPEER", "requirepeer"},
	{"PGREQUIREAUTH", "require_auth"},
	{"PGCHANNELBINDING", "channel_binding"},
	{"PGMINPROTOCOLVERSION", "min_protocol_version"},
	{"PGMAXPROTOCOLVERSION", "max_protocol_version"},
	{"PGSSLMODE", "sslmode"},
	{"PGSSLNEGOTIATION", "sslnegotiation"},
	{"PGSSLCOMPRESSION", "sslcompression"},
	{"PGSSLCERT", "sslcert"},
	{"PGSSLKEY", "sslkey"},
	{"PGSSLCERTMODE", "sslcertmode"},
	{"PGSSLROOTCERT", "sslrootcert"},
	{"PGSSLCRL", "sslcrl"},
	{"PGSSLCRLDIR", "sslcrldir"},
	{"PGSSLSNI", "sslsni"},
	{"PGSSLMINPROTOCOLVERSION", "ssl_min_protocol_version"},
	{"PGSSLMAXPROTOCOLVERSION", "ssl_max_protocol_version"},
	{"PGSSLPASSWORD", "sslpassword"},
	{"PGGSSENCMODE", "gssencmode"},
	{"PGGSSDELEGATION", "gssdelegation"},
	{"PGGSSLIB", "gsslib"},
	{"PGKRBSRVNAME", "krbsrvname"},
	{"PGDATESTYLE", "datestyle"},
	{"PGTZ", "timezone"},
	{"PGGEQO", "geqo"},
}

// fromEnvironment reads the variables. One that is set to nothing is not set: that is how
// containers and shells unset them, and what pgx does. Of a setting of the server, "default" is the
// same (build_startup_packet, fe-protocol3.c).
func (s *settings) fromEnvironment() *urlfix.Error {
	for _, v := range variables {
		value := os.Getenv(v.name)
		if value == "" || urlfix.IsSetting(v.keyword) && strings.EqualFold(value, "default") {
			continue
		}
		if err := s.offer(v.keyword, value, origin{v.name, environment}); err != nil {
			return err
		}
	}
	// The older name for sslmode=require, which PGSSLMODE outranks (conninfo_add_defaults,
	// fe-connect.c).
	if strings.HasPrefix(os.Getenv("PGREQUIRESSL"), "1") {
		s.keywords.fill("sslmode", "require", origin{"PGREQUIRESSL", environment})
	}
	return nil
}
