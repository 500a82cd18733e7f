package pgserver_test

import (
	"strings"
	"testing"

	"github.com/pgsafe/pgsafe/internal/pgserver"
)

func TestStartRefusesOptionsThatCannotWork(t *testing.T) {
	setting := func(name, value string) pgserver.Options {
		return pgserver.Options{Settings: map[string]string{name: value}}
	}
	for _, test := range []struct {
		name string
		opts pgserver.Options
		want string // in the error
	}{
		{"SCRAM without a password", pgserver.Options{Auth: pgserver.SCRAM}, "needs a Password"},
		{"an unknown authentication", pgserver.Options{Auth: 7}, "Auth 7"},
		{"a password with a zero byte", pgserver.Options{Password: "sec\x00ret"}, "Options.Password"},
		{"a user that is not UTF-8", pgserver.Options{User: "\xff"}, "Options.User"},
		{"two lines in one entry of HBA", pgserver.Options{HBA: []string{"a\nb"}}, "more than one line"},
		{"two lines in a setting", setting("work_mem", "1MB\nport=1"), "work_mem"},
		{"a name that is no setting", setting("work mem", "1MB"), "work mem"},
		{"a port", setting("Port", "5432"), "Port"},
		{"a log collector", setting("logging_collector", "on"), "logging_collector"},
		{"a log that does not show readiness", setting("log_min_messages", "PANIC"), "log_min_messages"},
	} {
		t.Run("Start refuses "+test.name, func(t *testing.T) {
			s, err := pgserver.Start(t.Context(), test.opts)
			if err == nil {
				_ = s.Stop(pgserver.Immediate)
				t.Fatal("it started")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error does not say %q: %v", test.want, err)
			}
			if strings.Contains(err.Error(), "sec") {
				t.Errorf("the error has the password: %v", err)
			}
		})
	}
}

func TestStartDoesNotWriteToTheCallersSettings(t *testing.T) {
	settings := map[string]string{"Work_Mem": "5MB", "app.quoted": `it's a \ here`}
	s := start(t, pgserver.Options{Settings: settings, HBA: []string{"# nothing"}})
	if len(settings) != 2 {
		t.Errorf("the settings are now %v", settings)
	}
	if got := ask[string](t, s.URI(""), "SHOW work_mem"); got != "5MB" {
		t.Errorf("work_mem = %s", got)
	}
	if got := ask[string](t, s.URI(""), "SHOW app.quoted"); got != settings["app.quoted"] {
		t.Errorf("app.quoted = %s", got)
	}
}
