"""The sound of prepared videos: decoded once, kept as log-mel spectrograms."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from marlin_sdk.atomic import atomic_path
from marlin_sdk.errors import ConfigError, NoSoundError, TrainingError, VideoDecodeError
from marlin_sdk.sync.mel import BANDS, LogMel, check_audible, log_mel
from marlin_sdk.training.prepare.sources import Source
from marlin_sdk.video.sound import read_sound

__all__ = ["SoundFolder", "SoundOutcome", "describe_left_out"]


@dataclass(frozen=True)
class SoundOutcome:
    """What came of the sound of a video: a line of the index.

    Attributes:
        source: id of the video.
        stamp: of its file, see `Source.stamp`.
        start_s: time of its first step.
        reason: why it has no sound to train on; empty if it has.
    """

    source: str
    stamp: str
    start_s: float = 0.0
    reason: str = ""


class SoundFolder:
    """A folder of spectrograms, float16, one file for each video, and an index.

    Args:
        path: of the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(
        self, sources: Iterable[Source], *, on_outcome: Callable[[SoundOutcome], object] = lambda _: None
    ) -> dict[str, SoundOutcome]:
        """Decode the sound of videos, but for those that are there.

        Args:
            sources: the videos.
            on_outcome: called with each outcome.
        Returns:
            The outcome of each video, by its id.
        Raises:
            ConfigError: no video has sound to train on; the message says why.
            OSError: the folder cannot be written.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        index = self.outcomes()
        found = {}
        for source in sources:
            outcome = index.get(source.id)
            if outcome is None or outcome.stamp != source.stamp:
                outcome = self._decode(source)
                with (self.path / "sounds.jsonl").open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(outcome)) + "\n")
            found[source.id] = outcome
            on_outcome(outcome)
        if found and all(outcome.reason for outcome in found.values()):
            reasons = "; ".join(dict.fromkeys(outcome.reason for outcome in found.values()))
            raise ConfigError(f"none of {len(found)} videos has sound to train on: {reasons:.500}")
        return found

    def outcomes(self) -> dict[str, SoundOutcome]:
        """The last outcome of each video."""
        file = self.path / "sounds.jsonl"
        lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
        found = {}
        for line in lines:
            try:
                outcome = SoundOutcome(**json.loads(line))
            except (ValueError, TypeError):  # a run that was killed has left half a line
                continue
            found[outcome.source] = outcome
        return found

    def read(self, outcome: SoundOutcome) -> LogMel:
        """The spectrogram of a video, memory-mapped.

        Raises:
            TrainingError: its file is missing or damaged.
        """
        file = self._file(outcome.source)
        try:
            values: Any = np.load(file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise TrainingError(f"{file} cannot be read: {error}; delete {self.path}, and it is made again") from error
        if values.ndim != 2 or values.shape[1] != BANDS:
            raise TrainingError(f"{file} holds no spectrogram; delete {self.path}, and it is made again")
        return LogMel(values, outcome.start_s)

    def _decode(self, source: Source) -> SoundOutcome:
        try:
            sound = read_sound(source.path)
            heard = log_mel(sound)
            check_audible(sound, heard, str(source.path))
        except (NoSoundError, VideoDecodeError) as error:
            return SoundOutcome(source.id, source.stamp, reason=str(error))
        with atomic_path(self._file(source.id)) as part, part.open("wb") as file:
            np.save(file, heard.values.astype(np.float16))
        return SoundOutcome(source.id, source.stamp, start_s=heard.start_s)

    def _file(self, source: str) -> Path:
        return self.path / f"{sha256(source.encode()).hexdigest()[:24]}.npy"


def describe_left_out(outcomes: Mapping[str, SoundOutcome]) -> str | None:
    """How many videos have no sound to train on, and why the first of them; None if all have."""
    left_out = [outcome for outcome in outcomes.values() if outcome.reason]
    if not left_out:
        return None
    return f"{len(left_out)} of {len(outcomes)} videos have no sound to train on (the first: {left_out[0].reason})"
