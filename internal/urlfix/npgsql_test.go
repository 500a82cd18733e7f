package urlfix_test

import (
	"testing"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

func TestGrammarOfNpgsql(t *testing.T) {
	checkMeaning(t, []means{
		{"four keys", "Host=h;Username=u;Password=s3cretPw;Database=d", "postgres://u:s3cretPw@h/d"},
		{"one key", "Host=myhost", "postgres://myhost/"},
		{"lower case", "server=h;user id=u;pwd=p", "postgres://u:p@h/"},
		{"libpq's case", "host=h;username=u;password=p;database=d", "postgres://u:p@h/d"},
		{"blanks around keys and values", " Host = h ; Password = ab c ; ", "postgres://:ab%20c@h/"},
		{"separators without anything", ";;Host=h;;;Port=5433;;", "postgres://h:5433/"},
		{"nothing is decoded", "Host=h;Username=u;Password=p@ss/w:x#y?z%41[;Database=d",
			"postgres://u:p%40ss%2Fw%3Ax%23y%3Fz%2541%5B@h/d"},
		{"equals signs in a value", "Host=h;Password=a=b==;Database=d", "postgres://:a%3Db%3D%3D@h/d"},
		{"a semicolon in double quotes", `Host=h;Password="pa;ss";Database=d`, "postgres://:pa%3Bss@h/d"},
		{"a semicolon in single quotes", `Host=h;Password='pa;ss';Database=d`, "postgres://:pa%3Bss@h/d"},
		{"a backslash at the end of single quotes", `password='pa\';host=h;database=d`, "postgres://:pa%5C@h/d"},
		{"a double quote in single quotes", `Host=h;Password='pa"ss'`, "postgres://:pa%22ss@h/"},
		{"a doubled quote", `Host=h;Password="pa""ss"`, "postgres://:pa%22ss@h/"},
		{"a doubled single quote", `Host=h;Password='pa''ss'`, "postgres://:pa%27ss@h/"},
		{"blanks in quotes", `Host=h;Password=" ab " ;Database=d`, "postgres://:%20ab%20@h/d"},
		{"an equals sign first in quotes", `Host=h;Password="=ab"`, "postgres://:%3Dab@h/"},
		{"a quote inside a value", `Host=h;Password=pa"ss;Database=d`, "postgres://:pa%22ss@h/d"},
		{"braces are not special", `Host=h;Password={pa;Database=d`, "postgres://:%7Bpa@h/d"},
		{"the last value counts", "Host=h;Timeout=5;Timeout=6", "postgres://h/?connect_timeout=6"},
		{"an empty value takes the others back", "Host=h;Timeout=5;Database=d;Timeout=", "postgres://h/d"},
		{"an empty value with blanks", "Host=h;Password= ;Database=d", "postgres://h/d"},
		{"a quoted first value", `Password="a;b";Host=h`, "postgres://:a%3Bb@h/"},
	})
	checkRefusal(t, []refusal{
		{"a colon for the equals sign", "Server=127.0.0.1;User Id=npgsql_tests;Pooling:false", urlfix.CodeSyntax, "keyword"},
		{"a semicolon in a key", "Host=h;Password=a;b=c", urlfix.CodeUnknownKey, "parameter"},
		{"a piece of a password as key", "Host=h;Password=a;b;Database=d", urlfix.CodeSyntax, "keyword"},
		{"a doubled equals sign", "Host=h;Password==ab;Database=d", urlfix.CodeSyntax, "Password"},
		{"text after the closing quote", `Host=h;Password="pa"ss;Database=d`, urlfix.CodeSyntax, "Password"},
		{"no closing quote", `Host=h;Password="pa;Database=d`, urlfix.CodeSyntax, "Password"},
		{"no closing quote after a doubled one", `Host=h;Password="pa""`, urlfix.CodeSyntax, "Password"},
		{"a quote at the end only", `Host=h;Password=pa";Database=d`, urlfix.CodeSyntax, "Password"},
		{"a single quote at the end only", `Host=h;Password=pa';Database=d`, urlfix.CodeSyntax, "Password"},
		{"semicolons between keywords of libpq", "user=u;password=secret12;host=h", urlfix.CodeAmbiguous, "user"},
		{"semicolons in what may be a password of libpq's form", "password=a;port=1 host=h", urlfix.CodeAmbiguous,
			"password"},
		{"libpq's form in capitals", "Host=h User=u", urlfix.CodeUnknownKey, "Host"},
		{"an unknown key", "Host=h;Foo=1", urlfix.CodeUnknownKey, "parameter"},
		{"no host", "Username=u;Password=p;Database=d", urlfix.CodeSyntax, "Host"},
		{"a host that is taken back", "Host=h;Username=u;Server=", urlfix.CodeConflict, "Host"},
		{"a password that is taken back", "Host=h;Password=x;Database=d;Password=", urlfix.CodeConflict, "Password"},
		{"an empty element in the list of hosts", "Host=h1,,h2;Username=u", urlfix.CodeSyntax, "Host"},
		{"an empty host in quotes", `Host="";Username=u`, urlfix.CodeSyntax, "Host"},
		{"a string for ODBC", "Driver={PostgreSQL};Server=h;Port=5432;Database=d;Uid=u;Pwd=p;", urlfix.CodeUnsupported,
			"Driver"},
		{"a string for SQL Server", "Data Source=h;Initial Catalog=d", urlfix.CodeUnsupported, "Data Source"},
	})
	checkWarnings(t, []noted{
		{"a repeated value is reported", "Host=h;Timeout=5;Timeout=6", "Timeout"},
		{"a value that is given twice alike is not", "Host=h;Password=x;Pwd=x", ""},
	})
}

func TestHostsOfNpgsql(t *testing.T) {
	checkMeaning(t, []means{
		{"a port", "Host=h;Port=5433", "postgres://h:5433/"},
		{"a port with the host, which outranks the other", "Host=h:5434;Port=5433", "postgres://h:5434/"},
		{"a list", "Host=h1:5433, h2;Port=6000", "postgres://h1:5433,h2:6000/"},
		{"a list without ports", "Host=h1,h2", "postgres:///?host=h1,h2"},
		{"a list with some ports", "Host=h1:5433,h2", "postgres://h1:5433,h2/"},
		{"a socket directory", "Host=/tmp", "postgres://%2Ftmp/"},
		{"IPv6", "Host=::1;Port=5433", "postgres://[::1]:5433/"},
		{"IPv6 in brackets", "Host=[::1]:5433,[::2]", "postgres://[::1]:5433,[::2]/"},
	})
	checkRefusal(t, []refusal{
		{"userinfo", "Host=u:p@h;Username=x", urlfix.CodeValue, "port"},
		{"an at sign", "Host=u@h;Username=x", urlfix.CodeValue, "host"},
		{"port zero", "Host=h;Port=0", urlfix.CodeValue, "port"},
		{"a port of words", "Host=h;Port=hello", urlfix.CodeValue, "port"},
		{"an abstract socket", "Host=@pg;Username=x", urlfix.CodeUnsupported, "host"},
	})
}

func TestKeysOfNpgsql(t *testing.T) {
	const (
		s   = "Host=h;"
		uri = "postgres://h/"
	)
	checkMeaning(t, []means{
		{"names of the database", s + "DB=d", uri + "d"},
		{"a name of the user", s + "User Name=u", "postgres://u@h/"},
		{"UserId as a name of the user", s + "UserId=u", "postgres://u@h/"},
		{"UID as a name of the user", s + "UID=u", "postgres://u@h/"},
		{"a name of the password", s + "PSW=p", "postgres://:p@h/"},
		{"a passfile", s + "Passfile=f", uri + "?passfile=f"},
		{"a name", s + "Application Name=my app", uri + "?application_name=my%20app"},
		{"a name without the blank", s + "ApplicationName=x", uri + "?application_name=x"},
		{"a search path", s + "Search Path=a,b", uri + "?options=-c%20search_path%3Da,b"},
		{"a time zone", s + "Timezone=UTC", uri + "?options=-c%20timezone%3DUTC"},
		{"an encoding", s + "Client Encoding=UTF8;Encoding=utf-8", uri + "?client_encoding=UTF8"},
		{"options", s + "Options=-c geqo=off", uri + "?options=-c%20geqo%3Doff"},
		{"channel binding", s + "Channel Binding=Require", uri + "?channel_binding=require"},
		{"methods of authentication", s + "Require Auth=ScramSHA256, MD5,", uri + "?require_auth=scram-sha-256,md5"},
		{"methods that are refused", s + "Require Auth=!ScramSHA256,!None", uri + "?require_auth=%21scram-sha-256,%21none"},
		{"a name for Kerberos", s + "Kerberos Service Name=x", uri + "?krbsrvname=x"},
		{"the default name for Kerberos", s + "Krbsrvname=postgres", uri},
		{"a kind of server", s + "Target Session Attributes=Prefer-Standby", uri + "?target_session_attrs=prefer-standby"},
		{"load balancing", s + "Load Balance Hosts=True", uri + "?load_balance_hosts=random"},
		{"no load balancing", s + "Load Balance Hosts=false", uri},
		{"a time to connect", s + "Timeout=15", uri + "?connect_timeout=15"},
		{"keep-alive", s + "Tcp Keepalive=true;Tcp Keepalive Time=60;Tcp Keepalive Interval=10",
			uri + "?keepalives=1&keepalives_idle=60&keepalives_interval=10"},
		{"the default times of keep-alive", s + "Tcp Keepalive=false;Tcp Keepalive Time=0;Tcp Keepalive Interval=0",
			uri + "?keepalives=0"},
		{"GSSAPI encryption if there is any", s + "GSS Encryption Mode=Prefer", uri},
		{"values that change nothing",
			s + "Check Certificate Revocation=False;Integrated Security=False;Pooling=True;Keepalive=0;Command Timeout=0", uri},
	})
	checkRefusal(t, []refusal{
		{"a check of revocation", s + "Check Certificate Revocation=true", urlfix.CodeUnsupported,
			"Check Certificate Revocation"},
		{"GSSAPI encryption", s + "GSS Encryption Mode=Require", urlfix.CodeUnsupported, "GSS Encryption Mode"},
		{"Windows' own user", s + "Integrated Security=true", urlfix.CodeUnsupported, "Integrated Security"},
		{"SSL, which Npgsql 3 removed", s + "SSL=true", urlfix.CodeUnsupported, "SSL"},
		{"another encoding", s + "Encoding=LATIN1", urlfix.CodeValue, "Encoding"},
		{"another encoding of the client", s + "Client Encoding=LATIN1", urlfix.CodeValue, "Client Encoding"},
		{"rather the primary", s + "Target Session Attributes=prefer-primary", urlfix.CodeValue, "Target Session Attributes"},
		{"an unknown method", s + "Require Auth=All", urlfix.CodeValue, "Require Auth"},
		{"a time of words", s + "Timeout=soon", urlfix.CodeValue, "Timeout"},
		{"no boolean", s + "Pooling=1", urlfix.CodeValue, "Pooling"},
	})
	checkBeside(t, []beside{
		{"a pool", s + "Maximum Pool Size=20;Minimum Pool Size=2", "pool_max_conns=20 pool_min_idle_conns=2"},
		{"a pool by other names", s + "MaxPoolSize=20;Min Pool Size=2", "pool_max_conns=20 pool_min_idle_conns=2"},
		{"lifetimes", s + "Connection Idle Lifetime=300;Connection Lifetime=600;Connection Pruning Interval=10",
			"pool_max_conn_idle_time=300s pool_max_conn_lifetime=600s pool_health_check_period=10s"},
		{"a lifetime by its other name", s + "Load Balance Timeout=60", "pool_max_conn_lifetime=60s"},
		{"no lifetimes", s + "Connection Idle Lifetime=0;Connection Lifetime=0;Connection Pruning Interval=0", ""},
		{"keys of pgsafe", s + "pool_max_conns=5", "pool_max_conns=5"},
	})
	checkLeftOut(t, s, uri, `
		ArrayNullabilityMode AutoPrepareMinUsages CancellationTimeout CommandTimeout ConvertInfinityDateTime Enlist
		HostRecheckSeconds IncludeErrorDetail IncludeErrorDetails IncludeFailedBatchedCommand IncludeRealm
		InternalCommandTimeout Keepalive LoadTableComposites LogParameters MaxAutoPrepare Multiplexing NoResetOnClose
		PersistSecurityInfo ReadBufferSize ServerCompatibilityMode SocketReceiveBufferSize SocketSendBufferSize
		UsePerfCounters UseSslStream WriteBufferSize WriteCoalescingBufferThresholdBytes`)
	checkWarnings(t, []noted{{"a pool that is turned off is reported", s + "Pooling=false", "Pooling"}})
}

func TestTLSOfNpgsql(t *testing.T) {
	const (
		s   = "Host=h;"
		uri = "postgres://h/"
	)
	checkMeaning(t, []means{
		{"Disable", s + "SSL Mode=Disable", uri + "?sslmode=disable"},
		{"Allow", s + "SSL Mode=Allow", uri + "?sslmode=allow"},
		{"Prefer", s + "SslMode=Prefer;Trust Server Certificate=true", uri + "?sslmode=prefer"},
		{"Prefer without trust", s + "SslMode=Prefer;Trust Server Certificate=false", uri + "?sslmode=prefer"},
		{"Require", s + "SSL Mode=require", uri + "?sslmode=require"},
		{"Require with trust", s + "SSL Mode=Require;Trust Server Certificate=True", uri + "?sslmode=require"},
		{"Require without trust", s + "SSL Mode=Require;Trust Server Certificate=false", uri + "?sslmode=verify-full"},
		{"VerifyCA", s + "SSL Mode=VerifyCA;Root Certificate=ca.pem", uri + "?sslrootcert=ca.pem&sslmode=verify-ca"},
		{"VerifyFull", s + "SSL Mode=VerifyFull;Trust Server Certificate=true", uri + "?sslmode=verify-full"},
		{"VerifyFull with a root", s + "SSL Mode=VerifyFull;Root Certificate=ca.pem",
			uri + "?sslrootcert=ca.pem&sslmode=verify-full"},
		{"libpq's spelling", s + "SSL Mode=verify-full", uri + "?sslmode=verify-full"},
		{"a client's certificate", s + "SSL Certificate=c.pem;SSL Key=k.pem;SSL Password=x",
			uri + "?sslcert=c.pem&sslkey=k.pem&sslpassword=x"},
		{"a client's certificate by its old name", s + "Client Certificate=c.pem;Client Certificate Key=k.pem",
			uri + "?sslcert=c.pem&sslkey=k.pem"},
		{"direct TLS", s + "SSL Mode=Require;SSL Negotiation=Direct", uri + "?sslnegotiation=direct&sslmode=require"},
		{"trust alone", s + "Trust Server Certificate=true", uri},
	})
	checkRefusal(t, []refusal{
		{"VerifyCA without a root", s + "SSL Mode=VerifyCA", urlfix.CodeValue, "sslmode"},
		{"no mode", s + "SSL Mode=on", urlfix.CodeValue, "SSL Mode"},
		{"direct TLS that is not certain", s + "SSL Mode=Prefer;SSL Negotiation=Direct", urlfix.CodeValue, "sslnegotiation"},
		{"a certificate in PKCS-12", s + "SSL Certificate=client.pfx", urlfix.CodeValue, "SSL Certificate"},
	})
	checkWarnings(t, []noted{
		{"Require causes a warning that it checks nothing", s + "SSL Mode=Require", "SSL Mode"},
		{"VerifyFull is clear", s + "SSL Mode=VerifyFull", ""},
		{"Require with trust is clear", s + "SSL Mode=Require;Trust Server Certificate=true", ""},
		{"Require without trust causes a warning that it checks", s + "SSL Mode=Require;Trust Server Certificate=false",
			"Trust Server Certificate"},
	})
}
