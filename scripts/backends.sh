#!/bin/sh
# Shows pgsafe in real backends: builds Jaeger from its Go module, installs Prometheus where there is none, and runs
# the tests of backends/ against both. Arguments go to go test: `scripts/backends.sh -keep` leaves both running,
# with what they were sent. PGSAFE_JAEGER_BIN=/path/to/all-in-one is used instead of a build of our own.
#
# The first run downloads hundreds of modules and compiles for minutes, into about a gigabyte of Go's build cache; the
# program is kept in the user's cache. It wants a PostgreSQL: scripts/test.sh gets one. With -if-built as its first
# argument the script does nothing where that first run is still to come.
#
# Jaeger's Go module has no pages. PGSAFE_JAEGER_UI=/path/to/build has it serve those in that directory, a build of
# jaeger-ui; the default is pgsafe/jaeger-ui-v1.76.0 in the user's cache, if that is there.
set -eu
cd "$(dirname "$0")/.."

if_built=
if [ "${1:-}" = -if-built ]; then
	if_built=yes
	shift
fi

jaeger=github.com/jaegertracing/jaeger@v1.76.0
checksum=h1:sWCOOF1dr+NL0PLil7mFo3BqqQL8k4WiM7aguFbc14g= # of the module, as go.sum would have it

step() { printf '\n== %s\n' "$*"; }

# field prints one of the strings that `go mod download -json` wrote.
field() { printf '%s\n' "$2" | sed -n 's/^[[:space:]]*"'"$1"'": "\(.*\)",*$/\1/p'; }

# Jaeger is built within its own module, so that it gets the versions that it was released with and no module of ours
# has its hundreds of dependencies.
build_jaeger() {
	module=$(GOWORK=off go mod download -json "$jaeger")
	if [ "$(field Sum "$module")" != "$checksum" ]; then
		printf '%s is not what it was: %s\n' "$jaeger" "$(field Sum "$module")"
		exit 1
	fi
	mkdir -p "$(dirname "$1")"
	GOWORK=off nice -n 10 go build -C "$(field Dir "$module")" -ldflags='-s -w' -o "$1.new" ./cmd/all-in-one
	mv "$1.new" "$1"
}

cache=${XDG_CACHE_HOME:-$HOME/.cache}/pgsafe
pages=$cache/jaeger-ui-${jaeger##*@}
if [ -z "${PGSAFE_JAEGER_UI:-}" ] && [ -f "$pages/index.html" ]; then
	PGSAFE_JAEGER_UI=$pages
	export PGSAFE_JAEGER_UI
fi

if [ -z "${PGSAFE_JAEGER_BIN:-}" ]; then
	PGSAFE_JAEGER_BIN=$cache/jaeger-${jaeger##*@}
	export PGSAFE_JAEGER_BIN
	if [ ! -x "$PGSAFE_JAEGER_BIN" ] && [ -n "$if_built" ]; then
		echo "left out: scripts/backends.sh builds $jaeger once, which takes minutes"
		exit 0
	fi
	if [ ! -x "$PGSAFE_JAEGER_BIN" ]; then
		step "build $jaeger"
		build_jaeger "$PGSAFE_JAEGER_BIN"
	fi
fi

if ! command -v prometheus >/dev/null; then
	step "get Prometheus"
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
		apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends prometheus
	elif command -v brew >/dev/null; then
		brew install prometheus
	else
		echo "install it so that the command prometheus is found"
		exit 1
	fi
fi

step "go test ./backends"
go test -C backends -tags backends -race -count=1 "$@"
