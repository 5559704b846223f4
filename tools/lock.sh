#!/usr/bin/env bash
# Resolves pyproject.toml anew and writes the requirements*.lock files: exact versions
# with hashes, for every platform and Python that the project supports.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=$(command -v .venv/bin/uv || command -v uv)

compile() {
    local lock=$1
    shift
    "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --custom-compile-command "make lock" --output-file "$lock" "$@"
}

compile requirements-uv.lock --group uv
compile requirements-build.lock --group build
compile requirements.lock pyproject.toml
compile requirements-dev.lock pyproject.toml --extra dev --constraint requirements.lock
