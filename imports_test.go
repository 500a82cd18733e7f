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

// TestImports holds which way imports go. A package that is not listed may import the standard library only.
func TestImports(t *testing.T) {
	allowed := map[string][]string{
		".": {"github.com/jackc/pgx/v5", "go.opentelemetry.io/otel", "github.com/pgsafe/pgsafe/internal/guard",
			"github.com/pgsafe/pgsafe/internal/libpq", "github.com/pgsafe/pgsafe/internal/ctxrows", "github.com/pgsafe/pgsafe/internal/ctxsettings",
			"github.com/pgsafe/pgsafe/internal/sqltext", "github.com/pgsafe/pgsafe/internal/urlfix",
			"github.com/pgsafe/pgsafe/internal/telemetry",
			"github.com/pgsafe/pgsafe/session", "github.com/pgsafe/pgsafe/telemetry"},
		"session": {"go.opentelemetry.io/otel", "github.com/pgsafe/pgsafe/internal/ctxrows",
			"github.com/pgsafe/pgsafe/internal/ctxsettings"},
		"telemetry":                {"github.com/pgsafe/pgsafe/internal/telemetry/layer"},
		"internal/telemetry/layer": {"go.opentelemetry.io/otel"},
		"internal/telemetry": {"github.com/jackc/pgx/v5", "go.opentelemetry.io/otel",
			"github.com/pgsafe/pgsafe/internal/sqltext", "github.com/pgsafe/pgsafe/internal/telemetry/layer",
			"github.com/pgsafe/pgsafe/telemetry"},
		"internal/guard":       {"github.com/jackc/pgx/v5", "github.com/pgsafe/pgsafe/internal/sqltext"},
		"internal/libpq":       {"github.com/jackc/pgx/v5", "github.com/pgsafe/pgsafe/internal/urlfix"},
		"internal/urlfix":      {},
		"internal/ctxrows":     {},
		"internal/ctxsettings": {},
		"internal/sqltext":     {"github.com/DataDog/go-sqllexer"},
		"internal/pgserver":    {},
		"internal/pgtest": {"github.com/jackc/pgx/v5", "go.uber.org/goleak",
			"github.com/pgsafe/pgsafe/internal/pgserver"},
		"internal/pgtest/oteltest": {"go.opentelemetry.io/otel"},
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
		if first, _, _ := strings.Cut(path, "/"); !strings.Contains(first, ".") {
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
