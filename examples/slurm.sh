#!/usr/bin/env bash
# A dump by a Slurm job array: each job takes its own part of the videos, all write into one folder.
#
#   VIDEOS=/data/celebs DUMP=/data/features sbatch --array=1-16 examples/slurm.sh --model marlin_vit_base_ytf
#
# VIDEOS is a folder, a video or a pattern, DUMP is the folder of the features; both must be there for every node. What
# stands behind the script goes to marlin-extract. The same line again does what is missing or failed. To send in only
# some of the jobs again, say how many parts there are: PARTS=16 sbatch --array=3,7 ...
#
#SBATCH --job-name=marlin-extract
#SBATCH --array=1-16
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=8
#SBATCH --mem=24G
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --output=marlin-%A-%a.log
# Five minutes before the time is up: finish the videos in flight, leave the rest to the next run.
#SBATCH --signal=B:TERM@300
set -euo pipefail

part="${SLURM_ARRAY_TASK_ID:?run it with sbatch --array=1-16}"
parts="${PARTS:-${SLURM_ARRAY_TASK_COUNT:?set PARTS to the number of parts}}"

# The model is on the GPU, so every core but one may decode.
workers=$((${SLURM_CPUS_PER_TASK:-2} - 1))

# exec: so that Slurm's signal reaches the command itself.
exec marlin-extract "${VIDEOS:?set VIDEOS to the folder of videos}" -o "${DUMP:?set DUMP to the folder of features}" \
    --shard "$part/$parts" --format parquet --workers "$((workers > 0 ? workers : 1))" "$@"
