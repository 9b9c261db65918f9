#!/usr/bin/env bash
# Workers as a job array, each of which serves a study until it is done or its time is up:
#
#   sbatch deploy/slurm.sh daily
#   sbatch --array=1-64 --time=08:00:00 deploy/slurm.sh daily
#   sbatch --array=1-2 --gres=gpu:1 deploy/slurm.sh daily
#
# Given again, the same line goes on where the workers stopped. docs/deploy.md has more.

#SBATCH --job-name=puffin-tuner
#SBATCH --array=1-16
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --mem=2G
#SBATCH --time=04:00:00
#SBATCH --signal=B:TERM@60
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=puffin-tuner-%A_%a.log

set -euo pipefail

study=${1:?which study? sbatch deploy/slurm.sh STUDY}
# The default is a file beside the job, which no other machine can use.
: "${TUNER_STORAGE:?export TUNER_STORAGE=postgresql://user@host/database}"

# Many workers with a thread each beat one with many threads; cuBLAS sums in one order.
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 CUBLAS_WORKSPACE_CONFIG=:4096:8

options=(--study "$study")
# Newer versions of SLURM tell when the job ends. Without this the signal alone ends the worker,
# which gives its ticket back all the same.
left=$((${SLURM_JOB_END_TIME:-0} - $(date +%s) - 120))
if ((left > 0)); then
  options+=(--max-time "$left")
fi

# B: sends the signal to this shell alone, so the worker takes its place.
exec tuner worker "${options[@]}"
