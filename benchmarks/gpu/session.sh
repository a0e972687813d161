#!/usr/bin/env bash
# On a bare host with a GPU: the cells of a matrix, by `tacho run` or as pods; or one server's rollouts, with its gate.
#
#   session.sh run|pods|rollouts ARCHIVES OUT BUDGET [CELL ...]
#
# ARCHIVES holds what pack.py wrote and the engine's; an archive that was unpacked before need not be there again.
# MATRIX is benchmarks/gpu/h200-next.yaml, or a file or folder of the environment. OUT says what is done: called again
# with it, a session goes on. Needs Python 3.12 with torch and transformers, and xz; pods also root and cgroup v2.
set -euo pipefail
how=$1 archives=$(realpath "$2") out=$(realpath -m "$3") budget=$4
shift 4
place=${TACHO_GPU_PLACE:-/tmp/gpu} python=${TACHO_GPU_PYTHON:-python3}
matrix=$(realpath -m "${MATRIX:-$place/src/benchmarks/gpu/h200-next.yaml}")
mkdir -p "$place" "$out"
# A tmpfs: overlayfs takes no layer that lies inside another. Mounted later, it would hide what is unpacked now.
if [ "$(id -u)" = 0 ] && [ -z "${TACHO_GPU_PLACE:-}" ] && ! mountpoint -q "$place"; then
  mount -t tmpfs -o "size=${PLACE_SIZE:-75%},nr_inodes=4m" tmpfs "$place"
fi
mkdir -p "$place/models" "$place/cache" "$place/state"
for archive in "$archives"/*.tar.xz; do
  done_file=$place/.unpacked-$(basename "$archive")
  [ -e "$archive" ] && [ ! -e "$done_file" ] || continue
  xz -dc "$archive" | tar -C "$place" --no-same-owner -xf -
  touch "$done_file"
done
engine=$place/layer/opt/engine tacho=$place/layer/opt/tacho
cat > "$place/python.sh" <<END
export PYTHONPATH=$place/src:$tacho/app:$engine/app:$engine/transformers:$tacho/site:$engine/site
export PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 VLLM_USE_FLASHINFER_SAMPLER=0 VLLM_USE_DEEP_GEMM=0
END
cat > "$place/env.sh" <<END
export PYTHONPATH=$place/src:$tacho/app:$tacho/site PYTHONUNBUFFERED=1
export TACHO_CLUSTER_PROGRAMS=$place/programs XDG_STATE_HOME=$place/state
export KUBECONFIG=$place/state/tacho/clusters/gpu/kubeconfig PATH=\$PATH:/usr/sbin:/sbin:$place/programs
END
cd "$place/src"
# shellcheck source=/dev/null
make_models() (
  . "$place/python.sh"
  "$python" -m benchmarks.gpu.models "$matrix" tokenizer "$place/models" --device "${TACHO_GPU_DEVICE:-cuda}"
) >> "$out/models.log" 2>&1
if [ "$how" = run ]; then
  make_models
  # shellcheck source=/dev/null
  . "$place/python.sh"
  exec "$python" -m benchmarks.gpu --matrix "$matrix" --resume "$out" --budget "$budget" \
    --pvc "models=$place/models" --pvc "cache=$place/cache" ${1:+--only "$@"}
fi
make_models &
models=$!
# shellcheck source=/dev/null
. "$place/env.sh"
[ -e "$KUBECONFIG" ] || "$python" -m benchmarks.gpu.host "$place" ${GPUS:+--gpus "$GPUS"} 2>&1 | tee "$out/host.log"
wait $models
chmod 777 "$place/cache"
[ "$how" != rollouts ] || exec "$python" -m benchmarks.gpu.rollouts "$matrix" "$out" --models "$place/models" \
  --cache "$place/cache" --budget "$budget"
exec "$python" -m benchmarks.gpu.stories "$matrix" "$out" --models "$place/models" --cache "$place/cache" \
  --budget "$budget" ${1:+--only "$@"}
