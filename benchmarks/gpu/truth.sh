#!/usr/bin/env bash
# On a GPU host that has vLLM: one server, its truth, and the server's log.
#
#   truth.sh OUT NAME MODEL "LEVELS" REPEAT BUDGET [vLLM ARGUMENT ...]
set -uo pipefail
out=$1 name=$2 model=$3 levels=$4 repeat=$5 budget=$6
shift 6
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$out"
# The module of the API server would start one front end whatever --api-server-count says.
python3 "$here/vllm_command.py" serve "$model" --served-model-name m --host 127.0.0.1 \
  --port 8001 --load-format dummy --max-model-len 4096 "$@" >"$out/$name.log" 2>&1 &
server=$!
trap 'kill -TERM $server 2>/dev/null; wait $server 2>/dev/null' EXIT
began=$SECONDS
until curl -fsS -o /dev/null http://127.0.0.1:8001/health 2>/dev/null; do
  kill -0 $server 2>/dev/null || { echo "$name: the server ended"; tail -20 "$out/$name.log"; exit 1; }
  [ $((SECONDS - began)) -lt 240 ] || { echo "$name: no server after 240 s"; exit 1; }
  sleep 0.5
done
echo "$name: ready after $((SECONDS - began)) s"
# shellcheck disable=SC2086
python3 "$here/truth.py" http://127.0.0.1:8001 "$out/$name.json" --levels $levels --repeat "$repeat" \
  --budget "$budget" --seconds "${SECONDS_A_LEVEL:-45}" --vocabulary 120000 --processes 8
