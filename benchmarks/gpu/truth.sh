#!/usr/bin/env bash
# On a GPU host that has vLLM: one server, its truth, what `tacho probe` says of it, and the server's log.
#
#   truth.sh OUT NAME MODEL "LEVELS" REPEAT BUDGET [vLLM ARGUMENT ...]
#
# STEPS, in this order: levels (the probe measures LEVELS), truth (long loops of LEVELS), edges (the probe searches each
# of SLOS="tpot=20ms ttft=1s,tpot=25ms"), truth-again (of AGAIN="LEVELS"), levels-again; or pairs (each level by the probe
# between two loops of it: a host that changes within minutes changes both) and looped-edges (a loop of the streams that a
# search found). Neither begins a level after BUDGET seconds. repeated-edges are REPEAT searches of each SLO, as a gate
# compares them. GPU by CUDA_VISIBLE_DEVICES. A server has WAIT_SECONDS=240 to answer.
# SERVER_CORES="0-11" gives the server cores that no client has, when the script itself is under `taskset`.
set -uo pipefail
out=$1 name=$2 model=$3 levels=$4 repeat=$5 budget=$6 port=${PORT:-8001}
shift 6
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$out"
export PYTHONPATH="$here/../..${PYTHONPATH:+:$PYTHONPATH}"
# The module of the API server would start one front end whatever --api-server-count says.
${SERVER_CORES:+taskset -c "$SERVER_CORES"} python3 "$here/vllm_command.py" serve "$model" --served-model-name m --host 127.0.0.1 \
  --port "$port" --load-format dummy --max-model-len 4096 "$@" >"$out/$name.log" 2>&1 &
server=$!
trap 'kill -TERM $server 2>/dev/null; wait $server 2>/dev/null' EXIT
began=$SECONDS
until curl -fsS -o /dev/null "http://127.0.0.1:$port/health" 2>/dev/null; do
  kill -0 $server 2>/dev/null || { echo "$name: the server ended"; tail -20 "$out/$name.log"; exit 1; }
  [ $((SECONDS - began)) -lt "${WAIT_SECONDS:-240}" ] || { echo "$name: no server after ${WAIT_SECONDS:-240} s"; exit 1; }
  sleep 0.5
done
echo "$name: ready after $((SECONDS - began)) s"
probe() { # FILE OPTION ...
  local file=$1
  shift
  python3 -m tacho_cli.main probe "http://127.0.0.1:$port" --workload 512:200 -o json "$@" \
    >"$out/$name-$file.json" 2>"$out/$name-$file.said"
  echo "$name: probe $file: exit code $? after $((SECONDS - began)) s"
}
truth() { # FILE REPEAT LEVEL ...
  local file=$1 times=$2
  shift 2
  python3 -m benchmarks.gpu.truth "http://127.0.0.1:$port" "$out/$file.json" --levels "$@" --repeat "$times" \
    --budget "$budget" --seconds "${SECONDS_A_LEVEL:-45}" --requests "${REQUESTS_A_LEVEL:-200}" --vocabulary "${VOCABULARY:-120000}" \
    --processes 8
}
loop() { # LEVEL
  python3 -m benchmarks.gpu.truth "http://127.0.0.1:$port" "$out/$name.json" --levels "$1" --repeat 1 --append \
    --budget 600 --seconds "${SECONDS_A_LEVEL:-45}" --vocabulary 120000 --processes 8
}
in_time() {
  [ $((SECONDS - began)) -lt "$budget" ] || { echo "$name: no time for $1"; return 1; }
}
found_streams() { # FILE
  python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["capacity"]["concurrency"])' "$out/$name-$1.json"
}
# shellcheck disable=SC2086
for step in ${STEPS:-truth}; do
  case $step in
    levels*) probe "$step" --levels "${levels// /,}" --budget 120s ;;
    truth) truth "$name" "$repeat" $levels ;;
    truth-again) truth "$name-again" 1 ${AGAIN:-$levels} ;;
    pairs)
      for level in $levels; do
        in_time "$level streams" || break
        loop "$level"
        probe "levels-$level" --levels "$level" --budget "${LEVEL_BUDGET:-45s}"
        loop "$level"
      done ;;
    looped-edges)
      for slo in ${SLOS:-}; do
        in_time "$slo" || break
        file=${slo//[=,]/-}
        probe "$file" --slo "$slo" --concurrency 1024 --budget "${EDGE_BUDGET:-45s}"
        loop "$(found_streams "$file")"
      done ;;
    edges)
      for slo in ${SLOS:-}; do
        probe "${slo//[=,]/-}" --slo "$slo" --concurrency 1024 --budget "${EDGE_BUDGET:-45s}"
      done ;;
    repeated-edges)
      for slo in ${SLOS:-}; do
        for time in $(seq "$repeat"); do
          in_time "$slo" || break
          probe "${slo//[=,]/-}-$time" --slo "$slo" --concurrency 1024 --budget "${EDGE_BUDGET:-45s}"
        done
      done ;;
  esac
done
