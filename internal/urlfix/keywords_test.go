package urlfix_test

import (
	"testing"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

func TestTLSIsNeverWeakened(t *testing.T) {
	const s = "postgres://h/db?"
	checkMeaning(t, []means{
		{"ssl=true is require, as in libpq", s + "ssl=true", s + "sslmode=require"},
		{"ssl=1, which only node-postgres has", s + "ssl=1", s + "sslmode=verify-full"},
		{"ssl=no-verify, which only node-postgres has", s + "ssl=no-verify", s + "sslmode=require"},
		{"ssl=false", s + "ssl=false", s + "sslmode=disable"},
		{"ssl=true next to sslmode=require", s + "ssl=true&sslmode=require", s + "sslmode=require"},
		{"the system's roots imply verify-full", s + "sslrootcert=system", s + "sslrootcert=system&sslmode=verify-full"},
		{"the system's roots with verify-full", s + "sslmode=verify-full&sslrootcert=system",
			s + "sslmode=verify-full&sslrootcert=system"},
		{"verify-ca with a root", s + "sslmode=verify-ca&sslrootcert=ca.pem", s + "sslmode=verify-ca&sslrootcert=ca.pem"},
		{"verify-full without a root", s + "sslmode=verify-full", s + "sslmode=verify-full"},
		{"an empty root is the one in the home directory, as in libpq", s + "sslmode=require&sslrootcert=",
			s + "sslmode=require"},
		{"direct TLS", s + "sslmode=require&sslnegotiation=direct", s + "sslmode=require&sslnegotiation=direct"},
		{"direct TLS with the system's roots", s + "sslnegotiation=direct&sslrootcert=system",
			s + "sslnegotiation=direct&sslrootcert=system&sslmode=verify-full"},
	})
	checkRefusal(t, []refusal{
		{"an empty sslmode", s + "sslmode=", urlfix.CodeValue, "sslmode"},
		{"an sslmode in capitals", s + "sslmode=Require", urlfix.CodeValue, "sslmode"},
		{"no sslmode", s + "sslmode=required", urlfix.CodeValue, "sslmode"},
		{"ssl=prefer", s + "ssl=prefer", urlfix.CodeValue, "ssl"},
		{"ssl=true after a stronger sslmode", s + "sslmode=verify-full&ssl=true", urlfix.CodeConflict, "sslmode"},
		{"ssl=true before a weaker sslmode", s + "ssl=true&sslmode=disable", urlfix.CodeConflict, "sslmode"},
		{"verify-ca without a root", s + "sslmode=verify-ca", urlfix.CodeValue, "sslmode"},
		{"verify-ca with an empty root", s + "sslmode=verify-ca&sslrootcert=", urlfix.CodeValue, "sslmode"},
		{"the system's roots with require", s + "sslrootcert=system&sslmode=require", urlfix.CodeValue, "sslmode"},
		{"the system's roots with verify-ca", s + "sslrootcert=system&sslmode=verify-ca", urlfix.CodeValue, "sslmode"},
		{"the system's roots with ssl=true", s + "sslrootcert=system&ssl=true", urlfix.CodeValue, "sslmode"},
		{"direct TLS with prefer", s + "sslmode=prefer&sslnegotiation=direct", urlfix.CodeValue, "sslnegotiation"},
		{"direct TLS without sslmode", s + "sslnegotiation=direct", urlfix.CodeValue, "sslnegotiation"},
		{"an unknown negotiation", s + "sslmode=require&sslnegotiation=direkt", urlfix.CodeValue, "sslnegotiation"},
	})
	t.Run("ssl=true causes a warning", func(t *testing.T) {
		d, err := urlfix.Parse(s + "ssl=true")
		if err != nil || len(d.Warnings) != 1 || d.Warnings[0].Part != "ssl" {
			t.Errorf("%v %v", err, d.Warnings)
		}
	})
}

func TestValuesOfKeywords(t *testing.T) {
	const s = "postgres://h/db?"
	checkMeaning(t, []means{
		{"a timeout below zero is for ever", s + "connect_timeout=-1", s + "connect_timeout=0"},
		{"a timeout", s + "connect_timeout=010", s + "connect_timeout=10"},
		{"methods of authentication", s + "require_auth=!password,!md5", s + "require_auth=%21password,%21md5"},
		{"an encoding", s + "client_encoding=utf-8", s + "client_encoding=utf-8"},
		{"the encoding of the locale", s + "client_encoding=auto", "postgres://h/db"},
		{"a name for when there is none", s + "fallback_application_name=x", s + "application_name=x"},
		{"a name for when there is none, and one", s + "fallback_application_name=x&application_name=y",
			s + "application_name=y"},
		{"protocols", s + "min_protocol_version=3.0&max_protocol_version=latest",
			s + "min_protocol_version=3.0&max_protocol_version=latest"},
		{"no methods of authentication", s + "require_auth=", "postgres://h/db"},
		{"an empty passfile", s + "passfile=", "postgres://h/db"},
		{"compression, which has no effect", s + "sslcompression=1", "postgres://h/db"},
		{"GSSAPI encryption if there is any", s + "gssencmode=prefer", "postgres://h/db"},
		{"no GSSAPI encryption", s + "gssencmode=disable", "postgres://h/db"},
		{"the default of load balancing", s + "load_balance_hosts=disable", "postgres://h/db"},
		{"a name for Kerberos", s + "krbsrvname=x", s + "krbsrvname=x"},
	})
	checkRefusal(t, []refusal{
		{"a timeout of words", s + "connect_timeout=soon", urlfix.CodeValue, "connect_timeout"},
		{"an empty timeout", s + "connect_timeout=", urlfix.CodeValue, "connect_timeout"},
		{"an unknown target", s + "target_session_attrs=writable", urlfix.CodeValue, "target_session_attrs"},
		{"an unknown channel binding", s + "channel_binding=invalid", urlfix.CodeValue, "channel_binding"},
		{"an unknown method", s + "require_auth=odd", urlfix.CodeValue, "require_auth"},
		{"a method twice", s + "require_auth=md5,md5", urlfix.CodeValue, "require_auth"},
		{"methods with and without a negation", s + "require_auth=md5,!password", urlfix.CodeValue, "require_auth"},
		{"another encoding", s + "client_encoding=LATIN1", urlfix.CodeValue, "client_encoding"},
		{"an unknown protocol", s + "max_protocol_version=3.1", urlfix.CodeValue, "max_protocol_version"},
		{"protocols the wrong way round", s + "min_protocol_version=3.2&max_protocol_version=3.0", urlfix.CodeValue,
			"min_protocol_version"},
		{"an empty service", s + "service=", urlfix.CodeValue, "service"},
		{"an unknown mode of execution", s + "default_query_exec_mode=odd", urlfix.CodeValue, "default_query_exec_mode"},
		{"a negative cache", s + "statement_cache_capacity=-1", urlfix.CodeValue, "statement_cache_capacity"},
	})
}

func TestKeywordsThatCannotBeHonouredAreRefusedByName(t *testing.T) {
	for _, p := range []string{
		"gssencmode=require",
		"gsslib=sspi", "gssdelegation=1", "krbspn=x", "replication=database", "servicefile=f", "sslkeylogfile=f",
		"scram_client_key=x", "scram_server_key=x", "oauth_issuer=x", "oauth_client_id=x", "oauth_client_secret=x",
		"oauth_scope=x",
	} {
		checkRefusal(t, []refusal{
			{p + " in a URI", "postgres://h/db?" + p, urlfix.CodeUnsupported, name(p)},
			{p + " as keyword", "host=h " + p, urlfix.CodeUnsupported, name(p)},
		})
	}
}

func name(param string) string {
	for i := range len(param) {
		if param[i] == '=' {
			return param[:i]
		}
	}
	return param
}
