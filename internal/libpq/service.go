package libpq

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

// service is one section of a service file.
type service struct {
	name, file string
	params     []urlfix.Param
}

// fromService reads the service that the string names, or PGSERVICE.
func (s *settings) fromService() *urlfix.Error {
	if name := os.Getenv("PGSERVICE"); name != "" {
		s.keywords.fill("service", name, origin{"PGSERVICE", environment})
	}
	name := s.keywords.get("service")
	if name == "" {
		return nil
	}
	found, err := findService(name, s.keywords.part("service"))
	if err != nil {
		return err
	}
	for _, p := range found.params {
		if err := s.offer(p.Key, p.Value, origin{p.Key + " (service file)", serviceFile}); err != nil {
			return serviceFault(err)
		}
	}
	return nil
}

// serviceFault hides the names of unknown keys: what is no key may be anything.
func serviceFault(err *urlfix.Error) *urlfix.Error {
	if err.Code != urlfix.CodeUnknownKey {
		return err
	}
	return &urlfix.Error{Code: urlfix.CodeUnknownKey, Part: "service", Pos: -1,
		Reason: "the service file has a key that is neither libpq's nor a setting of the server",
		Hint:   "keep pool_* and other keys of the driver in the connection string"}
}

// systemDirs are where packages of libpq look for pg_service.conf, which each of them knows from
// when it was built: Debian's, Red Hat's, and PostgreSQL's own default.
var systemDirs = []string{"/etc/postgresql-common", "/etc/sysconfig/pgsql", "/usr/local/pgsql/etc"}

// findService follows parseServiceInfo (fe-connect.c). It reads the file of PGSERVICEFILE, which
// must then exist, or the user's file. If the service is not in it, it reads the system's file.
func findService(name, part string) (*service, *urlfix.Error) {
	files, fault := serviceFiles()
	if fault != nil {
		return nil, fault
	}
	for _, file := range files {
		text, err := os.ReadFile(file.path)
		if err != nil {
			return nil, file.fault(part, err)
		}
		params, found, fault := parseService(string(text), name)
		if fault != nil {
			return nil, fault
		}
		if found {
			return &service{name: name, file: file.path, params: params}, nil
		}
	}
	return nil, &urlfix.Error{Code: urlfix.CodeValue, Part: part, Pos: -1,
		Reason: "no service file defines this service",
		Hint: "add it to ~/.pg_service.conf, to the file that PGSERVICEFILE names, " +
			"or to pg_service.conf in the directory PGSYSCONFDIR"}
}

// definitions is a service file.
type definitions struct{ path, called string }

// The three kinds of them, as errors call them.
const (
	namedFile  = "the service file"
	homeFile   = "the service file in the home directory"
	systemFile = "the service file of the system"
)

// fault says that the file cannot be read. part is where the name of the service comes from: that
// is at fault unless a variable names the file.
func (d definitions) fault(part string, err error) *urlfix.Error {
	if d.called == namedFile {
		part = "PGSERVICEFILE"
	}
	return &urlfix.Error{Code: urlfix.CodeValue, Part: part, Pos: -1,
		Reason: d.called + " cannot be read: " + fileTrouble(err),
		Hint:   "let this process read it, or name another one in PGSERVICEFILE"}
}

func serviceFiles() ([]definitions, *urlfix.Error) {
	var files []definitions
	if file := (definitions{os.Getenv("PGSERVICEFILE"), namedFile}); file.path != "" {
		if _, err := os.Stat(file.path); err != nil {
			return nil, file.fault("PGSERVICEFILE", err)
		}
		files = append(files, file)
	} else if path := inHome(serviceFileName); exists(path) {
		files = append(files, definitions{path, homeFile})
	}
	dirs := systemDirs
	if dir := os.Getenv("PGSYSCONFDIR"); dir != "" {
		dirs = []string{dir}
	}
	for _, dir := range dirs {
		if path := filepath.Join(dir, "pg_service.conf"); exists(path) {
			return append(files, definitions{path, systemFile}), nil
		}
	}
	return files, nil
}

// parseService follows parseServiceFile (fe-connect.c): the first section of that name counts, and
// in it the first value of a key. Blanks around "=" are not libpq's, but pgx's.
func parseService(text, name string) (params []urlfix.Param, found bool, fault *urlfix.Error) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			if found {
				return params, true, nil
			}
			found = strings.HasPrefix(line[1:], name+"]")
		case found:
			p, err := parseServiceLine(line)
			if err != nil {
				return nil, false, err
			}
			params = append(params, p)
		}
	}
	return params, found, nil
}

func parseServiceLine(line string) (urlfix.Param, *urlfix.Error) {
	if strings.HasPrefix(line, "ldap") {
		return urlfix.Param{}, &urlfix.Error{Code: urlfix.CodeUnsupported, Part: "service", Pos: -1,
			Reason: "the service file asks an LDAP server, which is not supported",
			Hint:   "write the keywords themselves into the file"}
	}
	key, value, ok := strings.Cut(line, "=")
	if !ok {
		return urlfix.Param{}, &urlfix.Error{Code: urlfix.CodeSyntax, Part: "service", Pos: -1,
			Reason: "the service file has a line that is not KEYWORD=VALUE", Hint: "start comments with #"}
	}
	if trimmed := strings.TrimSpace(key); trimmed != key {
		key, value = trimmed, strings.TrimSpace(value)
	}
	if key == "service" {
		return urlfix.Param{}, &urlfix.Error{Code: urlfix.CodeUnsupported, Part: "service", Pos: -1,
			Reason: "a service cannot name another one", Hint: "write the keywords themselves into the file"}
	}
	return urlfix.Param{Key: key, Value: value}, nil
}
