#!/usr/bin/env bash
# Create a dump with a Slurm job array: each job takes its own part of the videos, and all write to one folder.
#
#   VIDEOS=/data/celebs DUMP=/data/features sbatch --array=1-16 examples/slurm.sh --model marlin_vit_base_ytf
#
# VIDEOS is a folder, a video or a pattern, DUMP is the output folder; both must be accessible from every node. Arguments
# after the script name are passed to marlin-extract. Run the same command again to process what is missing or failed. To
# resubmit only some of the jobs, set the number of parts: PARTS=16 sbatch --array=3,7 ...
#
#SBATCH --job-name=marlin-extract
#SBATCH --array=1-16
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=8
#SBATCH --mem=24G
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --output=marlin-%A-%a.log
# Five minutes before the time limit: finish the videos in flight, and leave the rest to the next run.
#SBATCH --signal=B:TERM@300
set -euo pipefail

part="${SLURM_ARRAY_TASK_ID:?run it with sbatch --array=1-16}"
parts="${PARTS:-${SLURM_ARRAY_TASK_COUNT:?set PARTS to the number of parts}}"

# The model runs on the GPU, so all cores but one can decode.
workers=$((${SLURM_CPUS_PER_TASK:-2} - 1))

# exec, so that Slurm's signal reaches the command itself.
exec marlin-extract "${VIDEOS:?set VIDEOS to the folder of videos}" -o "${DUMP:?set DUMP to the folder of features}" \
    --shard "$part/$parts" --format parquet --workers "$((workers > 0 ? workers : 1))" "$@"
