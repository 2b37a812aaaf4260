#!/usr/bin/env bash
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=10
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --output=slurm-%x-%j.out
# tools/slurm_train.sh PARTITION JOB CONFIG [options of tools/train.py]
# Runs in the terminal through srun (NODES=1, GPUS_PER_NODE=8), or as a job with what sbatch is given:
# sbatch -p PARTITION --nodes=2 tools/slurm_train.sh PARTITION JOB CONFIG
# CPUS_PER_TASK (10) and SRUN_ARGS change srun's share. Two minutes before the time limit training
# saves itself; a requeued job resumes.
set -euo pipefail
if [ $# -lt 3 ]; then
    sed -n '9,13s/^# //p' "$0" >&2
    exit 2
fi
PARTITION=$1 JOB=$2 CONFIG=$3
shift 3
NODES=${SLURM_JOB_NUM_NODES:-${NODES:-1}}
GPUS_PER_NODE=${SLURM_NTASKS_PER_NODE:-${GPUS_PER_NODE:-8}}

# sbatch runs a copy of this script elsewhere: the project is where it was submitted.
exec srun --partition="$PARTITION" --job-name="$JOB" --nodes="$NODES" \
    --ntasks=$((NODES * GPUS_PER_NODE)) --ntasks-per-node="$GPUS_PER_NODE" \
    --gres="gpu:$GPUS_PER_NODE" --cpus-per-task="${CPUS_PER_TASK:-10}" --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} \
    python -u tools/train.py "$CONFIG" --launcher slurm --resume "$@"
