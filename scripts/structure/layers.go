package main

import (
	"fmt"
	"slices"
	"strings"
)

// layers are the library's packages from the lowest to the highest. A package may import those of
// lower layers and of its own.
var layers = [][]string{
	{
		"internal/background", "internal/ctxsettings", "internal/dbsql", "internal/errno", "internal/health",
		"internal/ratelog", "internal/redact", "internal/sqlstate", "internal/sqltext", "internal/urlfix",
	},
	{"internal/driverkeys", "internal/libpq", "internal/socket"},
	{"internal/failure"},
	{"internal/telemetry", "internal/wire", "telemetry"},
	{"internal/canceler"},
	{"internal/connect", "internal/serverconn"},
	{"internal/pool", "internal/records"},
	{"internal/scope"},
	{"."},
	{"debugz", "pgsafeexpvar", "session"},
	{"internal/pgserver", "internal/pgtest", "internal/pgtest/check", "pgsafetest"}, // for tests
}

// layer returns the layer of a package, or false if it has none. A package below another has that
// one's, unless it is listed.
func layer(name string) (int, bool) {
	for i, packages := range layers {
		if slices.Contains(packages, name) {
			return i, true
		}
	}
	if cut := strings.LastIndexByte(name, '/'); cut > 0 {
		return layer(name[:cut])
	}
	return 0, false
}

// printImports prints the imports between the library's packages that run backwards.
func printImports(packages []*pkg) {
	var imports int
	var backwards, unknown []string
	for _, p := range packages {
		from, known := layer(p.name())
		if !known {
			unknown = append(unknown, p.name())
			continue
		}
		for _, path := range p.Imports {
			if path != p.Module.Path && !strings.HasPrefix(path, p.Module.Path+"/") {
				continue
			}
			imports++
			name := within(p.Module.Path, path)
			if to, known := layer(name); known && to > from {
				backwards = append(backwards, fmt.Sprintf("%s imports %s", p.name(), name))
			}
		}
	}
	fmt.Printf("\nimports between packages: %d, backwards: %d\n", imports, len(backwards))
	for _, line := range backwards {
		fmt.Println("  " + line)
	}
	if len(unknown) > 0 {
		fmt.Println("packages without a layer:", strings.Join(unknown, ", "))
	}
}
