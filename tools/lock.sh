#!/usr/bin/env bash
# Resolves requirements/*.in into locks with hashes. No index address is recorded.
set -euo pipefail
uv=$1
common=(--generate-hashes --no-header --universal -q)
"$uv" pip compile "${common[@]}" --python-version 3.11 pyproject.toml requirements/dev.in -o requirements/dev.txt
"$uv" pip compile "${common[@]}" --python-version 3.11 pyproject.toml -c requirements/dev.txt -o requirements/image.txt
"$uv" pip compile "${common[@]}" --python-version 3.10 requirements/runtime.in -c requirements/dev.txt -o requirements/runtime.txt
"$uv" pip compile "${common[@]}" --python-version 3.11 --no-deps requirements/model.in -o requirements/model.txt
"$uv" pip compile "${common[@]}" --python-version 3.11 requirements/mutation.in -c requirements/dev.txt -o requirements/mutation.txt
for name in bootstrap go pip $(printf '%s\n' runtime/Dockerfile.* | sed 's/.*Dockerfile\.//'); do
  [ -f "requirements/$name.in" ] || continue # an engine that is not from the package index
  "$uv" pip compile "${common[@]}" --python-version 3.11 "requirements/$name.in" -o "requirements/$name.txt"
done
"$uv" pip compile --generate-hashes --no-header -q --python-platform x86_64-manylinux_2_36 --python-version 3.11 \
  --override requirements/engines.overrides requirements/engines.in -o requirements/engines.txt
