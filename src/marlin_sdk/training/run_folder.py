"""The folder of a run: who may write there, and with which settings a run goes on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marlin_sdk.errors import ConfigError, TrainingError
from marlin_sdk.training.checkpoint import read_progress

if TYPE_CHECKING:
    from lightning.fabric import Fabric

__all__ = ["MODEL_FILES", "RunFolder"]

MODEL_FILES = ("config.json", "model.safetensors", "README.md")
"""What a run leaves for `Marlin.from_pretrained` and the Hub."""


@dataclass(frozen=True)
class RunFolder:
    """Where the checkpoints of a run lie, and its settings.

    Attributes:
        path: of the folder.
        task: what its checkpoints call their settings.
        settings_name: of the YAML file that holds them too.
        may_change: settings that may differ when a run goes on.
    """

    path: Path
    task: str
    settings_name: str
    may_change: frozenset[str]

    @property
    def last(self) -> Path:
        """The checkpoint to go on from."""
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def best(self) -> Path:
        """The checkpoint with the smallest loss on held-out clips."""
        return self.path / "checkpoints" / "best.ckpt"

    @property
    def settings_file(self) -> Path:
        """The settings of the run, for people."""
        return self.path / self.settings_name

    def saved_settings(self) -> dict[str, Any]:
        """The settings of the run in the folder.

        Raises:
            ConfigError: there is no run to go on with.
            WeightsError: its checkpoint is not whole.
        """
        if not self.last.is_file():
            raise ConfigError(f"{self.path} holds no run to go on with: {self.last} is not there")
        settings: dict[str, Any] = read_progress(self.last, task=self.task)[self.task]
        return settings

    def check(self, settings: Mapping[str, Any], *, resume: bool, init: str | None) -> None:
        """See that a run may begin, or go on, here.

        Args:
            settings: of the run that is asked for.
            resume: whether it is to go on.
            init: weights that it is to start from.
        Raises:
            ConfigError: the folder holds a run already, or other files that a run would write over; or the run there
                has other settings, or is told to start from weights.
            WeightsError: the checkpoint of the run there is not whole.
        """
        if not resume:
            self._check_new()
            return
        if init is not None:
            raise ConfigError(
                "--init starts a run, and --resume goes on with one from its own weights; give one of them"
            )
        before = self.saved_settings()
        differing = [
            f"{key} {before.get(key)!r} then, {settings[key]!r} now"
            for key in settings
            if key not in self.may_change and before.get(key) != settings[key]
        ]
        if differing:
            raise ConfigError(f"a run goes on with its own settings; these differ: {'; '.join(differing)}")

    def _check_new(self) -> None:
        if self.last.exists():
            raise ConfigError(f"{self.path} holds a run already; go on with --resume, or choose another folder")
        others = [name for name in MODEL_FILES if (self.path / name).exists()]
        if others and not self.settings_file.exists():
            raise ConfigError(
                f"{self.path} is no run, but holds {', '.join(others)}: a run would write over it; choose another "
                "folder"
            )

    @contextmanager
    def lock(self, fabric: Fabric) -> Iterator[None]:
        """Keep other runs out of the folder.

        A collective call: every process takes part, the first one holds the lock.

        Raises:
            ConfigError: another run is at work there.
            TrainingError: the folder cannot be written.
        """
        from filelock import FileLock, Timeout

        file = self.last.with_name(".lock")
        lock = FileLock(file, timeout=0)
        failure: Exception | None = None
        if fabric.is_global_zero:
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
                lock.acquire()
            except Timeout:
                failure = ConfigError(
                    f"another run is at work in {self.path}; wait for it to end, or choose another folder"
                )
            except OSError as error:
                failure = TrainingError(f"{self.path} cannot be written: {error}")
        failure = fabric.broadcast(failure)
        if failure is not None:
            raise failure
        try:
            yield
        finally:
            lock.release()
