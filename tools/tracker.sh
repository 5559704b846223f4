#!/usr/bin/env bash
# Builds the tracker for browsers from serving/tracker into serving/assets/tracker, and tests it.
# Needed after a change of its sources only: what it builds is part of the repository.
set -euo pipefail
cd "$(dirname "$0")/../serving/tracker"

version=$(node --version 2>/dev/null || echo v0)
major=${version#v}
if [ "${major%%.*}" -lt 20 ]; then
    cat >&2 <<END
error: the tracker is built with Node 20 or newer (found: ${version/v0/none})
  fix: Debian, Ubuntu: apt-get install nodejs npm, or a newer one from nodejs.org
  fix: macOS: brew install node
END
    exit 1
fi

npm ci --ignore-scripts --no-fund --no-audit --loglevel=error
npm run --silent check
npm run --silent build
npm test --silent
