"""A film of a face that speaks with another sound."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from marlin_sdk._version import __version__
from marlin_sdk.bars import bar_class
from marlin_sdk.clips.windows import sample_by_time
from marlin_sdk.errors import ConfigError, NoSoundError
from marlin_sdk.face.detections import FaceDetector
from marlin_sdk.lipsync.faces import FaceOfVideo, read_face
from marlin_sdk.lipsync.maker import LipMaker
from marlin_sdk.lipsync.paste import draw_mark, paste_face
from marlin_sdk.sync.mel import LogMel, log_mel
from marlin_sdk.sync.network import FPS
from marlin_sdk.video.reader import open_video
from marlin_sdk.video.sound import read_sound
from marlin_sdk.video.writer import check_suffix, write_video

__all__ = ["COMMENT", "LongerSound", "Made", "write_lips"]

LongerSound = Literal["loop", "stop"]

COMMENT = f"SYNTHETIC MEDIA: the lips of this film were made by marlin-sdk lipsync {__version__} for another sound."
"""The comment in the metadata of every film."""

_SOUND_RATE = 48_000  # of the film
_SLACK_FRAMES = 3  # by which encoders lengthen a sound


@dataclass(frozen=True)
class Made:
    """What was made.

    Attributes:
        path: of the film.
        frames: of the film, 25 a second.
        made: those with made lips; the others show no face, and are as they were.
        notes: what the reader should know, in sentences.
    """

    path: Path
    frames: int
    made: int
    notes: tuple[str, ...] = ()


def write_lips(
    face: str | Path,
    audio: str | Path,
    output: str | Path,
    maker: LipMaker,
    detector: FaceDetector,
    *,
    longer: LongerSound = "loop",
    mark: bool = True,
    progress: bool = False,
) -> Made:
    """Make the lips of the most prominent face of a video fit a sound, and write the film with that sound.

    The film has 25 frames a second and ends with the sound. Its metadata say that it is synthetic, always.

    Args:
        face: a video.
        audio: a sound, or a video with sound; mixed to one channel.
        output: .mp4, .mkv or .mov.
        maker: the network.
        detector: the face detector.
        longer: what to do about a sound that is longer than the picture: start the picture again, or stop the sound.
        mark: also write "synthetic" into each frame.
        progress: show a progress bar on stderr.
    Raises:
        ConfigError: another suffix, a video of more than 20 minutes, or an output that is one of the inputs.
        NoFaceError: no frame shows a face.
        NoSoundError: the audio has no sound that can be decoded, or not a whole frame of it.
        VideoDecodeError: a file cannot be read.
        FeatureFileError: the film cannot be written.
    """
    output = Path(output)
    check_suffix(output)
    for name, source in (("--face", face), ("--audio", audio)):
        if output.exists() and Path(source).exists() and output.samefile(source):
            raise ConfigError(f"{output} is {name} itself, and would be overwritten; choose another name")
    sound = read_sound(audio, rate=_SOUND_RATE)
    heard = log_mel(read_sound(audio))
    found = read_face(face, maker.size_px, detector, progress=progress)
    total = round(sound.end_s * FPS)
    if total < 1:
        raise NoSoundError(f"{audio} has {sound.end_s * 1000:.0f} ms of sound; a frame lasts {1000 / FPS:.0f} ms")
    notes = [*found.warnings, *sound.warnings]
    if 0 < total - found.num_frames <= _SLACK_FRAMES:
        total = found.num_frames
    if total > found.num_frames:
        picture_s = found.num_frames / FPS
        if longer == "stop":
            notes.append(f"the sound is stopped where the picture ends, at {picture_s:.2f} of {sound.end_s:.2f} s")
            total = found.num_frames
        else:
            notes.append(
                f"the picture, {picture_s:.2f} s, is shorter than the sound, {sound.end_s:.2f} s, and starts again "
                f"{math.ceil(total / found.num_frames) - 1} times"
            )
    elif total < found.num_frames - _SLACK_FRAMES:
        notes.append(f"the film ends with the sound, at {sound.end_s:.2f} of {found.num_frames / FPS:.2f} s")
    if found.others:
        notes.append(f"{found.others} other faces, or tracks of this face, are left as they are")
    film = _Film(face, found, maker, heard, total, mark=mark, progress=progress)
    written = write_video(
        film.frames(),
        output,
        fps=FPS,
        sound=sound,
        metadata={"comment": COMMENT, "title": f"{output.stem} (synthetic)"},
    )
    if film.made < written:
        notes.append(f"{written - film.made} of {written} frames do not show the face, and are left as they are")
    return Made(output, written, film.made, tuple(notes))


class _Film:
    """The frames of a film, one after another."""

    def __init__(
        self, face: str | Path, found: FaceOfVideo, maker: LipMaker, heard: LogMel, total: int, *, mark: bool,
        progress: bool,
    ) -> None:  # fmt: skip
        self._video, self._found, self._maker, self._heard = face, found, maker, heard
        self._total, self._mark, self._progress = total, mark, progress
        self._row_of = np.full(found.num_frames, -1, dtype=np.int64)
        self._row_of[found.frames] = np.arange(len(found.frames))
        self.made = 0

    def frames(self) -> Iterator[NDArray[np.uint8]]:
        """uint8 (H, W, 3)."""
        lips = self._lips()
        with bar_class()(total=self._total, unit="frame", desc="film", leave=False, disable=not self._progress) as bar:
            for index, source in enumerate(self._source()):
                row = int(self._row_of[index % self._found.num_frames])
                picture = source.copy() if row < 0 else paste_face(source, next(lips), self._found.squares[row])
                self.made += row >= 0
                if self._mark:
                    draw_mark(picture)
                bar.update()
                yield picture

    def _source(self) -> Iterator[NDArray[np.uint8]]:
        """The frames of the video, from the start again until the film is full."""
        left = self._total
        while left:
            with open_video(self._video) as reader:
                for frame in sample_by_time(reader, FPS):
                    yield frame.rgb
                    left -= 1
                    if not left:
                        return

    def _lips(self) -> Iterator[NDArray[np.uint8]]:
        """Made faces, of all frames of the film that show the face."""
        rows = self._row_of[np.arange(self._total) % self._found.num_frames]
        shown = np.flatnonzero(rows >= 0)
        for run in np.split(shown, np.flatnonzero(np.diff(shown) > 1) + 1):
            if len(run):
                crops = self._found.crops[rows[run]]
                for made in self._maker.stream(crops, self._heard, start_s=float(run[0]) / FPS):
                    yield from made
