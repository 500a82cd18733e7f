#!/bin/sh
# All checks of all modules: formatting, vet, staticcheck, the tests under the race detector, and a few seconds of
# each fuzz target. It gets PostgreSQL where there is none: from the system's package manager when it may use that,
# else by the same download that `pgsafe doctor` makes. PGSAFE_PG_BIN=/path/to/bin chooses one. PgBouncer comes from the
# package manager, as do libpq's headers, which some tests compare with, and Prometheus' promtool, which tests the alerts
# of docs/dashboards. Those two are done without otherwise.
set -eu
cd "$(dirname "$0")/.."

step() { printf '\n== %s\n' "$*"; }

# A container may run us without HOME. Go wants one for its caches.
if [ -z "${HOME:-}" ]; then
	HOME=$(getent passwd "$(id -u)" 2>/dev/null | cut -d: -f6)
	[ -n "$HOME" ] && [ -w "$HOME" ] || HOME=${TMPDIR:-/tmp}
	export HOME
fi

has_postgres() {
	# pg_config alone may belong to a client library's headers.
	[ -n "${PGSAFE_PG_BIN:-}" ] || command -v initdb >/dev/null ||
		{ command -v pg_config >/dev/null && [ -x "$(pg_config --bindir)/initdb" ]; } ||
		ls /usr/lib/postgresql/*/bin/initdb /usr/pgsql-*/bin/initdb /opt/homebrew/opt/postgresql@*/bin/initdb >/dev/null 2>&1
}

install_postgres() {
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
		apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends postgresql
	elif [ "$(id -u)" = 0 ] && command -v dnf >/dev/null; then
		dnf install -y postgresql-server
	elif [ "$(id -u)" = 0 ] && command -v apk >/dev/null; then
		apk add postgresql
	elif command -v brew >/dev/null; then
		brew install postgresql@17
	else
		return 1
	fi
}

if ! has_postgres; then
	step "get PostgreSQL"
	install_postgres || {
		PGSAFE_PG_BIN=$(go run ./cmd/pgsafe postgres-bin)
		export PGSAFE_PG_BIN
	}
fi

# The tests that go through a pooler want PgBouncer, and say so where it is missing.
has_pgbouncer() { command -v pgbouncer >/dev/null || [ -x /usr/sbin/pgbouncer ]; }

install_pgbouncer() {
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
		apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends pgbouncer
	elif [ "$(id -u)" = 0 ] && command -v dnf >/dev/null; then
		dnf install -y pgbouncer
	elif [ "$(id -u)" = 0 ] && command -v apk >/dev/null; then
		apk add pgbouncer
	elif command -v brew >/dev/null; then
		brew install pgbouncer
	else
		return 1
	fi
}

if ! has_pgbouncer; then
	step "get PgBouncer"
	install_pgbouncer || echo "without it, the tests that go through a pooler fail"
fi

has_libpq() {
	command -v cc >/dev/null && printf '#include <libpq-fe.h>\n' | cc -E -x c - \
		-I"$(pg_config --includedir 2>/dev/null || echo .)" -I/usr/include/postgresql >/dev/null 2>&1
}

install_libpq() {
	[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
	apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends libpq-dev gcc libc6-dev
}

if ! has_libpq; then
	step "get libpq"
	install_libpq || echo "without it, the tests that ask libpq what a string means are left out"
fi

# Debian's package prometheus has promtool, and the server that scripts/backends.sh starts.
install_promtool() {
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
		apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends prometheus
	elif command -v brew >/dev/null; then
		brew install prometheus
	else
		return 1
	fi
}

if [ -z "${PGSAFE_PROMTOOL:-}" ] && ! command -v promtool >/dev/null; then
	step "get promtool"
	install_promtool || echo "without it, the tests of the alert rules are left out"
fi
if [ -z "${PGSAFE_PROMTOOL:-}" ] && command -v promtool >/dev/null; then
	PGSAFE_PROMTOOL=$(command -v promtool) # the tests fail without it from here on
	export PGSAFE_PROMTOOL
fi

step "gofmt"
unformatted=$(gofmt -l .)
if [ -n "$unformatted" ]; then
	printf 'run gofmt -w on:\n%s\n' "$unformatted"
	exit 1
fi

step "go vet"
go vet work
go vet -tags backends ./backends

step "staticcheck"
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
GOWORK=off go build -C scripts/tools -o "$tools/" honnef.co/go/tools/cmd/staticcheck
for module in $(go list -m -f '{{.Dir}}'); do
	(cd "$module" && "$tools/staticcheck" -tags backends ./...)
done

step "the library builds for other systems"
for os in darwin windows; do
	GOOS=$os go build . ./internal/urlfix
done
GOARCH=386 CGO_ENABLED=0 go build . ./internal/urlfix # an int of 32 bits

step "go test -race work"
go test -race -timeout 30m work # one package takes longer than the ten minutes of the default on a slow machine

step "allocations, which the race detector changes"
go test -run Allocations . ./bench

step "traces in Jaeger, metrics and alerts in Prometheus"
scripts/backends.sh -if-built

# fuzz runs one target. Now and then go test itself fails when the time is up while a worker is busy, with "context
# deadline exceeded" and no failing input; the target then has to pass once more.
fuzz() {
	if go test -run '^$' -fuzz "^$2\$" -fuzztime "$FUZZTIME" "$1" >"$tools/fuzz.log" 2>&1; then
		cat "$tools/fuzz.log"
		return
	fi
	cat "$tools/fuzz.log"
	grep -q '^    context deadline exceeded$' "$tools/fuzz.log" || return 1
	! grep -q 'Failing input' "$tools/fuzz.log" || return 1
	go test -run '^$' -fuzz "^$2\$" -fuzztime "$FUZZTIME" "$1"
}

step "fuzzing, ${FUZZTIME:=10s} for each target"
for package in $(go list ./...); do
	for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
		fuzz "$package" "$target"
	done
done

step "all is well"
