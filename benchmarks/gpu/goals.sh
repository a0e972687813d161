#!/usr/bin/env bash
# On a GPU host that has vLLM: the goals of the probe under load, from servers to figures, in 40 minutes.
#
#   goals.sh OUT MODELS [SECONDS [SERVER ...]]
#
# MODELS is what benchmarks.gpu.models wrote. Each server has each level by the probe, between two long loops of it, and
# searches that are bound by TPOT, by TTFT and by both, with a loop of the streams that they found. No level begins after
# SECONDS of a server. SERVER is 8b-bf16, 8b-fp8 or 0.6b; all three by default. From vLLM 0.31 on FP8=fp8_per_tensor.
# `python3 -m benchmarks.gpu.goals OUT` tells the goals again.
set -uo pipefail
out=$1 models=$2 seconds=${3:-900} wanted=" ${*:4} " here=$(cd "$(dirname "$0")" && pwd)
export STEPS="pairs looped-edges" SECONDS_A_LEVEL=${SECONDS_A_LEVEL:-20}
server() { # NAME MODEL SLOS [vLLM ARGUMENT ...]
  local name=$1 model=$2
  export SLOS=$3
  shift 3
  [[ $wanted = *[!\ ]* && $wanted != *" $name "* ]] && return
  bash "$here/truth.sh" "$out" "$name" "$models/$model" "16 64 128 256" 1 "$seconds" "$@"
}
server 8b-bf16 llama-3.1-8b "tpot=20ms ttft=300ms ttft=1s,tpot=25ms"
server 8b-fp8 llama-3.1-8b "tpot=15ms ttft=300ms ttft=1s,tpot=25ms" --quantization "${FP8:-fp8}"
server 0.6b qwen3-0.6b "tpot=6ms ttft=200ms ttft=1s,tpot=15ms" --api-server-count 4
python3 -m benchmarks.gpu.goals "$out"
