"""The folder of a run: its lock, its checkpoints, and the settings with which it may resume."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marlin_sdk.errors import ConfigError, TrainingError
from marlin_sdk.training.checkpoint import read_progress
from marlin_sdk.weights.hub import MODEL_FILES

if TYPE_CHECKING:
    from lightning.fabric import Fabric

__all__ = ["RunFolder"]


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run, with its checkpoints and its settings.

    Attributes:
        path: of the folder.
        task: the key of the settings in its checkpoints.
        settings_name: of the YAML file that holds them too.
        may_change: settings that may differ when a run resumes.
        added: settings that earlier versions did not have, with the value that those runs had in effect.
    """

    path: Path
    task: str
    settings_name: str
    may_change: frozenset[str]
    added: Mapping[str, Any]

    @property
    def last(self) -> Path:
        """The checkpoint from which a run resumes."""
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
            ConfigError: there is no run to resume.
            WeightsError: its checkpoint is truncated.
        """
        if not self.last.is_file():
            raise ConfigError(f"{self.path} holds no run to resume: {self.last} does not exist")
        settings: dict[str, Any] = read_progress(self.last, task=self.task)[self.task]
        return settings

    def check(self, settings: Mapping[str, Any], *, resume: bool, init: str | None) -> None:
        """Check that a run can start, or resume, in this folder.

        Args:
            settings: of the requested run.
            resume: whether it is to resume.
            init: weights to start from.
        Raises:
            ConfigError: a new run, and the folder already holds one, or other files that would be overwritten; or a
                resumed run with other settings, or with `init`.
            WeightsError: the checkpoint to resume from is truncated.
        """
        if not resume:
            self._check_new()
            return
        if init is not None:
            raise ConfigError(
                "--init starts a new run, and --resume continues one from its own weights; pass only one of them"
            )
        saved = {**self.added, **self.saved_settings()}
        differing = [
            f"{key} {saved.get(key)!r} then, {settings[key]!r} now"
            for key in settings
            if key not in self.may_change and saved.get(key) != settings[key]
        ]
        if differing:
            raise ConfigError(f"a run resumes with its own settings; these differ: {'; '.join(differing)}")

    def _check_new(self) -> None:
        if self.last.exists():
            raise ConfigError(f"{self.path} already holds a run; continue it with --resume, or choose another folder")
        others = [name for name in MODEL_FILES if (self.path / name).exists()]
        if others and not self.settings_file.exists():
            raise ConfigError(
                f"{self.path} is not a run, but holds {', '.join(others)}, which a run would overwrite; choose another "
                "folder"
            )

    @contextmanager
    def lock(self, fabric: Fabric) -> Iterator[None]:
        """Lock the folder against other runs.

        A collective call: every process must make it, the first one holds the lock.

        Raises:
            ConfigError: another run is using the folder.
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
                failure = ConfigError(f"another run is using {self.path}; wait for it to end, or choose another folder")
            except OSError as error:
                failure = TrainingError(f"{self.path} cannot be written: {error}")
        failure = fabric.broadcast(failure)
        if failure is not None:
            raise failure
        try:
            yield
        finally:
            lock.release()
