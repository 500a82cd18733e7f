package pgsafe_test

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

// TestImports holds the direction of imports, which is the direction of data: see docs/architecture.md. A package may
// import the standard library and what stands here. Names without a host are pgsafe's own.
func TestImports(t *testing.T) {
	const pgx, otel = "github.com/jackc/pgx/v5", "go.opentelemetry.io/otel"
	allowed := map[string][]string{
		".": {pgx, otel, "telemetry", "internal/background", "internal/connect", "internal/ctxsettings", "internal/dbsql", "internal/driverkeys", "internal/failure",
			"internal/canceler", "internal/driverkeys", "internal/libpq", "internal/pool", "internal/records", "internal/scope", "internal/serverconn",
			"internal/sqlstate", "internal/sqltext", "internal/telemetry", "internal/urlfix", "internal/wire"},
		"session": {"github.com/pgsafe/pgsafe", "internal/ctxsettings", "internal/scope", "internal/serverconn", "internal/sqlstate",
			"internal/telemetry"},
		"internal/scope": {pgx, "internal/ctxsettings", "internal/pool", "internal/ratelog", "internal/serverconn", "internal/sqltext", "internal/telemetry"},
		"telemetry":      {otel, "internal/telemetry/layer", "internal/telemetry/options"},
		"pgsafetest":     {"github.com/pgsafe/pgsafe", "internal/pgserver", "internal/scope", "internal/telemetry"},
		"pgsafeexpvar":   {"github.com/pgsafe/pgsafe"},

		"internal/pool": {"internal/background", "internal/health"},
		"internal/serverconn": {pgx, "internal/canceler", "internal/ctxsettings", "internal/failure", "internal/health", "internal/socket",
			"internal/sqlstate", "internal/sqltext", "internal/telemetry", "internal/wire"},
		"internal/connect": {pgx, "internal/errno", "internal/failure", "internal/libpq", "internal/redact", "internal/sqlstate",
			"internal/urlfix", "internal/wire"},
		"internal/driverkeys": {pgx, "internal/urlfix"},
		"internal/failure":    {pgx, "internal/errno", "internal/libpq", "internal/sqlstate"},
		"internal/canceler":   {pgx, "internal/sqlstate", "internal/wire"},
		"internal/wire":       {pgx, "internal/failure", "internal/sqlstate"},
		"internal/socket":     {},

		"internal/records": {pgx, "internal/connect", "internal/failure", "internal/ratelog", "internal/serverconn", "internal/sqlstate",
			"internal/telemetry"},

		"internal/telemetry": {pgx, otel, "telemetry", "internal/failure", "internal/sqlstate", "internal/sqltext",
			"internal/telemetry/layer", "internal/telemetry/options"},
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
			check.OK(t, err)
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

// TestArchitecture holds docs/architecture.md against the code that it names.
func TestArchitecture(t *testing.T) {
	page, err := os.ReadFile("docs/architecture.md")
	check.OK(t, err)
	t.Run("each function that the page names is in its file", func(t *testing.T) {
		named := regexp.MustCompile("`([a-z0-9_/]+\\.go)`: `([A-Za-z]+)`").FindAllSubmatch(page, -1)
		check.Equal(t, len(named) > 20, true)
		for _, n := range named {
			file, function := string(n[1]), string(n[2])
			code, err := os.ReadFile(file)
			check.OK(t, err)
			if !regexp.MustCompile(`(?m)^func (\([^)]*\) )?` + function + `\b`).Match(code) {
				t.Errorf("%s has no function %s", file, function)
			}
		}
	})
	t.Run("each package below internal has a place on the page and in TestImports", func(t *testing.T) {
		dirs, err := filepath.Glob("internal/*")
		check.OK(t, err)
		imports, err := os.ReadFile("imports_test.go")
		check.OK(t, err)
		for _, dir := range dirs {
			if !strings.Contains(string(imports), strconv.Quote(filepath.ToSlash(dir))) {
				t.Errorf("TestImports does not hold %s", dir)
			}
			if !strings.Contains(string(page), filepath.Base(dir)) {
				t.Errorf("docs/architecture.md does not name %s", dir)
			}
		}
	})
}

func checkImports(t *testing.T, file string, allowed []string) {
	t.Helper()
	src, err := os.ReadFile(file)
	check.OK(t, err)
	parsed, err := parser.ParseFile(token.NewFileSet(), file, src, parser.ImportsOnly)
	check.OK(t, err)
	for _, spec := range parsed.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		check.OK(t, err)
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
