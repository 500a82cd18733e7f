//go:build backends

package backends

import (
	"context"
	"database/sql"
	"encoding/json"
	"net/http"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"

	"github.com/pgsafe/pgsafe"
)

// schema is what the service's database holds before it starts.
const schema = `
	CREATE TABLE stock (sku text PRIMARY KEY, pieces int NOT NULL);
	CREATE TABLE orders (number int PRIMARY KEY, sku text NOT NULL, buyer text NOT NULL);
	INSERT INTO stock VALUES ('` + sku + `', 100)`

// What no trace may show: an argument, and literals in the text of statements.
const (
	buyer   = "Ada Lovelace"
	sku     = "sku-of-the-book"
	channel = "sold-over-the-counter"
)

// order is what a buyer sends.
type order struct {
	Number int
	Sku    string
	Buyer  string
}

// orders is the service that is looked at: net/http with otelhttp on database/sql with pgsafe, and nothing that knows
// of tracing in between.
func orders(db *sql.DB) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /orders", func(w http.ResponseWriter, r *http.Request) {
		var o order
		if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.WriteHeader(status(place(r.Context(), db, o), http.StatusCreated))
	})
	mux.HandleFunc("GET /orders", func(w http.ResponseWriter, r *http.Request) {
		var n int
		err := db.QueryRowContext(r.Context(),
			"SELECT count(*) FROM orders WHERE buyer <> '"+channel+"' -- "+channel).Scan(&n)
		w.WriteHeader(status(err, http.StatusOK))
	})
	return otelhttp.NewHandler(mux, "orders")
}

// place books the order in one transaction. Each order has a unique number.
func place(ctx context.Context, db *sql.DB, o order) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	var pieces int
	err = tx.QueryRowContext(ctx, "SELECT pieces FROM stock WHERE sku = $1 FOR UPDATE", o.Sku).Scan(&pieces)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "UPDATE stock SET pieces = pieces - 1 WHERE sku = '"+sku+"'"); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO orders (number, sku, buyer) VALUES ($1, $2, $3)", o.Number, o.Sku, o.Buyer)
	if err != nil {
		return err
	}
	return tx.Commit()
}

func status(err error, fine int) int {
	switch {
	case err == nil:
		return fine
	case pgsafe.KindOf(err) == pgsafe.KindUnique:
		return http.StatusConflict
	}
	return http.StatusInternalServerError
}
