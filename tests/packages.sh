#!/bin/sh
# Installs the Debian packages that building, running and testing need, if any is missing:
# as root, or through sudo. Says what and why; does nothing, and needs no network, when all
# are there. Usage: tests/packages.sh [run|deb]   (only what `make run`, `make deb` needs)
set -eu

build='gcc:compiler make:build pkg-config:build libc6-dev:build libcivetweb-dev:HTTP-server
libcjson-dev:JSON libhiredis-dev:Redis-client libcurl4-openssl-dev:API-client
libyaml-dev:configuration libssl-dev:HMAC-and-TLS tzdata:time-zones'
run='redis-server:streams curl:posting-by-hand openssl:hook-tokens-by-hand'
deb='dpkg-dev:package'
tests='clang:second-compiler-and-fuzzing libclang-rt-dev:sanitizers clang-format-19:formatting
clang-tidy:analysis libcriterion-dev:unit-tests python3:live-tests python3-pytest:live-tests
python3-pytest-xdist:tests-side-by-side
python3-redis:real-consumer python3-jsonschema:schemas python3-yaml:reading-documents
valgrind:instruction-counts procps:processes e2fsprogs:small-disk
strace:failing-syncs mandoc:manual-pages systemd:unit-checks systemd-container:booted-machine
nginx-light:proxy-tests haproxy:proxy-tests
caddy:setup-test pebble:ACME-server git:tree-checks
webdis:benchmark-peer wrk:load prometheus:metric-and-alert-checks nodejs:second-consumer
node-redis:second-consumer node-qs:benchmark-peer php-cli:benchmark-peer
iproute2:test-networks faketime:clocks-that-lie lintian:package-checks'
# large, and not everywhere to be had: without them the tests of the page are skipped, and say so
browser='chromium:page-in-a-browser chromium-driver:page-in-a-browser python3-selenium:page-in-a-browser'

case ${1:-all} in
run) want="$build $run" ;;
deb) want="$build $deb" ;;
*) want="$build $run $deb $tests" ;;
esac
find_missing() { # LIST
    missing=
    for item in $1; do
        package=${item%%:*}
        if ! dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed'; then
            missing="$missing $package"
            echo "missing: $package ($(echo "${item#*:}" | tr - ' '))"
        fi
    done
}
install_missing() {
    as_root=
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || {
            echo "Please install as root:  apt-get install$missing" >&2
            return 1
        }
        as_root=sudo
    fi
    echo "installing with apt-get:$missing"
    # Services that a package would start are not wanted here: policy-rc.d says 101 for "no".
    $as_root apt-get update -qq &&
        $as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
            apt-get install -y -qq --no-install-recommends $missing >/dev/null
}

find_missing "$want"
[ -z "$missing" ] || install_missing
[ "${1:-all}" = all ] || exit 0
find_missing "$browser"
[ -z "$missing" ] || install_missing ||
    echo "not installed:$missing; tests/browser will be skipped" >&2
