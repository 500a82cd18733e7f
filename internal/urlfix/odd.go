package urlfix

import (
	"net/netip"
	"strings"
)

// warnOdd warns of values that are valid, and most likely a mistake.
func (d *DSN) warnOdd() {
	if last := strings.TrimRight(d.Database, "/\";,#'\u00a0"); last != d.Database && last != "" {
		d.warn("database", "its last character is hardly a part of the name: something that stood behind the string")
	}
	if password := d.Password.Reveal(); len(password) > 1 && (password[0] == '"' || password[0] == '\'') &&
		password[len(password)-1] == password[0] {
		d.warn("password", "the quotation marks around it are a part of it")
	}
	for _, h := range d.Hosts {
		if oddAddress(h.Name) {
			d.warn("host", "it looks like an IPv4 address and is none, so that it is looked up as a name")
			break
		}
	}
	for _, p := range d.Params {
		switch p.Key {
		case "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslcrldir", "passfile":
			if strings.HasPrefix(p.Value, "$") || strings.HasPrefix(p.Value, "~") || strings.HasPrefix(p.Value, "%") {
				d.warn(p.Key, "it is the name of a file as it stands: variables and ~ are not replaced")
			}
		}
	}
}

// oddAddress reports whether name has only numbers between dots and is no address.
func oddAddress(name string) bool {
	if strings.IndexByte(name, '.') < 0 || strings.Trim(name, "0123456789.") != "" {
		return false
	}
	_, err := netip.ParseAddr(name)
	return err != nil
}
