"""Shared parts of training: devices, schedule, checkpoints, logs, the folder of a run (extra `[train]`)."""

__all__ = [
    "checkpoint",
    "config",
    "cost",
    "finetune",
    "lipsync",
    "loop",
    "monitor",
    "prepare",
    "pretrain",
    "probe",
    "run_folder",
    "schedule",
    "settings",
    "start",
    "stepping",
    "strategy",
    "stream",
    "sync",
]
