#!/usr/bin/env bash
# tools/dist_train.sh CONFIG PROCESSES [options of tools/train.py]
# PROCESSES is the number of GPUs of this machine, or of processes where there is none (gloo).
# One machine needs no port: a free one is taken, so that several runs do not meet.
# Several machines: set NNODES, NODE_RANK, MASTER_ADDR and, if 29500 is taken, PORT on each.
set -euo pipefail
if [ $# -lt 2 ]; then
    sed -n '2,5s/^# //p' "$0" >&2
    exit 2
fi
CONFIG=$1 PROCESSES=$2
shift 2
cores=$(python -c 'import os; print(os.cpu_count() or 1)')
share=$((cores / PROCESSES))
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((share > 0 ? share : 1))}
export MKL_NUM_THREADS=${MKL_NUM_THREADS:-$OMP_NUM_THREADS}

if [ "${NNODES:-1}" = 1 ] && [ -z "${PORT:-}" ]; then
    meeting=(--standalone --local-addr=127.0.0.1)
else
    meeting=(--nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}"
        --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}")
fi

exec python -m torch.distributed.run "${meeting[@]}" \
    --nproc_per_node="$PROCESSES" \
    "$(dirname "$0")/train.py" "$CONFIG" --launcher pytorch "$@"
