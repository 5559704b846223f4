#!/usr/bin/env bash
# Makes sure that the programs are there that tests run in, and that `make dev` cannot bring:
# tools/test_programs.sh [chromium] [promtool]; without a name, the first two.
# CHROMIUM=… names a browser that is not on the PATH.
set -euo pipefail

find_program() {
    local name
    case $1 in
        chromium) set -- ${CHROMIUM:-chromium chromium-browser google-chrome google-chrome-stable} ;;
    esac
    for name in "$@"; do
        command -v "$name" >/dev/null && return
    done
    return 1
}

package_of() { # Debian's
    case $1 in
        promtool) echo prometheus ;;
        *) echo "$1" ;;
    esac
}

elsewhere() {
    case $1 in
        chromium)
            echo "Ubuntu: snap install chromium"
            echo "Fedora: dnf install chromium"
            echo "macOS: brew install --cask chromium"
            echo "installed elsewhere? CHROMIUM=/path/to/chromium"
            ;;
        promtool)
            echo "Fedora: dnf install golang-github-prometheus"
            echo "macOS: brew install prometheus"
            ;;
        *) echo "known are chromium and promtool" ;;
    esac
}

[ $# -gt 0 ] || set -- chromium promtool
for program in "$@"; do
    find_program "$program" && continue
    package=$(package_of "$program")
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "Installing $package with apt-get" >&2
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq >&2
        apt-get install -y -qq --no-install-recommends "$package" >&2 || true
        find_program "$program" && continue
    fi
    echo "error: no $program found; tests run in it" >&2
    printf '  fix: %s\n' "Debian: apt-get install $package" >&2
    elsewhere "$program" | sed 's/^/  fix: /' >&2
    exit 1
done
