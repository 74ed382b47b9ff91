"""The folder of a run: who may write there, and with which settings a run goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marlin_sdk.errors import ConfigError, TrainingError
from marlin_sdk.training.checkpoint import read_progress
from marlin_sdk.training.config import PretrainConfig
from marlin_sdk.training.export import HUB_FILES

if TYPE_CHECKING:
    from lightning.fabric import Fabric

__all__ = ["BEST", "LAST", "SETTINGS", "check_folder", "occupy", "saved_settings"]

LAST, BEST = "checkpoints/last.ckpt", "checkpoints/best.ckpt"
SETTINGS = "pretrain.yaml"
_LOCK = "checkpoints/.lock"
# What may change when a run goes on. It changes nothing of what a step computes, but for the length of the schedule,
_MAY_CHANGE = frozenset(
    {"max_steps", "epochs", "num_workers", "log_every", "save_every", "val_every", "picture_every", "val_clips"}
    | {"checkpoint_blocks", "accelerator", "strategy"}
    | {"base_lr", "base_min_lr", "clip_norm", "gradient_penalty"}  # and what helps a run whose loss is no number
)


def saved_settings(folder: str | Path) -> dict[str, Any]:
    """The settings of the run in a folder, for `PretrainConfig.from_dict`.

    Raises:
        ConfigError: there is no run to go on with.
        WeightsError: its checkpoint is not whole.
    """
    last = Path(folder) / LAST
    if not last.is_file():
        raise ConfigError(f"{folder} holds no run to go on with: {last} is not there")
    settings: dict[str, Any] = read_progress(last)["pretraining"]
    return settings


def check_folder(folder: Path, config: PretrainConfig, *, resume: bool, init: str | None) -> None:
    """See that a run may begin, or go on, in a folder.

    Raises:
        ConfigError: it holds a run already, or other files that a run would write over; or the run there has other
            settings, or is told to start from weights.
        WeightsError: the checkpoint of the run there is not whole.
    """
    if not resume:
        if (folder / LAST).exists():
            raise ConfigError(f"{folder} holds a run already; go on with --resume, or choose another folder")
        if not (folder / SETTINGS).exists() and (others := [name for name in HUB_FILES if (folder / name).exists()]):
            raise ConfigError(
                f"{folder} is no run, but holds {', '.join(others)}: a run would write over it; choose another folder"
            )
        return
    if init is not None:
        raise ConfigError("--init starts a run, and --resume goes on with one from its own weights; give one of them")
    before, now = saved_settings(folder), config.to_dict()
    differing = [
        f"{key} {before.get(key)!r} then, {now[key]!r} now"
        for key in now
        if key not in _MAY_CHANGE and before.get(key) != now[key]
    ]
    if differing:
        raise ConfigError(f"a run goes on with its own settings; these differ: {'; '.join(differing)}")


@contextmanager
def occupy(folder: Path, fabric: Fabric) -> Iterator[None]:
    """Keep other runs out of a folder.

    A collective call: every process takes part, the first one holds the lock.

    Raises:
        ConfigError: another run is at work there.
        TrainingError: the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / _LOCK, timeout=0)
    failure: Exception | None = None
    if fabric.is_global_zero:
        try:
            (folder / _LOCK).parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            failure = ConfigError(f"another run is at work in {folder}; wait for it to end, or choose another folder")
        except OSError as error:
            failure = TrainingError(f"{folder} cannot be written: {error}")
    failure = fabric.broadcast(failure)
    if failure is not None:
        raise failure
    try:
        yield
    finally:
        lock.release()
