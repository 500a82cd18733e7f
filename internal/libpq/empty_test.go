package libpq_test

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"testing"

	"github.com/pgsafe/pgsafe/internal/libpq"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

// To libpq, an empty value in the string is a value: the environment and the service file do not fill it in, and what
// it means is the default.
func TestEmptyValuesKeepTheEnvironmentAway(t *testing.T) {
	home(t)
	cluster := pgtest.Shared(t)
	account := "select current_user || '@' || current_database()"
	server := fmt.Sprintf("host=127.0.0.1 port=%d sslmode=disable ", cluster.Port())
	t.Run("an empty database means the database of the user's name", func(t *testing.T) {
		t.Setenv("PGDATABASE", "template1")
		dsn := server + "user=postgres dbname=''"
		check.Equal(t, show(t, connect(t, dsn), account), "postgres@postgres")
		check.Equal(t, show(t, connect(t,
			fmt.Sprintf("postgres://postgres@127.0.0.1:%d/?sslmode=disable&dbname=", cluster.Port())), account),
			"postgres@postgres")
		psqlAgrees(t, dsn, account, "postgres@postgres")
	})
	t.Run("an empty user means the system account", func(t *testing.T) {
		t.Setenv("PGUSER", "somebody")
		account, err := user.Current()
		check.OK(t, err)
		for _, dsn := range []string{"host=h user=''", "postgres://h/?user=", "service=nameless"} {
			t.Setenv("PGSERVICEFILE", writeFile(t, "services", "[nameless]\nuser=\n"))
			c, err := read(dsn)
			check.OK(t, err)
			check.Equal(t, c.Conn.User, account.Username)
		}
	})
	t.Run("an empty password falls back to the password file", func(t *testing.T) {
		t.Setenv("PGPASSWORD", "password-of-the-environment")
		t.Setenv("PGPASSFILE", writeFile(t, "passwords", "*:*:*:*:password-of-the-file\n"))
		t.Setenv("PGSERVICEFILE", writeFile(t, "services", "[open]\npassword=\n[closed]\npassword=password-of-the-service\n"))
		r := newRecorder(t, nil)
		for _, dsn := range []string{
			"password='' host=127.0.0.1",
			"service=closed password='' host=127.0.0.1",
			"service=open host=127.0.0.1",
		} {
			_, err := dialDSN(t, fmt.Sprintf("user=u sslmode=disable port=%d %s", r.port(), dsn))
			check.Equal(t, err != nil, true)
		}
		same(t, r.passwords(), "password-of-the-file", "password-of-the-file", "password-of-the-file")
	})
	t.Run("an empty requirepeer requires nothing", func(t *testing.T) {
		t.Setenv("PGREQUIREPEER", "nobody-here")
		connect(t, with(cluster.SocketURI("postgres"), "requirepeer", ""))
	})
}

func TestAnEmptyRootCertificateIsTheDefaultFile(t *testing.T) {
	dir := home(t)
	cluster := pgtest.SharedTLS(t)
	ca, err := os.ReadFile(cluster.CAFile())
	check.OK(t, err)
	check.OK(t, os.WriteFile(filepath.Join(dir, "root.crt"), ca, 0o600))
	t.Setenv("PGSSLROOTCERT", newAuthority(t, "another", nil).file(t))
	dsn := fmt.Sprintf("host=localhost port=%d user=%s password='%s' dbname=%s sslmode=verify-full ",
		cluster.Port(), pgtest.TLSUser, pgtest.TLSPassword, pgtest.TLSDatabase)
	check.Equal(t, outcome(t, dsn), refused)
	check.Equal(t, outcome(t, dsn+"sslrootcert=''"), encrypted)
	psqlAgrees(t, dsn+"sslrootcert=''", "select 'in'", "in")
}

// psqlAgrees checks what libpq makes of a string, if psql is installed.
func psqlAgrees(t *testing.T, dsn, query, want string) {
	t.Helper()
	psql, err := exec.LookPath("psql")
	if err != nil {
		return // it was held against the expectation already
	}
	out, err := exec.Command(psql, "-XAtw", dsn, "-c", query).CombinedOutput()
	if err != nil || string(out) != want+"\n" {
		t.Errorf("psql says %s, %v", out, err)
	}
}

func TestNoNameForTheAccount(t *testing.T) {
	libpq.SetCurrentUser(t, func() (*user.User, error) { return nil, user.UnknownUserIdError(4321) })
	t.Setenv("PGSERVICE", "others")
	t.Setenv("PGSERVICEFILE", writeFile(t, "services", "[others]\nuser=somebody\n[bare]\nhost=h\n"))
	t.Run("the user of another service does not replace the string's", func(t *testing.T) {
		check.Equal(t, refusal(t, "service=bare").Part, "user")
	})
	t.Run("a string with a user needs no account name", func(t *testing.T) {
		c, err := read("service=bare user=u")
		check.OK(t, err)
		check.Equal(t, c.Conn.User, "u")
	})
}
