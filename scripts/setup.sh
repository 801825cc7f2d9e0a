#!/bin/sh
# Make .venv and install the workspace into it.
#   scripts/setup.sh demo   what `make demo` needs
#   scripts/setup.sh dev    everything: all members, tests, linters
# Needs only Python 3.11 or later. Does nothing when nothing has changed.
set -eu
cd "$(dirname "$0")/.."
what=${1:-dev}
venv=${WINDLASS_VENV:-.venv}
say() { printf '%s\n' "$*" >&2; }

stamp="$venv/.windlass-$what"
sum=$(cat pyproject.toml constraints.txt scripts/setup.sh examples/digits/requirements.txt \
    core/pyproject.toml agent/pyproject.toml cli/pyproject.toml server/pyproject.toml meta/pyproject.toml \
    testkit/pyproject.toml plugins/*/*/pyproject.toml integrations/*/pyproject.toml | cksum)
if [ -x "$venv/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null || true)" = "$sum" ]; then
    exit 0
fi

find_python() {
    for name in ${PYTHON:-} python3.11 python3.12 python3.13 python3.14 python3 python; do
        if command -v "$name" >/dev/null 2>&1 &&
            "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    say "error: Python 3.11 or later is needed, and was not found on PATH."
    say "  hint: install it (on Debian: apt install python3-venv), or run: make ${MAKECMDGOALS:-demo} PYTHON=/path/to/python3.11"
    exit 2
}

make_venv() {
    python=$1
    # A Debian without python3-venv makes a broken directory and fails; it is removed before the next way is tried.
    "$python" -m venv "$venv" >/dev/null 2>&1 && return
    rm -rf "$venv"
    "$python" -m virtualenv -q "$venv" >/dev/null 2>&1 && return
    if "$python" -m pip --version >/dev/null 2>&1; then
        say "The module venv is not usable; trying virtualenv …"
        target=$(mktemp -d)
        if "$python" -m pip install -q --target "$target" virtualenv >/dev/null 2>&1 &&
            PYTHONPATH="$target" "$python" -m virtualenv -q "$venv" >/dev/null 2>&1; then
            rm -rf "$target"
            return
        fi
        rm -rf "$target" "$venv"
    fi
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        say "The module venv is not installed; installing python3-venv …"
        version=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
        apt-get update -qq >/dev/null
        apt-get install -y -qq --no-install-recommends "$version-venv" >/dev/null 2>&1 ||
            apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
        "$python" -m venv "$venv" >/dev/null && return
    fi
    say "error: no virtual environment can be made with $python."
    say "  hint: install its venv module (on Debian: apt install python3-venv), then try again."
    exit 2
}

if ! [ -x "$venv/bin/python" ]; then
    python=$(find_python)
    say "Making $venv with $python …"
    make_venv "$python"
fi
if ! [ -x "$venv/bin/uv" ]; then
    "$venv/bin/python" -m pip install -qq --disable-pip-version-check uv
fi

# uv would fetch a Python of its own, and would look for a lock file; neither is wanted here.
export UV_PYTHON_DOWNLOADS=never VIRTUAL_ENV="$PWD/$venv"
case $venv in /*) VIRTUAL_ENV=$venv ;; esac
members="core agent cli server plugins/builders/noop plugins/builders/docker plugins/runners/process
    plugins/runners/docker plugins/registries/oci plugins/storage/file plugins/serializers/pickle
    plugins/metastores/sql plugins/metastores/http meta"
extra="-r examples/digits/requirements.txt"
if [ "$what" = dev ]; then
    members=""
    for file in core agent cli server testkit plugins/*/* integrations/* meta; do
        if [ -f "$file/pyproject.toml" ]; then members="$members $file"; fi
    done
    extra="$extra --group dev"
fi
say "Installing Windlass into $venv …"
# Tests and linters look at the optional parts, too.
with_extras='
import sys, tomllib
for member in sys.argv[1:]:
    with open(f"{member}/pyproject.toml", "rb") as file:
        extras = ",".join(tomllib.load(file)["project"].get("optional-dependencies", {}))
    print("-e", f"{member}[{extras}]" if extras else member)
'
if [ "$what" = dev ]; then
    # shellcheck disable=SC2086 # words are meant to be split
    editable=$("$venv/bin/python" -c "$with_extras" $members)
else
    editable=""
    for member in $members; do editable="$editable -e $member"; done
fi
# shellcheck disable=SC2086 # words are meant to be split
"$venv/bin/uv" pip install -q -c constraints.txt $editable $extra
printf '%s\n' "$sum" >"$stamp"
