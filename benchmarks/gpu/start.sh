#!/usr/bin/env bash
# On a bare host with a GPU, as root: a node of Kubernetes with tacho on it, and models of random weights.
#
#   start.sh ARCHIVES OUT        then: . /tmp/gpu/env.sh, and stories.py
#
# ARCHIVES is what pack.py wrote. Needs of the host: Python 3.12 with torch and transformers, xz, cgroup v2.
set -euo pipefail
archives=$(cd "$1" && pwd)
out=$(mkdir -p "$2" && cd "$2" && pwd)
place=/tmp/gpu
mkdir -p "$place"
mountpoint -q "$place" || mount -t tmpfs -o size=75%,nr_inodes=4m tmpfs "$place"
for archive in "$archives"/*.tar.xz; do
  xz -dc "$archive" | tar -C "$place" --no-same-owner -xf - &
done
wait
mkdir -p "$place/state" "$place/models"
cat > "$place/env.sh" <<END
export PYTHONPATH=$place/src:$place/layer/opt/tacho/app:$place/layer/opt/tacho/site PYTHONUNBUFFERED=1
export TACHO_CLUSTER_PROGRAMS=$place/programs XDG_STATE_HOME=$place/state
export KUBECONFIG=$place/state/tacho/clusters/gpu/kubeconfig PATH=\$PATH:/usr/sbin:/sbin:$place/programs
END
cd "$place/src"
model() {
  PYTHONPATH=$place/src python3 -m benchmarks.engines.random_model "$1" tokenizer "$place/models/$2" "${@:3}"
}
{ model llama-3.2-1b llama-3.2-1b; model llama-3.2-1b llama-3.2-1b-w4a16 cuda w4a16; model qwen3-0.6b qwen3-0.6b; } \
  > "$out/models.log" 2>&1 &
# shellcheck source=/dev/null
. "$place/env.sh"
python3 -m benchmarks.gpu.host "$place" 2>&1 | tee "$out/host.log"
wait
