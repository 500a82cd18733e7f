package libpq

import (
	"cmp"
	"runtime"
	"slices"
	"strings"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

// systemRoots is the value of sslrootcert that names no file.
const systemRoots = "system"

// checkTLS refuses combinations of keywords that libpq refuses, or that would protect less than
// they say (pqConnectOptions2, fe-connect.c). It reads no file, and runs before pgx parses.
func checkTLS(k keywords) *urlfix.Error {
	return cmp.Or(checkRoot(k), checkNegotiation(k), checkVersions(k), checkEngine(k))
}

// checkRoot looks at what sslmode is to verify against.
func checkRoot(k keywords) *urlfix.Error {
	mode, root := k.get("sslmode"), k.get("sslrootcert")
	switch {
	case root == systemRoots && mode != "verify-full":
		return tlsFault(k.part("sslmode"), "it is too weak for sslrootcert=system", "write sslmode=verify-full")
	case mode == "verify-ca" && root == "":
		return tlsFault(k.part("sslmode"), "verify-ca needs sslrootcert: without it, any public certificate would pass",
			"name the file of your certificate authority as sslrootcert, or write sslmode=verify-full")
	}
	return nil
}

// checkNegotiation refuses to begin with TLS where its absence would be fine.
func checkNegotiation(k keywords) *urlfix.Error {
	weak := slices.Contains([]string{"", "disable", "allow", "prefer"}, k.get("sslmode"))
	if k.get("sslnegotiation") == "direct" && weak {
		return tlsFault(k.part("sslnegotiation"), "direct needs sslmode=require or stronger",
			"add sslmode=require, or sslmode=verify-full to check the server's certificate")
	}
	return nil
}

// checkVersions refuses a range of versions that is empty (sslVerifyProtocolRange, fe-connect.c).
// The minimum has a default, which counts.
func checkVersions(k keywords) *urlfix.Error {
	low, high := tlsVersions(k)
	if high == 0 || low <= high {
		return nil
	}
	if k.get("ssl_min_protocol_version") == "" {
		return tlsFault(k.part("ssl_max_protocol_version"), "it is less than the default minimum, TLSv1.2",
			"set ssl_min_protocol_version too, or leave it out")
	}
	return tlsFault(k.part("ssl_min_protocol_version"), "it is greater than ssl_max_protocol_version",
		"leave one of the two out")
}

// checkEngine refuses "engine:key", which is a file nowhere.
func checkEngine(k keywords) *urlfix.Error {
	if !isEngineKey(k.get("sslkey")) {
		return nil
	}
	return tlsFault(k.part("sslkey"), "it names a key in an OpenSSL engine, which is not supported",
		"name a file without a colon in its path")
}

// isEngineKey tells as libpq does: no name of a file has a colon, but for a drive of Windows
// (initialize_SSL, fe-secure-openssl.c).
func isEngineKey(value string) bool {
	if runtime.GOOS == "windows" && len(value) > 1 && value[1] == ':' {
		value = value[2:]
	}
	return strings.Contains(value, ":")
}

// secure replaces what pgx made of the TLS keywords, in c.Conn and in every fallback. pgx only
// decides where TLS is used, by host and sslmode: it must not get the files, since it reads fewer
// kinds of them, and weighs them otherwise. What is wrong with them is said here; for each
// connection they are looked at again.
func secure(c *Config, k keywords, sslPassword urlfix.Secret) *urlfix.Error {
	if !usesTLS(&c.Conn.Config) { // sslmode=disable, or a socket directory: libpq looks at no file either
		return nil
	}
	var err *urlfix.Error
	if c.tls, err = newTransports(k, sslPassword, c.foundUnusable); err != nil {
		return err
	}
	c.tls.first.apply(c.Conn)
	c.Warnings = append(c.Warnings, unusedWarnings(k)...)
	return nil
}
