#!/usr/bin/env bash
# Makes .venv from the lock files: tools/environment.sh runtime|dev
# PYTHON=… names another interpreter than the first suitable one on the PATH.
set -euo pipefail
cd "$(dirname "$0")/.."

case ${1:-} in
    runtime) lock=requirements.lock ;;
    dev) lock=requirements-dev.lock ;;
    *) echo "usage: $0 runtime|dev" >&2; exit 2 ;;
esac

fail() {
    printf 'error: %s\n' "$1" >&2
    printf '  fix: %s\n' "${@:2}" >&2
    exit 1
}

suitable() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
        if suitable "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    fail "no Python from 3.11 to 3.13 found (python3 is $(python3 --version 2>&1 || true))" \
        "Debian 12+, Ubuntu 24.04+: apt-get install python3 python3-venv python3-dev gcc" \
        "macOS: brew install python@3.13" \
        "installed elsewhere? make env PYTHON=/path/to/python3"
}

check_compiler() {
    .venv/bin/python -c 'import lightfm' 2>/dev/null && return # compiled already
    command -v "${CC:-cc}" >/dev/null || command -v gcc >/dev/null || command -v clang >/dev/null ||
        fail "no C compiler found; the recommender (lightfm-next) compiles on this machine" \
            "Debian, Ubuntu: apt-get install gcc libc6-dev python3-dev" \
            "Fedora: dnf install gcc python3-devel" "macOS: xcode-select --install"
    "$1" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' ||
        fail "the C headers of $("$1" --version) (Python.h) are missing; lightfm-next compiles" \
            "Debian, Ubuntu: apt-get install python3-dev" "Fedora: dnf install python3-devel"
}

make_venv() {
    suitable .venv/bin/python && return
    "$1" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$("$1" --version) has no venv module" "Debian, Ubuntu: apt-get install python3-venv"
    echo "Creating .venv with $("$1" --version)"
    "$1" -m venv --clear .venv
}

# uv reads none of pip's settings: hand over what a machine behind a mirror has set.
adopt_pip_settings() {
    local index
    index=${PIP_INDEX_URL:-$(pip config get global.index-url 2>/dev/null || true)}
    if [ -n "$index" ] && [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}" ]; then
        export UV_DEFAULT_INDEX=$index
    fi
    if [ -n "${PIP_CERT:-}" ]; then
        export SSL_CERT_FILE=${SSL_CERT_FILE:-$PIP_CERT}
    fi
}

# Caches go below .venv when the home directory takes none.
find_cache() {
    local cache=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}
    if ! { mkdir -p "$cache" && [ -w "$cache" ]; } 2>/dev/null; then
        export XDG_CACHE_HOME=$PWD/.venv/cache
    fi
}

pip() {
    .venv/bin/python -m pip --disable-pip-version-check "$@"
}

install() {
    if [ -x .venv/bin/uv ]; then
        VIRTUAL_ENV=$PWD/.venv UV_PYTHON_DOWNLOADS=never .venv/bin/uv pip install $quiet $compile \
            --build-constraints requirements-build.lock "$@"
    else
        PIP_CONSTRAINT=requirements-build.lock pip install --quiet "$@"
    fi
}

# Where Python may not keep its bytecode, every process would compile everything again.
[ -n "${PYTHONDONTWRITEBYTECODE:-}" ] && compile=--compile-bytecode || compile=
[ -t 2 ] && quiet= || quiet=--quiet # progress bars are for terminals
python=$(find_python)
make_venv "$python"
check_compiler "$python"
find_cache
.venv/bin/python -c 'import pip' 2>/dev/null || .venv/bin/python -m ensurepip >/dev/null
adopt_pip_settings
pip install --quiet --require-hashes --requirement requirements-uv.lock ||
    echo "uv is not available here; pip installs, which takes some minutes longer" >&2
install --require-hashes --requirement requirements-build.lock
echo "Installing $(grep -c "^[a-z0-9].*==" "$lock") packages from $lock"
install --require-hashes --requirement "$lock"
install --require-hashes --no-deps --requirement requirements-data.lock
install --no-deps --no-build-isolation --editable .
