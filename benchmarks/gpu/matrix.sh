#!/usr/bin/env bash
# On a bare host with a GPU: cells of a matrix by `tacho run`, without Kubernetes.
#
#   matrix.sh ARCHIVES OUT MATRIX BUDGET [CELL ...]
#
# ARCHIVES holds what pack.py wrote and the engine's; an archive that was unpacked before need not be there again.
# What is done is in OUT/summary.json: called again with the same OUT it goes on. Needs Python 3.12 with torch and
# transformers, and xz. Models are made at the first call: 16 GB each in about 20 s.
set -euo pipefail
archives=$(realpath "$1") out=$(realpath -m "$2") matrix=$(realpath "$3") budget=$4
shift 4
place=${TACHO_GPU_PLACE:-/tmp/gpu}
mkdir -p "$place" "$out"
# A tmpfs as start.sh wants it: mounted later, it would hide what is unpacked and made now.
if [ "$(id -u)" = 0 ] && [ -z "${TACHO_GPU_PLACE:-}" ] && ! mountpoint -q "$place"; then
  mount -t tmpfs -o size=75%,nr_inodes=4m tmpfs "$place"
fi
mkdir -p "$place/models" "$place/cache"
for archive in "$archives"/*.tar.xz; do
  [ -e "$archive" ] || continue
  done_file=$place/.unpacked-$(basename "$archive")
  [ -e "$done_file" ] && continue
  xz -dc "$archive" | tar -C "$place" --no-same-owner -xf -
  touch "$done_file"
done
engine=$place/layer/opt/engine
cat > "$place/python.sh" <<END
export PYTHONPATH=$place/src:$place/layer/opt/tacho/app:$engine/app:$engine/transformers:$place/layer/opt/tacho/site:$engine/site
export PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 VLLM_USE_FLASHINFER_SAMPLER=0 VLLM_USE_DEEP_GEMM=0
END
# shellcheck source=/dev/null
. "$place/python.sh"
python=${TACHO_GPU_PYTHON:-python3}
cd "$place/src"
model() { # SHAPE NAME [DEVICE FORM]
  [ -e "$place/models/$2/config.json" ] && return
  "$python" -m benchmarks.engines.random_model "$1" tokenizer "$place/models/$2" "${@:3}" >> "$out/models.log" 2>&1
}
for name in $(sed -n 's#.*uri: pvc://models/\([^,]*\),.*#\1#p' "$matrix" | sort -u); do
  case $name in
    *-w4a16 | *-w8a8 | *-awq | *-gptq) model "${name%-*}" "$name" "${TACHO_GPU_DEVICE:-cuda}" "${name##*-}" ;;
    *) model "$name" "$name" "${TACHO_GPU_DEVICE:-cuda}" ;;
  esac
done
exec "$python" -m benchmarks.gpu --matrix "$matrix" --resume "$out" --budget "$budget" \
  --pvc "models=$place/models" --pvc "cache=$place/cache" ${1:+--only "$@"}
