package pgsafe_test

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestImports holds the direction of imports, which is the direction of data: see docs/architecture.md. A package may
// import the standard library and what stands here. Names without a host are pgsafe's own.
func TestImports(t *testing.T) {
	const pgx, otel = "github.com/jackc/pgx/v5", "go.opentelemetry.io/otel"
	allowed := map[string][]string{
		".": {pgx, otel, "telemetry", "internal/background", "internal/connect", "internal/ctxsettings", "internal/dbsql", "internal/driverkeys", "internal/failure",
			"internal/canceler", "internal/driverkeys", "internal/libpq", "internal/pool", "internal/ratelog", "internal/serverconn",
			"internal/sqlstate", "internal/sqltext", "internal/telemetry", "internal/urlfix", "internal/wire"},
		"session":   {otel, "internal/ctxsettings", "internal/serverconn"},
		"telemetry": {otel, "internal/telemetry/layer", "internal/telemetry/options"},

		"internal/pool": {"internal/background", "internal/health"},
		"internal/serverconn": {pgx, "internal/canceler", "internal/ctxsettings", "internal/health", "internal/socket",
			"internal/sqlstate", "internal/sqltext", "internal/telemetry", "internal/wire"},
		"internal/connect": {pgx, "internal/errno", "internal/failure", "internal/libpq", "internal/redact", "internal/sqlstate",
			"internal/urlfix", "internal/wire"},
		"internal/driverkeys": {pgx, "internal/urlfix"},
		"internal/failure":    {pgx, "internal/libpq", "internal/sqlstate"},
		"internal/canceler":   {pgx, "internal/sqlstate", "internal/wire"},
		"internal/wire":       {pgx, "internal/sqlstate"},
		"internal/socket":     {},

		"internal/telemetry":         {pgx, otel, "telemetry", "internal/sqltext", "internal/telemetry/layer"},
		"internal/telemetry/layer":   {otel},
		"internal/telemetry/options": {otel, "internal/telemetry/layer"},

		"internal/libpq":       {pgx, "internal/urlfix"},
		"internal/urlfix":      {},
		"internal/sqltext":     {"github.com/DataDog/go-sqllexer"},
		"internal/background":  {},
		"internal/ctxsettings": {},
		"internal/dbsql":       {},
		"internal/errno":       {},
		"internal/health":      {},
		"internal/ratelog":     {},
		"internal/redact":      {},
		"internal/sqlstate":    {},

		"internal/pgserver":        {},
		"internal/pgtest":          {pgx, "go.uber.org/goleak", "internal/pgserver"},
		"internal/pgtest/oteltest": {otel},
	}
	for dir, prefixes := range allowed {
		t.Run("package "+dir, func(t *testing.T) {
			files, err := filepath.Glob(filepath.Join(dir, "*.go"))
			must(t, err)
			if len(files) == 0 {
				t.Fatal("it has no files: the test looks in the wrong place")
			}
			for _, file := range files {
				if !strings.HasSuffix(file, "_test.go") {
					checkImports(t, file, prefixes)
				}
			}
		})
	}
}

func checkImports(t *testing.T, file string, allowed []string) {
	t.Helper()
	src, err := os.ReadFile(file)
	must(t, err)
	parsed, err := parser.ParseFile(token.NewFileSet(), file, src, parser.ImportsOnly)
	must(t, err)
	for _, spec := range parsed.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		must(t, err)
		path = strings.TrimPrefix(path, "github.com/pgsafe/pgsafe/")
		first, _, _ := strings.Cut(path, "/")
		if own := first == "internal" || first == "session" || first == "telemetry"; !own && !strings.Contains(first, ".") {
			continue // the standard library
		}
		fine := false
		for _, prefix := range allowed {
			fine = fine || path == prefix || strings.HasPrefix(path, prefix+"/")
		}
		if !fine {
			t.Errorf("%s imports %s", file, path)
		}
	}
}
