#!/usr/bin/env bash
# On a GPU host that has vLLM: the goals of the probe under load, from servers to figures, in half an hour.
#
#   goals.sh OUT MODELS [SECONDS [SERVER ...]]
#
# MODELS is what benchmarks.gpu.models wrote. Each server has the probe's levels, a long loop of each level twice, and
# searches that are bound by TPOT, by TTFT and by both. SECONDS are those of a server: its loops, of SECONDS_A_LEVEL each,
# get what the rest leaves. SERVER is 8b-bf16, 8b-fp8 or 0.6b; all three by default.
# `python3 -m benchmarks.gpu.goals OUT` tells the goals again.
set -uo pipefail
out=$1 models=$2 seconds=${3:-1215} wanted=" ${*:4} " here=$(cd "$(dirname "$0")" && pwd)
export STEPS="levels truth edges" EDGE_BUDGET=${EDGE_BUDGET:-45s}
server() { # NAME MODEL SLOS [vLLM ARGUMENT ...]
  local name=$1 model=$2 loops
  export SLOS=$3
  shift 3
  [[ $wanted = *[!\ ]* && $wanted != *" $name "* ]] && return
  # A minute to start, two for the levels, and the searches.
  loops=$((seconds - 180 - ${EDGE_BUDGET%s} * $(wc -w <<<"$SLOS")))
  bash "$here/truth.sh" "$out" "$name" "$models/$model" "16 64 128 256" 2 $loops "$@"
}
server 8b-bf16 llama-3.1-8b "tpot=20ms ttft=300ms ttft=1s,tpot=25ms"
server 8b-fp8 llama-3.1-8b "tpot=15ms ttft=300ms ttft=1s,tpot=25ms" --quantization fp8
server 0.6b qwen3-0.6b "tpot=6ms ttft=200ms ttft=1s,tpot=15ms" --api-server-count 4
python3 -m benchmarks.gpu.goals "$out"
