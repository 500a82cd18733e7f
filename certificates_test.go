package pgsafe_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgserver"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/telemetry"
)

// certified makes a client certificate that lives so long, and returns a connection string with it.
func certified(t *testing.T, lifetime time.Duration) (dsn, certFile, keyFile string) {
	t.Helper()
	cluster := pgtest.ClientCert(t)
	uri, _, _ := strings.Cut(cluster.Database(t), "?") // first: that takes a part of a short life
	certFile, keyFile, err := cluster.ClientCertWith("postgres", pgserver.CertOptions{Lifetime: lifetime})
	check.OK(t, err)
	return uri + "?sslmode=verify-full&sslrootcert=" + cluster.CAFile() + "&sslcert=" + certFile + "&sslkey=" + keyFile,
		certFile, keyFile
}

// install puts a new client certificate into the files, the one after the other.
func install(t *testing.T, certFile, keyFile string, lifetime time.Duration) error {
	t.Helper()
	cert, key, err := pgtest.ClientCert(t).ClientCertWith("postgres", pgserver.CertOptions{Lifetime: lifetime})
	if err != nil {
		return err
	}
	for target, source := range map[string]string{certFile: cert, keyFile: key} {
		text, err := os.ReadFile(source)
		if err != nil {
			return err
		}
		if err := os.WriteFile(target, text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func TestClientCertificates(t *testing.T) {
	// A server says of a certificate what it has to say at another point of each version: before the client takes the
	// connection for made, or after.
	for _, version := range []string{"TLSv1.2", "TLSv1.3"} {
		only := "ssl_min_protocol_version=" + version + "&ssl_max_protocol_version=" + version
		t.Run("let the user in that they name, "+version, func(t *testing.T) {
			dsn, _, _ := certified(t, time.Hour)
			db := open(t, pgsafe.DriverName, with(dsn, only))
			check.Equal(t, one[string](t, db, "select version || client_dn from pg_stat_ssl where pid = pg_backend_pid()"), version+"/CN=postgres")
			err := open(t, pgsafe.DriverName, with(strings.Replace(dsn, "postgres@", "other@", 1), only)).PingContext(t.Context())
			check.Equal(t, pgsafe.KindOf(err), pgsafe.KindAuth)
		})
		t.Run("that are replaced under load fail nothing, "+version, func(t *testing.T) {
			testRotation(t, only)
		})
		t.Run("that have expired are named in the error, "+version, func(t *testing.T) {
			testExpired(t, only)
		})
	}
	t.Run("that have expired and are replaced work without a restart", func(t *testing.T) {
		dsn, certFile, keyFile := certified(t, -time.Hour)
		db := open(t, pgsafe.DriverName, dsn)
		check.Equal(t, errors.Is(db.PingContext(t.Context()), pgsafe.ErrCertificateExpired), true)
		check.OK(t, install(t, certFile, keyFile, time.Hour))
		check.OK(t, db.PingContext(t.Context()))
	})
	t.Run("that expire take their connections with them: idle and in use", func(t *testing.T) {
		dsn, certFile, keyFile := certified(t, 5*time.Second) // one of less may expire before all is connected
		db := open(t, pgsafe.DriverName, dsn)
		used, err := db.Conn(t.Context())
		check.OK(t, err)
		defer used.Close()
		check.OK(t, used.PingContext(t.Context()))
		holdAll(t, db, 3)()
		check.Equal(t, statsOf(t, db).Total, 4)
		check.OK(t, install(t, certFile, keyFile, time.Hour))
		pgtest.Eventually(t, "only the one in use is left", func() bool { return statsOf(t, db).Total == 1 })
		check.OK(t, used.PingContext(t.Context()))
		check.OK(t, used.Close())
		pgtest.Eventually(t, "that is closed too", func() bool { return statsOf(t, db).Total == 0 })
		check.OK(t, db.PingContext(t.Context()))
	})
	t.Run("that take their connections with them are told in the log", func(t *testing.T) {
		dsn, _, _ := certified(t, 5*time.Second) // one of less may expire before all is connected
		var log syncBuffer
		c, err := pgsafe.NewConnector(dsn, pgsafe.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		check.OK(t, err)
		db := sql.OpenDB(c)
		defer db.Close()
		holdAll(t, db, 3)()
		pgtest.Eventually(t, "they are closed, and it is told", func() bool {
			return statsOf(t, db).Total == 0 && strings.Contains(log.String(), "cause=certificate")
		})
	})
	t.Run("may be told of in a log that is kept in the same database", func(t *testing.T) {
		dsn, certFile, _ := certified(t, 10*time.Minute)
		log := &databaseLog{Handler: slog.DiscardHandler}
		c, err := pgsafe.NewConnector(dsn, pgsafe.WithLogger(slog.New(log)))
		check.OK(t, err)
		log.db = sql.OpenDB(c)
		defer log.db.Close()
		log.db.SetMaxIdleConns(0)
		check.OK(t, log.db.PingContext(t.Context())) // it is about to expire
		check.OK(t, os.WriteFile(certFile, nil, 0o600))
		holdAll(t, log.db, 3)()
		check.Equal(t, log.lines.Load(), 2)
		check.Equal(t, log.failed.Load(), 0)
	})
	t.Run("that are about to expire are told in the log once, and how long they have left to the metrics", func(t *testing.T) {
		dsn, certFile, _ := certified(t, 10*time.Minute)
		var log syncBuffer
		reader := sdkmetric.NewManualReader()
		c, err := pgsafe.NewConnector(dsn, pgsafe.WithLogger(slog.New(slog.NewTextHandler(&log, nil))),
			pgsafe.WithTelemetry(telemetry.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)))))
		check.OK(t, err)
		db := sql.OpenDB(c)
		defer db.Close()
		holdAll(t, db, 3)()
		check.Equal(t, strings.Count(log.String(), "about to expire"), 1)
		check.Equal(t, strings.Contains(log.String(), certFile), true)
		left := expiry(t, reader)
		if left <= 0 || left > 600 {
			t.Errorf("it has %v s left, want at most 600", left)
		}
	})
}

// databaseLog writes its records to the database that they are about.
type databaseLog struct {
	slog.Handler
	db            *sql.DB
	lines, failed atomic.Int32
}

func (*databaseLog) Enabled(context.Context, slog.Level) bool { return true }

func (l *databaseLog) Handle(_ context.Context, r slog.Record) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	l.lines.Add(1)
	if _, err := l.db.ExecContext(ctx, "select $1::text", r.Message); err != nil {
		l.failed.Add(1)
		return err
	}
	return nil
}

// testRotation replaces a certificate all the time while connections are made and statements run.
func testRotation(t *testing.T, only string) {
	t.Helper()
	dsn, certFile, keyFile := certified(t, time.Hour)
	// Each connection lives for some statements, so that new ones are made all the time. It has to live for longer than
	// it may take to hand it out: pgxpool gives up after pool_max_conns+1 that were too old by then (Acquire, pool.go).
	db := open(t, pgsafe.DriverName, with(dsn, only+"&pool_max_conn_lifetime=50ms&pool_max_conns=4"))
	rotating := make(chan error, 1)
	var rotations, statements atomic.Int32
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() {
		for ctx.Err() == nil {
			if err := install(t, certFile, keyFile, time.Hour); err != nil {
				rotating <- err
				return
			}
			rotations.Add(1)
		}
		rotating <- nil
	}()
	inParallel(t, 4, func(int) error {
		for rotations.Load() < 3 || statsOf(t, db).Opened < 20 {
			if _, err := db.ExecContext(ctx, "select 1"); err != nil {
				return err
			}
			statements.Add(1)
		}
		return nil
	})
	stop()
	check.OK(t, <-rotating)
	t.Logf("%d statements, 0 errors; %d rotations, %d connections opened", statements.Load(), rotations.Load(), statsOf(t, db).Opened)
}

func testExpired(t *testing.T, only string) {
	t.Helper()
	dsn, certFile, _ := certified(t, -time.Hour)
	var log syncBuffer
	c, err := pgsafe.NewConnector(with(dsn, only), pgsafe.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	check.OK(t, err)
	db := sql.OpenDB(c)
	defer db.Close()
	err = db.PingContext(t.Context())
	check.Equal(t, errors.Is(err, pgsafe.ErrCertificateExpired), true)
	check.Equal(t, pgsafe.KindOf(err), pgsafe.KindConfig)
	for _, want := range []string{certFile, time.Now().Add(-time.Hour).UTC().Format("2006-01-02")} {
		if !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("the error does not name %s: %v", want, err)
		}
	}
	check.Equal(t, strings.Contains(log.String(), "level=ERROR msg=\"pgsafe: the client certificate has expired\""), true)
}

func expiry(t *testing.T, reader sdkmetric.Reader) float64 {
	t.Helper()
	var all metricdata.ResourceMetrics
	check.OK(t, reader.Collect(t.Context(), &all))
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if data, ok := m.Data.(metricdata.Gauge[float64]); ok && m.Name == "pgsafe.tls.certificate.expiry" {
				return data.DataPoints[0].Value
			}
		}
	}
	t.Fatal("there is no such measurement")
	return 0
}
