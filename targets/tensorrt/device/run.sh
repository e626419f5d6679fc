#!/bin/sh
# Builds, proves and times this bundle's engines on the device: sh device/run.sh [all|detect|build|compare|time]
# Prints measurements as JSON on stdout. Needs JetPack's Python 3.8 or later and trtexec, nothing else.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

if ! command -v python3 >/dev/null 2>&1; then
    echo "error: python3 is missing; install it with: sudo apt install python3" >&2
    exit 1
fi
if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 8))'; then
    echo "error: python3 is older than 3.8; use JetPack 5 or later" >&2
    exit 1
fi

exec python3 -B "$here/main.py" "$@"
