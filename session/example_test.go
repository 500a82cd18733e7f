package session_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/session"
)

// Each request becomes a session. Handlers use the plain *sql.DB with the request's context.
func ExampleMiddleware() {
	db, err := sql.Open("pgsafe", "postgres://app@db.internal/orders?pool_max_conns=20&pool_acquire_timeout=5s")
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /orders", func(w http.ResponseWriter, r *http.Request) {
		var n int
		if err := db.QueryRowContext(r.Context(), "SELECT count(*) FROM orders").Scan(&n); err != nil {
			http.Error(w, "try again", http.StatusInternalServerError)
			return
		}
		fmt.Fprintln(w, n)
	})
	server := &http.Server{Handler: session.Middleware(db)(mux), ReadHeaderTimeout: 5 * time.Second}
	_ = server
}

// A session outside of HTTP. A temporary table stays with the session, and is gone after it.
func ExampleDo() {
	refresh := func(ctx context.Context, db *sql.DB) error {
		return session.Do(ctx, db, func(ctx context.Context) error {
			if _, err := db.ExecContext(ctx, "CREATE TEMPORARY TABLE changed AS SELECT id FROM orders WHERE dirty"); err != nil {
				return err
			}
			_, err := db.ExecContext(ctx, "UPDATE totals SET stale = true WHERE order_id IN (SELECT id FROM changed)")
			return err
		})
	}
	_ = refresh
}

// Functions that take a context do not know whether there is a transaction. A caller that wants both
// or neither begins one.
func ExampleTx() {
	withdraw := func(ctx context.Context, db *sql.DB, account, amount int64) error {
		_, err := db.ExecContext(ctx, "UPDATE accounts SET balance = balance - $1 WHERE id = $2", amount, account)
		return err
	}
	transfer := func(ctx context.Context, db *sql.DB, from, to, amount int64) error {
		return session.Tx(ctx, db, nil, func(ctx context.Context) error {
			if err := withdraw(ctx, db, from, amount); err != nil {
				return err
			}
			return withdraw(ctx, db, to, -amount)
		})
	}
	_ = transfer
}

// A transaction within another one is a savepoint: if it fails, only it is undone.
func ExampleTx_nested() {
	addAll := func(ctx context.Context, db *sql.DB, names []string) error {
		return session.Tx(ctx, db, nil, func(ctx context.Context) error {
			for _, name := range names {
				err := session.Tx(ctx, db, nil, func(ctx context.Context) error {
					_, err := db.ExecContext(ctx, "INSERT INTO people (name) VALUES ($1)", name)
					return err
				})
				if err != nil && pgsafe.KindOf(err) != pgsafe.KindUnique { // a name that is taken is skipped
					return err
				}
			}
			return nil
		})
	}
	_ = addAll
}

// A serializable transaction that loses to another one runs again, up to five times.
func ExampleTxOptions_retries() {
	reserve := func(ctx context.Context, db *sql.DB, seat int) error {
		opts := &session.TxOptions{Isolation: sql.LevelSerializable, Retries: 5}
		return session.Tx(ctx, db, opts, func(ctx context.Context) error {
			log.Printf("reserving seat %d, attempt %d", seat, session.Attempt(ctx))
			_, err := db.ExecContext(ctx, "INSERT INTO reservations (seat) VALUES ($1)", seat)
			return err
		})
	}
	_ = reserve
}

// Many rows in small transactions. The work goes on when the request is over.
func ExampleBatch() {
	add := func(ctx context.Context, db *sql.DB, ids []int64) error {
		return session.Batch(session.Detach(ctx), db, len(ids), 500, func(ctx context.Context, from, to int) error {
			_, err := db.ExecContext(ctx, "INSERT INTO orders (id) SELECT unnest($1::bigint[])", ids[from:to])
			return err
		}, session.WithProgress(func(done, all int) { log.Printf("%d of %d orders", done, all) }))
	}
	_ = add
}

// The settings follow the context through all code that runs statements with it. A policy reads
// them:
//
//	CREATE POLICY tenant ON orders
//	USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::int)
func ExampleWithSettings() {
	withTenant := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx := session.WithSettings(r.Context(), map[string]string{"app.tenant_id": r.Header.Get("Tenant")})
			next.ServeHTTP(w, r.WithContext(ctx))
		})
	}
	_ = withTenant
}

// Work that goes on after the request, and is not undone with the caller's transaction.
func ExampleDetach() {
	audit := func(ctx context.Context, db *sql.DB, what string) {
		ctx, cancel := context.WithTimeout(session.Detach(ctx), 10*time.Second)
		go func() {
			defer cancel()
			if _, err := db.ExecContext(ctx, "INSERT INTO audit (what) VALUES ($1)", what); err != nil {
				log.Print(err)
			}
		}()
	}
	_ = audit
}
