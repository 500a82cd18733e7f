package urlfix_test

import (
	"net/url"
	"strings"
	"testing"
)

// FuzzFormsOfTools puts a password into the forms that tools have of their own, the way their users do.
func FuzzFormsOfTools(f *testing.F) {
	hermetic(f)
	for _, password := range []string{
		"s3cretPw", "p@ss/w:rd", `pa;ss"wo'rd\`, "a=b&c=d+e%41", " blanks ", "[x]{y}<z>", "50%off", "=x==", "x;Host=evil", "x'; host=evil '", "é",
		"x@evil/y", "x&user=y", "#?",
	} {
		f.Add("Host=h;Username=u;Password="+password, password)
		f.Add("jdbc:postgresql://h/db?user=u&password="+password, password)
		f.Add("pgsql:host=h;user=u;password="+password, password)
		f.Add("pg:u:"+password+"@/tmp:5432/db", password)
		f.Add("ecto://u:"+password+"@h/db", password)
		f.Add("postgis://u:"+password+"@//run/postgresql/db", password)
		f.Add("pgx5://u:"+password+"@h/db?x-lock-table=x", password)
		f.Add("postgres://u:"+password+"@h/db?ApplicationName=x&ssl=true&pool_size=5", password)
	}
	f.Fuzz(func(t *testing.T, dsn, password string) {
		checkAccepted(t, dsn)
		if !strings.Contains(password, "@") || !strings.Contains(password, "?") { // that may be a URI of its own
			for _, scheme := range []string{"ecto://", "postgis://", "pgx5://", "pdo-pgsql://"} {
				checkRaw(t, scheme, "u", password, "h.pgsafe.example")
			}
			if path, _, found := strings.Cut(password, "?"); !found || !strings.Contains(path, "/") { // that may be JDBC's
				checkRaw(t, "jdbc:postgresql://", "u", password, "h.pgsafe.example")
			}
		}
		for _, form := range []struct{ before, password, after string }{
			{`Host=h.pgsafe.example;Username=u;Password="`, strings.ReplaceAll(password, `"`, `""`), `";Database=db`},
			{`Host=h.pgsafe.example;Username=u;Password='`, strings.ReplaceAll(password, `'`, `''`), `';Database=db`},
			{`pgsql:host=h.pgsafe.example;user=u;password='`, strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(password), `';dbname=db`},
			{`jdbc:postgresql://h.pgsafe.example/db?user=u&password=`, url.QueryEscape(password), ``},
			{`Host=h.pgsafe.example;Username=u;Password=`, plainer(password, `;"'`), `;Database=db`},
			{`jdbc:postgresql://h.pgsafe.example/db?user=u&password=`, plainer(password, "&+"), ``},
		} {
			checkPasswordIn(t, form.before, form.password, form.after, password)
		}
	})
}

// plainer returns the password if it has none of the characters that end a value, or mean something else in one.
func plainer(password, special string) string {
	if strings.ContainsAny(password, special) || strings.HasPrefix(password, "=") || strings.Trim(password, " ") != password {
		return "x"
	}
	return password
}

// checkPasswordIn holds that a password in a form is refused, or comes out as it is. Where it was replaced by "x", that
// does.
func checkPasswordIn(t *testing.T, before, written, after, password string) {
	t.Helper()
	dsn := before + written + after
	d := checkAccepted(t, dsn)
	if d == nil {
		return
	}
	if len(d.Hosts) != 1 || d.Hosts[0].Name != "h.pgsafe.example" || d.User != "u" || d.Database != "db" {
		t.Fatalf("the password of %q leaked into %v", dsn, d)
	}
	got := d.Password.Reveal()
	decoded := strings.HasPrefix(before, "jdbc:") && strings.Contains(written, "%") // then it is not as it was written
	if got != password && got != written && !decoded {
		t.Fatalf("the password of %q is %q", dsn, got)
	}
}
