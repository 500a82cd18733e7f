-- name: AddOrder :one
INSERT INTO orders (item) VALUES ($1) RETURNING id;

-- name: ListShipped :many
SELECT item FROM orders WHERE shipped ORDER BY id;

-- name: ShipOrder :exec
UPDATE orders SET shipped = true WHERE id = $1;
