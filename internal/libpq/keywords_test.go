package libpq_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

func TestKeywordsThatPgxHasShowOnTheServer(t *testing.T) {
	uri := pgtest.Shared(t).URI("postgres")
	for _, c := range []struct{ key, value, query, want string }{
		{"application_name", "orders", "show application_name", "orders"},
		{"application_name", "orders", "select application_name from pg_stat_activity where pid = pg_backend_pid()", "orders"},
		{"options", "-c work_mem=123kB -c geqo=off", "select current_setting('work_mem') || current_setting('geqo')", "123kBoff"},
		{"search_path", "app, public", "show search_path", "app, public"},
		{"client_encoding", "UTF8", "show client_encoding", "UTF8"},
		{"connect_timeout", "-1", "select 'connected'", "connected"},
		{"target_session_attrs", "primary", "select 'connected'", "connected"},
		{"target_session_attrs", "prefer-standby", "select 'connected'", "connected"},
		{"require_auth", "none", "select 'connected'", "connected"},
		{"max_protocol_version", "3.2", "select 'connected'", "connected"},
		{"krbsrvname", "postgres", "select 'connected'", "connected"},
	} {
		t.Run(c.key+"="+c.value, func(t *testing.T) {
			check.Equal(t, show(t, connect(t, with(uri, c.key, c.value)), c.query), c.want)
		})
	}
}

func TestKeywordsThatRefuseAServer(t *testing.T) {
	plain, secured := pgtest.Shared(t).URI("postgres"), pgtest.SharedTLS(t).URI("")
	for _, c := range []struct{ name, uri, key, value string }{
		{"a primary is no standby", plain, "target_session_attrs", "standby"},
		{"a server that writes is not read-only", plain, "target_session_attrs", "read-only"},
		{"a server that asks for nothing", plain, "require_auth", "scram-sha-256"},
		{"a server that asks for SCRAM", secured, "require_auth", "!scram-sha-256"},
		{"a server without TLS cannot bind the channel", plain, "channel_binding", "require"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := dialDSN(t, with(c.uri, c.key, c.value)); err == nil {
				t.Error("connected")
			}
		})
	}
	t.Run("one with TLS can", func(t *testing.T) {
		connect(t, with(secured, "channel_binding", "require"))
	})
}

func TestStartupPacket(t *testing.T) {
	r := newRecorder(t, nil)
	_, err := dialDSN(t, fmt.Sprintf("host=localhost hostaddr=127.0.0.1 port=%d user=u dbname=d sslmode=disable max_protocol_version=3.2 "+
		"keepalives_idle=3 tcp_user_timeout=5 load_balance_hosts=random ssl_min_protocol_version=TLSv1.2 requirepeer=u fallback_application_name=f "+
		"connect_timeout=7 krbsrvname=k gssencmode=prefer", r.port()))
	check.Equal(t, err != nil, true)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.visits) != 1 {
		t.Fatalf("%d visits: %v", len(r.visits), err)
	}
	got := r.visits[0].startup
	t.Run("it has no keyword of the client", func(t *testing.T) {
		check.Equal(t, fmt.Sprint(got.Parameters), "map[application_name:f database:d user:u]")
	})
	t.Run("it asks for the protocol", func(t *testing.T) {
		check.Equal(t, got.ProtocolVersion, uint32(3<<16|2))
	})
}

func TestConnectTimeoutIsForEachServer(t *testing.T) {
	host, port := pgtest.SilentListener(t)
	cluster := pgtest.Shared(t)
	conn := connect(t, fmt.Sprintf("host=%s,%s port=%d,%d user=postgres dbname=postgres sslmode=disable connect_timeout=1",
		host, cluster.Host(), port, cluster.Port()))
	check.Equal(t, strings.HasSuffix(conn.PgConn().Conn().RemoteAddr().String(), fmt.Sprint(cluster.Port())), true)
}
