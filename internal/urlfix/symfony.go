package urlfix

// doctrineURI is what Doctrine reads under schemes of its own: Tools/DsnParser.php. Symfony's
// strings are plain URIs.
var doctrineURI = dialect{name: "doctrine", answers: []string{"pdo"}, read: parseWeb, tool: &symfonyTool,
	query: queryForm, settings: true}

// symfonyTool are the parameters of Doctrine and Symfony in a URI.
var symfonyTool = tool{name: "Doctrine", rules: table(
	serverVersion,
	charset,
	ignored("driver", ""),
	ignored("persistent", "left out: connections are always pooled"),
	ignored("default_dbname", "left out: Doctrine connects to this database when it has none to name"),
	refused("dbname_suffix", "write the whole name of the database"),
	refused("unix_socket", "write host=/DIRECTORY"),
)}

// serverVersion saves Doctrine a question to the server.
var serverVersion = ignored("serverVersion", "")
