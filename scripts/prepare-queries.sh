#!/bin/sh
# Makes .sqlx/: what the compile-time checked queries need to know of the schema when no database is at hand.
# Run it after every change of a query or a migration, and commit the outcome. It does what `cargo sqlx prepare` does
# (a check of the crate with the queries, against a live database, with SQLX_OFFLINE_DIR set), without needing sqlx-cli,
# on a private Postgres of its own that is gone afterwards. `--check` only says whether .sqlx/ is up to date.
set -eu
cd "$(dirname "$0")/.."

bin=$(dirname "$(readlink -f "$(command -v postgres || ls -d /usr/lib/postgresql/*/bin/postgres | sort -V | tail -n 1)")")
work=$(mktemp -d /tmp/diptych-prepare.XXXXXX)
chmod 755 "$work"

# Postgres refuses to run as root.
as=""
if [ "$(id -u)" = 0 ]; then
    user=$(id -u postgres 2>/dev/null || id -u nobody)
    chown "$user" "$work"
    as="setpriv --reuid=$user --clear-groups"
fi
trap '$as "$bin/pg_ctl" -D "$work/cluster" -m immediate stop >/dev/null 2>&1 || true; rm -rf "$work"' EXIT

$as "$bin/initdb" -D "$work/cluster" -U diptych -A trust -E UTF8 --locale=C -N >"$work/log" 2>&1
$as "$bin/pg_ctl" -D "$work/cluster" -w -l "$work/cluster/log" -o "-k $work -c listen_addresses='' -c fsync=off" start >/dev/null
cat migrations/[0-9]*.sql | "$bin/psql" -q -v ON_ERROR_STOP=1 -h "$work" -U diptych -d postgres

mkdir "$work/sqlx"
touch builder/src/store.rs # or cargo finds nothing to do
SQLX_OFFLINE=false SQLX_OFFLINE_DIR="$work/sqlx" DATABASE_URL="postgres://diptych@localhost/postgres?host=$work" \
    cargo check --release -p builder

if [ "${1-}" = --check ]; then
    diff -r .sqlx "$work/sqlx" && echo ".sqlx is up to date"
else
    mkdir -p .sqlx
    rm -f .sqlx/query-*.json
    cp "$work"/sqlx/query-*.json .sqlx/
    echo "wrote $(ls .sqlx | wc -l) files to .sqlx"
fi
