#!/usr/bin/env bash
# What the tests with a real Label Studio need of the system beside the extra [test]: a chromium and PostgreSQL's server.
# Nothing to do where they are there.
set -euo pipefail

missing=()
if ! command -v chromium >/dev/null && ! command -v google-chrome >/dev/null && [ -z "${SAM_ENGINE_CHROMIUM:-}" ]; then
    missing+=(chromium fonts-dejavu-core)
fi
if ! command -v initdb >/dev/null && ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then
    missing+=(postgresql)
fi
if [ "${#missing[@]}" = 0 ]; then
    exit 0
fi
if [ "$(id -u)" != 0 ]; then
    echo "not here: ${missing[*]}; install them (names of Debian's packages)" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -q -y --no-install-recommends "${missing[@]}"
