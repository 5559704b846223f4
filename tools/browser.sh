#!/usr/bin/env bash
# Makes sure that there is a Chromium for the tests of the demo page, and prints its path.
# CHROMIUM=… names one that is not on the PATH.
set -euo pipefail

find_browser() {
    local name
    for name in ${CHROMIUM:-chromium chromium-browser google-chrome google-chrome-stable}; do
        command -v "$name" && return
    done
    return 1
}

find_browser && exit
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing Chromium with apt-get" >&2
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq >&2
    apt-get install -y -qq --no-install-recommends chromium >&2 || true
    find_browser && exit
fi
cat >&2 <<'END'
error: no Chromium found; the tests of the demo page run in one
  fix: Debian: apt-get install chromium
  fix: Ubuntu: snap install chromium
  fix: Fedora: dnf install chromium
  fix: macOS: brew install --cask chromium
  fix: installed elsewhere? CHROMIUM=/path/to/chromium
END
exit 1
