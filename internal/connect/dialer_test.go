package connect_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsafe/pgsafe/internal/connect"
	"github.com/pgsafe/pgsafe/internal/libpq"
	"github.com/pgsafe/pgsafe/internal/pgserver"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/sqlstate"
	"github.com/pgsafe/pgsafe/internal/urlfix"
)

func TestDial(t *testing.T) {
	t.Run("a connection to a server is neither pooled nor hooked, and works", func(t *testing.T) {
		made := newFixture(t, pgtest.Shared(t).Database(t), nil).dial(t)
		check.Equal(t, made.Pooled || made.Nameless || made.Hooked || !made.CertificateExpires.IsZero(), false)
		check.Equal(t, made.Conn.Conn().Config().DefaultQueryExecMode, pgx.QueryExecModeCacheStatement)
		check.OK(t, made.Conn.Ping(t.Context()))
	})
	t.Run("the application's functions and Prepare run in order for each connection", func(t *testing.T) {
		var order []string
		f := newFixture(t, pgtest.Shared(t).Database(t), func(o *connect.Options) {
			o.Password = func(context.Context) (string, error) {
				order = append(order, "password")
				return "from a function", nil
			}
			o.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error {
				order = append(order, "before with "+c.Password)
				c.RuntimeParams["application_name"] = "hooked"
				return nil
			}
			o.Prepare = func(_ context.Context, c *pgx.ConnConfig) {
				order = append(order, "prepare for "+c.RuntimeParams["application_name"])
			}
			o.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
				var name string
				err := conn.QueryRow(ctx, "show application_name").Scan(&name)
				order = append(order, "after as "+name)
				return err
			}
		})
		check.Equal(t, f.dial(t).Hooked, true)
		want := []string{"password", "before with from a function", "prepare for hooked", "after as hooked"}
		check.Equal(t, len(order), len(want))
		for i := range min(len(order), len(want)) {
			check.Equal(t, order[i], want[i])
		}
	})
	t.Run("a connection whose AfterConnect fails is closed", func(t *testing.T) {
		cluster := pgtest.Shared(t)
		uri := cluster.Database(t)
		refused := errors.New("no types for you")
		f := newFixture(t, uri, func(o *connect.Options) {
			o.AfterConnect = func(context.Context, *pgx.Conn) error { return refused }
		})
		explained, raw := f.fails(t)
		check.Equal(t, errors.Is(explained, refused), true)
		check.Equal(t, explained.Error(), refused.Error())
		check.Equal(t, f.Patience(raw), 0)
		pgtest.Eventually(t, "the connection is closed", func() bool { return cluster.Activity(t, databaseIn(t, uri)) == 0 })
	})
	t.Run("a server that ends the new connection at once is an error with its cause", func(t *testing.T) {
		cluster := pgtest.Shared(t)
		admin := cluster.Admin(t)
		f := fixtureFrom(t, cluster.Database(t), func(c *pgx.ConnConfig) {
			c.AfterConnect = func(ctx context.Context, conn *pgconn.PgConn) error {
				_, err := admin.Exec(ctx, "select pg_terminate_backend($1, 60000)", conn.PID())
				return err
			}
		}, nil)
		explained, raw := f.fails(t)
		check.Equal(t, sqlstate.Of(explained), sqlstate.AdminShutdown)
		check.Equal(t, f.Patience(raw) > 0, true)
	})
}

func TestHooked(t *testing.T) {
	standby := pgtest.Standby(t, pgtest.New(t, pgserver.Options{}))
	set := func(ctx context.Context, conn *pgconn.PgConn) error {
		return conn.Exec(ctx, "set statement_timeout = '7s'").Close()
	}
	for _, c := range []struct {
		name      string
		uri       string
		configure func(*pgx.ConnConfig)
		before    func(context.Context, *pgx.ConnConfig) error
		want      bool
	}{
		{"a configuration without functions hooks nothing", pgtest.Shared(t).URI("postgres"),
			func(*pgx.ConnConfig) {}, nil, false},
		{"pgconn's AfterConnect in the application's configuration is a hook", pgtest.Shared(t).URI("postgres"),
			func(c *pgx.ConnConfig) { c.AfterConnect = set }, nil, true},
		{"pgconn's AfterConnect that BeforeConnect sets is a hook", pgtest.Shared(t).URI("postgres"),
			func(*pgx.ConnConfig) {}, func(_ context.Context, c *pgx.ConnConfig) error {
				c.AfterConnect = set
				return nil
			}, true},
		{"a ValidateConnect of the application's own is a hook", pgtest.Shared(t).URI("postgres"),
			func(c *pgx.ConnConfig) { c.ValidateConnect = set }, nil, true},
		{"target_session_attrs=read-write is no hook",
			with(pgtest.Shared(t).URI("postgres"), "target_session_attrs=read-write"),
			func(*pgx.ConnConfig) {}, nil, false},
		{"target_session_attrs=primary is no hook",
			with(pgtest.Shared(t).URI("postgres"), "target_session_attrs=primary"),
			func(*pgx.ConnConfig) {}, nil, false},
		{"target_session_attrs=standby is no hook",
			with(standby.URI("postgres"), "target_session_attrs=standby"),
			func(*pgx.ConnConfig) {}, nil, false},
		{"target_session_attrs=read-only is no hook",
			with(standby.URI("postgres"), "target_session_attrs=read-only"),
			func(*pgx.ConnConfig) {}, nil, false},
		{"target_session_attrs=prefer-standby is no hook",
			with(standby.URI("postgres"), "target_session_attrs=prefer-standby"),
			func(*pgx.ConnConfig) {}, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			// Prepare wraps ValidateConnect as package guard does, which must count for nothing.
			made := fixtureFrom(t, c.uri, c.configure, func(o *connect.Options) {
				o.BeforeConnect = c.before
				o.Prepare = func(_ context.Context, config *pgx.ConnConfig) {
					given := config.ValidateConnect
					config.ValidateConnect = func(ctx context.Context, conn *pgconn.PgConn) error {
						if given == nil {
							return nil
						}
						return given(ctx, conn)
					}
				}
			}).dial(t)
			check.Equal(t, made.Hooked, c.want)
		})
	}
}

// connectTracer counts what it sees of its connections.
type connectTracer struct{ started, ended, queries int }

func (r *connectTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	r.queries++
	return ctx
}

func (*connectTracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (r *connectTracer) TraceConnectStart(ctx context.Context, data pgx.TraceConnectStartData) context.Context {
	if data.ConnConfig.Tracer == r {
		r.started++
	}
	return ctx
}

func (r *connectTracer) TraceConnectEnd(context.Context, pgx.TraceConnectEndData) { r.ended++ }

// queryTracer has the methods that pgx asks for, and no others.
type queryTracer struct{ t *connectTracer }

func (q queryTracer) TraceQueryStart(ctx context.Context, c *pgx.Conn, d pgx.TraceQueryStartData) context.Context {
	return q.t.TraceQueryStart(ctx, c, d)
}

func (queryTracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// TestTracer pins pgx v5.12.0, conn.go, connect: the tracer of the configuration is called first,
// and read again afterwards.
func TestTracer(t *testing.T) {
	for _, c := range []struct {
		name    string
		tracer  func(*connectTracer) pgx.QueryTracer
		connect int
	}{
		{"a tracer of connects sees the dial and the statements, and not the question to the server",
			func(r *connectTracer) pgx.QueryTracer { return r }, 1},
		{"a tracer of statements sees those", func(r *connectTracer) pgx.QueryTracer { return queryTracer{r} }, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			seen := &connectTracer{}
			tracer := c.tracer(seen)
			made := newFixture(t, pgtest.Shared(t).Database(t), func(o *connect.Options) {
				o.Prepare = func(_ context.Context, config *pgx.ConnConfig) { config.Tracer = tracer }
			}).dial(t)
			check.Equal(t, seen.started == c.connect && seen.ended == c.connect && seen.queries == 0, true)
			check.Equal(t, made.Conn.Conn().Config().Tracer == tracer, true)
			_, err := made.Conn.Conn().Exec(t.Context(), "select 1")
			check.OK(t, err)
			check.Equal(t, seen.queries, 1)
		})
	}
	t.Run("without a tracer the connection has none", func(t *testing.T) {
		made := newFixture(t, pgtest.Shared(t).Database(t), nil).dial(t)
		check.Equal(t, made.Conn.Conn().Config().Tracer == nil, true)
	})
}

func TestUnusableFile(t *testing.T) {
	t.Run("a changed file of TLS that cannot be used is logged", func(t *testing.T) {
		config, err := pgx.ParseConfig("host=localhost")
		check.OK(t, err)
		server := &libpq.Config{Conn: config}
		f := fixtureOf(t, server, nil)
		server.OnUnusable(&urlfix.Error{Part: "sslcert", Reason: "it holds no certificate"})
		contains(t, f.log.String(), `level=WARN msg="pgsafe: a changed file of TLS cannot be used`)
		contains(t, f.log.String(), "pool=orders part=sslcert")
	})
}
