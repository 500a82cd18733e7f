module github.com/pgsafe/pgsafe/bench

go 1.25.0

require (
	github.com/jackc/pgx/v5 v5.12.0
	github.com/lib/pq v1.12.3
	github.com/pgsafe/pgsafe v0.0.0
)

replace github.com/pgsafe/pgsafe => ../
