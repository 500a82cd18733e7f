package urlfix_test

import (
	"testing"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

func TestServersOfJDBC(t *testing.T) {
	const s = "jdbc:postgresql:"
	checkMeaning(t, []means{
		{"a database alone is on localhost", s + "test", "postgres://localhost/test"},
		{"nothing", s, "postgres://localhost/"},
		{"a slash", s + "/", "postgres://localhost/"},
		{"two slashes", s + "//", "postgres://localhost/"},
		{"three slashes", s + "///", "postgres://localhost/"},
		{"three slashes and a database", s + "///test", "postgres://localhost/test"},
		{"a host", s + "//h/", "postgres://h/"},
		{"a host without the slash that JDBC wants", s + "//h:5433", "postgres://h:5433/"},
		{"the same, and a user as Azure had them", s + "//h:5433?user=u@h&password=p", "postgres://u%40h:p@h:5433/"},
		{"a port", s + "//h:5433/test", "postgres://h:5433/test"},
		{"a list", s + "//h1:5433,h2:5434/test", "postgres://h1:5433,h2:5434/test"},
		{"a list with IPv6 and an element without a host", s + "//[::1]:5433,:5434,[::1]/test",
			"postgres://[::1]:5433,localhost:5434,[::1]/test"},
		{"a list with an empty last element", s + "//h,/test", "postgres://h/test"},
		{"escapes in the database", s + "//[::1]:5740/my%20data%23base%251", "postgres://[::1]:5740/my%20data%23base%251"},
		{"a plus in the database is a blank", s + "//h/my+db", "postgres://h/my%20db"},
		{"a port in the query replaces the other", s + "//h:5433/hidden?port=7777", "postgres://h:7777/hidden"},
		{"a host in the query replaces the other", s + "//h1:5433/test?PGHOST=h2", "postgres://h2:5433/test"},
		{"a database in the query replaces the other", s + "//h/test?PGDBNAME=test2", "postgres://h/test2"},
		{"host, port and database in the query alone", s + "//?PGHOST=h&PGPORT=1&dbname=d", "postgres://h:1/d"},
		{"a list that replaces another one as long", s + "//h1:1,h2:2/test?host=h3,h4&port=3,4", "postgres://h3:3,h4:4/test"},
		{"a service, which may name the host", s + "//?service=x", "postgres:///?service=x"},
		{"a service and a host", s + "//h/?service=x", "postgres://h/?service=x"},
		{"userinfo, on which JDBC fails", s + "//u:secret12@h:5432/db", "postgres://u:secret12@h:5432/db"},
		{"userinfo with raw characters", s + "//u:p/w@h/db?ssl=true", "postgres://u:p%2Fw@h/db?sslmode=verify-full"},
		{"userinfo with escapes", s + "//u:p%40ss@h/db", "postgres://u:p%40ss@h/db"},
	})
	checkRefusal(t, []refusal{
		{"one slash", s + "/test", urlfix.CodeSyntax, "database"},
		{"four slashes", s + "////", urlfix.CodeSyntax, "database"},
		{"a path", s + "//h/a/b", urlfix.CodeSyntax, "database"},
		{"letters in the port", s + "//h:5432a/test", urlfix.CodeValue, "port"},
		{"an empty port", s + "//h:/test", urlfix.CodeValue, "port"},
		{"an empty port in a list", s + "//h1:1,h2:,h3:3/test", urlfix.CodeValue, "port"},
		{"an empty port at the end, where a password may have begun", s + "//u:/?user=@h/db", urlfix.CodeValue, "port"},
		{"no slash before what may be the rest of a password", s + "//u:5?user=@h/db?sslmode=require", urlfix.CodeAmbiguous,
			"string"},
		{"a port that is too large", s + "//h:500000/test", urlfix.CodeValue, "port"},
		{"port zero", s + "//h:0/test", urlfix.CodeValue, "port"},
		{"a negative port", s + "//h:-2/test", urlfix.CodeValue, "port"},
		{"a bad escape in the database", s + "//h/my data#base%1", urlfix.CodeSyntax, "database"},
		{"a host that replaces a list", s + "//h1:1,h2:2/db?host=h3", urlfix.CodeConflict, "host"},
		{"a blank at the end", s + "//h/db ", urlfix.CodeSyntax, "string"},
		{"another name of the driver", "jdbc:postgres:test", urlfix.CodeSyntax, "scheme"},
		{"the name without jdbc", "postgresql:test", urlfix.CodeSyntax, "scheme"},
	})
}

func TestPropertiesOfJDBC(t *testing.T) {
	const (
		s   = "jdbc:postgresql://h/db?"
		uri = "postgres://h/db"
	)
	checkMeaning(t, []means{
		{"user and password", s + "user=u&password=s3cretPw", "postgres://u:s3cretPw@h/db"},
		{"a plus is a blank, also in a password", s + "user=u&password=p+w", "postgres://u:p%20w@h/db"},
		{"an encoded plus is one", s + "user=u&password=p%2Bw", "postgres://u:p%2Bw@h/db"},
		{"a raw equals sign in the password", s + "user=u&password=a=b", "postgres://u:a%3Db@h/db"},
		{"a raw percent sign in the password, on which JDBC fails", s + "user=u&password=50%off",
			"postgres://u:50%25off@h/db"},
		{"empty parameters", s + "&&user=u&", "postgres://u@h/db"},
		{"the last value counts", s + "ApplicationName=u&ApplicationName=v", uri + "?application_name=v"},
		{"database is no property", s + "database=other", uri},
		{"database is no property where there is no path", "jdbc:postgresql://h/?database=other", "postgres://h/"},
		{"a schema", s + "currentSchema=a,b", uri + "?options=-c%20search_path%3Da,b"},
		{"a name", s + "ApplicationName=my+app", uri + "?application_name=my%20app"},
		{"a keyword of libpq", s + "application_name=x", uri + "?application_name=x"},
		{"read-only", s + "readOnly=true", uri + "?options=-c%20default_transaction_read_only%3Don"},
		{"not read-only", s + "readOnly=false", uri},
		{"options", s + "options=-c%20geqo%3Doff", uri + "?options=-c%20geqo%3Doff"},
		{"a time to connect", s + "connectTimeout=5", uri + "?connect_timeout=5"},
		{"a time to log in", s + "loginTimeout=7&connectTimeout=5", uri + "?connect_timeout=7"},
		{"no time to log in", s + "loginTimeout=0&connectTimeout=5", uri + "?connect_timeout=5"},
		{"keep-alive", s + "tcpKeepAlive=true", uri + "?keepalives=1"},
		{"no keep-alive", s + "tcpKeepAlive=false", uri + "?keepalives=0"},
		{"any server", s + "targetServerType=any", uri + "?target_session_attrs=any"},
		{"the primary", s + "targetServerType=primary", uri + "?target_session_attrs=primary"},
		{"the master", s + "targetServerType=master", uri + "?target_session_attrs=primary"},
		{"a secondary", s + "targetServerType=secondary", uri + "?target_session_attrs=standby"},
		{"a slave", s + "targetServerType=slave", uri + "?target_session_attrs=standby"},
		{"rather a secondary", s + "targetServerType=preferSecondary", uri + "?target_session_attrs=prefer-standby"},
		{"rather a slave", s + "targetServerType=preferSlave", uri + "?target_session_attrs=prefer-standby"},
		{"load balancing", s + "loadBalanceHosts=true", uri + "?load_balance_hosts=random"},
		{"no load balancing", s + "loadBalanceHosts=false", uri},
		{"channel binding", s + "channelBinding=require", uri + "?channel_binding=require"},
		{"methods of authentication", s + "requireAuth=scram-sha-256", uri + "?require_auth=scram-sha-256"},
		{"a name for Kerberos", s + "kerberosServerName=x", uri + "?krbsrvname=x"},
		{"GSSAPI encryption if there is any", s + "gssEncMode=allow", uri},
		{"defaults that change nothing",
			s + "gsslib=auto&useSpnego=false&gssUseDefaultCreds=false&jaasApplicationName=pgjdbc&sspiServiceClass=POSTGRES&" +
				"socketFactory=&sslhostnameverifier=&sslpasswordcallback=&autosave=never&stringtype=varchar&socketTimeout=0&" +
				"queryTimeout=0", uri},
	})
	checkRefusal(t, []refusal{
		{"a property in another case", s + "applicationname=x", urlfix.CodeUnknownKey, "applicationname"},
		{"a bad escape", s + "loggerFile=C%3A%5Cdir%5Cfile.%log", urlfix.CodeSyntax, "loggerFile"},
		{"a bad escape next to a good one in the password", s + "password=50%off%41", urlfix.CodeAmbiguous, "password"},
		{"a bad escape next to a plus in the password", s + "password=50%off+", urlfix.CodeSyntax, "password"},
		{"rather the primary", s + "targetServerType=preferPrimary", urlfix.CodeValue, "targetServerType"},
		{"GSSAPI encryption", s + "gssEncMode=require", urlfix.CodeUnsupported, "gssEncMode"},
		{"an empty schema", s + "currentSchema=", urlfix.CodeValue, "currentSchema"},
		{"a time of words", s + "connectTimeout=soon", urlfix.CodeValue, "connectTimeout"},
		{"replication", s + "replication=database", urlfix.CodeUnsupported, "replication"},
	})
	for _, name := range []string{
		"sslfactoryarg", "sslhostnameverifier", "sslpasswordcallback", "socketFactory", "socketFactoryArg",
		"cloudSqlInstance",
		"authenticationPluginClassName", "localSocketAddress", "jaasApplicationName", "sspiServiceClass", "useSpnego",
		"gssUseDefaultCreds", "gsslib",
	} {
		checkRefusal(t, []refusal{{name, s + name + "=x", urlfix.CodeUnsupported, name}})
	}
	checkLeftOut(t, s, uri, `
		adaptiveFetch adaptiveFetchMaximum adaptiveFetchMinimum allowEncodingChanges assumeMinServerVersion autosave
		binaryTransfer binaryTransferDisable binaryTransferEnable cancelSignalTimeout classLoaderStrategy cleanupSavepoints
		connectExecutor connectExecutorArg convertBooleanToNumeric databaseMetadataCacheFields
		databaseMetadataCacheFieldsMiB defaultRowFetchSize disableColumnSanitiser escapeSyntaxCallMode flushCacheOnDdl
		groupStartupParameters gssResponseTimeout hideUnprivilegedObjects hostRecheckSeconds jaasLogin logServerErrorDetail
		logUnclosedConnections loggerFile loggerLevel loglevel maxResultBuffer maxSendBufferSize pemKeyAlgorithm
		prepareThreshold preparedStatementCacheQueries preparedStatementCacheSizeMiB protocolVersion queryTimeout
		quoteReturningIdentifiers reWriteBatchedInserts reWriteBatchedInsertsSize readOnlyMode receiveBufferSize
		scramMaxIterations sendBufferSize socketTimeout sslResponseTimeout stringtype tcpNoDelay unknownLength
		xmlFactoryFactory`)
	checkBeside(t, []beside{
		{"no prepared statements", s + "prepareThreshold=0", "default_query_exec_mode=exec"},
		{"simple queries", s + "preferQueryMode=simple&prepareThreshold=0", "default_query_exec_mode=simple_protocol"},
		{"extended queries", s + "preferQueryMode=extended", ""},
		{"keys of pgsafe", s + "pool_max_conns=5", "pool_max_conns=5"},
	})
	checkWarnings(t, []noted{
		{"a plus in the password is reported", s + "password=p+w", "password"},
		{"userinfo is reported", "jdbc:postgresql://u:secret12@h/db", "user"},
		{"an ssl without effect is reported", s + "ssl=true&sslmode=require", "ssl"},
		{"an ssl that checks is not", s + "ssl=true", ""},
		{"an ssl that turns nothing off is reported", s + "ssl=false", "ssl"},
		{"extended queries for prepared statements", s + "preferQueryMode=extendedForPrepared", "prepareThreshold"},
	})
}

func TestTLSOfJDBC(t *testing.T) {
	const (
		s    = "jdbc:postgresql://h/db?"
		uri  = "postgres://h/db"
		none = "sslfactory=org.postgresql.ssl.NonValidatingFactory"
		java = "sslfactory=org.postgresql.ssl.DefaultJavaSSLFactory"
	)
	checkMeaning(t, []means{
		{"ssl=true", s + "ssl=True", uri + "?sslmode=verify-full"},
		{"ssl without a value", s + "ssl=", uri + "?sslmode=verify-full"},
		{"ssl=false", s + "ssl=false", uri + "?sslmode=prefer"},
		{"ssl=0", s + "ssl=0", uri + "?sslmode=prefer"},
		{"ssl=1", s + "ssl=1", uri + "?sslmode=prefer"},
		{"sslmode in capitals", s + "sslmode=Verify-Full", uri + "?sslmode=verify-full"},
		{"sslmode outranks ssl", s + "ssl=true&sslmode=require", uri + "?sslmode=require"},
		{"files", s + "sslmode=verify-ca&sslrootcert=ca.pem&sslcert=c.pem&sslkey=k.pem",
			uri + "?sslmode=verify-ca&sslrootcert=ca.pem&sslcert=c.pem&sslkey=k.pem"},
		{"direct TLS", s + "sslmode=require&sslNegotiation=direct", uri + "?sslmode=require&sslnegotiation=direct"},
		{"a factory that checks nothing", s + "ssl=true&" + none, uri + "?sslmode=require"},
		{"a factory that checks nothing, and no ssl", s + none, uri + "?sslmode=require"},
		{"a factory that checks nothing under a weak mode", s + "sslmode=prefer&" + none, uri + "?sslmode=prefer"},
		{"a factory that checks nothing under require", s + "sslmode=require&" + none, uri + "?sslmode=require"},
		{"a factory that checks nothing in a plain URI", uri + "?ssl=true&" + none, uri + "?sslmode=require"},
		{"Java's factory", s + java, uri + "?sslmode=verify-full&sslrootcert=system"},
		{"Java's factory without TLS", s + "sslmode=disable&" + java, uri + "?sslmode=disable"},
		{"the driver's own factory", s + "sslmode=require&sslfactory=org.postgresql.ssl.LibPQFactory",
			uri + "?sslmode=require"},
	})
	checkRefusal(t, []refusal{
		{"another factory", s + "sslfactory=org.postgresql.ssl.SingleCertValidatingFactory", urlfix.CodeValue, "sslfactory"},
		{"an ssl that means nothing", s + "ssl=require", urlfix.CodeValue, "ssl"},
		{"no sslmode", s + "sslmode=on", urlfix.CodeValue, "sslmode"},
		{"a key in PKCS-8", s + "sslkey=client.pk8", urlfix.CodeValue, "sslkey"},
		{"a key in PKCS-12", s + "sslkey=client.P12", urlfix.CodeValue, "sslkey"},
		{"direct TLS that is not certain", s + "sslNegotiation=direct", urlfix.CodeValue, "sslnegotiation"},
	})
	checkWarnings(t, []noted{{"a factory that checks nothing is reported", s + none, "sslfactory"}})
}

func TestKeysOfJDBCInPlainURIs(t *testing.T) {
	const s = "postgres://u:p@h/db"
	checkMeaning(t, []means{
		{"some keys", s + "?ApplicationName=x&targetServerType=primary&connectTimeout=5",
			s + "?application_name=x&target_session_attrs=primary&connect_timeout=5"},
		{"a key that Django has as well", s + "?currentSchema=x", s + "?options=-c%20search_path%3Dx"},
		{"sslmode outranks ssl", s + "?ssl=true&sslmode=require&ApplicationName=x",
			s + "?sslmode=require&application_name=x"},
		{"a plus is one in a plain URI", s + "?ApplicationName=a+b", s + "?application_name=a%2Bb"},
	})
	checkRefusal(t, []refusal{
		{"a socket factory", s + "?socketFactory=x", urlfix.CodeUnsupported, "socketFactory"},
	})
}
