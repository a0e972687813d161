#!/usr/bin/env bash
# On a GPU host that has vLLM: rates of configurations by long loops, which judge the plan's law of speed.
#
#   speed.sh OUT MODELS SECONDS MODEL:METHOD ...
#
# METHOD is none, fp8, bnb-nf4, or stored for a quantized checkpoint. One server after the other on the GPUs that
# CUDA_VISIBLE_DEVICES names, over TENSOR of them (default 1); none begins after SECONDS. MODELS is where model folders are made. LEVELS and
# SECONDS_A_LEVEL are of a loop, which sends REQUESTS_A_LEVEL requests at least.
set -uo pipefail
out=$1 models=$2 seconds=$3 here=$(cd "$(dirname "$0")" && pwd)
shift 3
mkdir -p "$out" "$models"
export STEPS=truth VOCABULARY=${VOCABULARY:-32000} SECONDS_A_LEVEL=${SECONDS_A_LEVEL:-8} REQUESTS_A_LEVEL=${REQUESTS_A_LEVEL:-8}
for asked in "$@"; do
  [ $SECONDS -lt "$seconds" ] || { echo "no time for $asked"; continue; }
  model=${asked%%:*} method=${asked##*:} name=${asked/:/-}
  case $method in
    none | stored) options=() ;;
    fp8) options=(--quantization "${FP8:-fp8}") ;; # from vLLM 0.31 on FP8=fp8_per_tensor
    bnb-nf4) options=(--quantization bitsandbytes --load-format bitsandbytes) ;; # of real weights alone
    *) echo "no method $method"; exit 1 ;;
  esac
  [ "${TENSOR:-1}" = 1 ] || options+=(--tensor-parallel-size "$TENSOR") name=$name-tp$TENSOR
  if [ ! -e "$models/$model" ]; then
    [ "$method" = bnb-nf4 ] && load='' || load='extraArgs: ["--load-format=dummy"]'
    echo "cells: [{name: $name, model: $model, engine: {name: vllm, $load}}]
common: {}" > "$out/$name.yaml"
    python3 -m benchmarks.gpu.models "$out/$name.yaml" "${TOKENIZER:-tokenizer}" "$models" --device cuda || continue
    rm "$out/$name.yaml"
  fi
  bash "$here/truth.sh" "$out" "$name" "$models/$model" "${LEVELS:-1 16 64 256}" 1 150 "${options[@]}"
done
