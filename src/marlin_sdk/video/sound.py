"""The sound of a video file on the clock of its pictures, decoded by PyAV (FFmpeg)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.errors import NoSoundError, VideoDecodeError, VideoNotFoundError
from marlin_sdk.video.clock import MAX_JUMP_S
from marlin_sdk.video.opening import describe_error, is_playlist, open_container, origin_s

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer

__all__ = ["SOUND_RATE", "Sound", "read_sound"]

SOUND_RATE = 16_000
"""Samples a second."""

_JUMP_S = 0.02  # by which a frame's timestamp may differ from the end of the frame before: containers round them
_MAX_S = 24 * 3600.0
_RESTART_S = 1.0  # timestamps that go back by more have restarted


@dataclass(frozen=True, eq=False)
class Sound:
    """The sound of a video, mixed to one channel.

    Attributes:
        samples: float32 (N,) in [-1, 1]; zero where the file has none.
        start_s: time of the first sample, in seconds from the start of the file, as the times of the pictures.
        warnings: what is wrong with it.
        rate: samples a second.
    """

    samples: NDArray[np.float32]
    start_s: float = 0.0
    warnings: tuple[str, ...] = ()
    rate: int = SOUND_RATE

    @property
    def end_s(self) -> float:
        """Where it ends."""
        return self.start_s + len(self.samples) / self.rate


def read_sound(video: str | Path | bytes, *, rate: int = SOUND_RATE) -> Sound:
    """Decode the default sound stream of a file, or the first, as players play it.

    Edit lists and start offsets of the container are honoured, the samples that an encoder adds at the start are left
    out, and samples lie at their timestamps: a gap is silent.

    Args:
        video: a file, or its bytes.
        rate: samples a second.
    Raises:
        NoSoundError: the file has no sound stream, or none that can be decoded.
        VideoDecodeError: it cannot be opened, or its sound is longer than a day.
        VideoNotFoundError: no such file.
    """
    name = "<bytes>" if isinstance(video, bytes) else str(video)
    _check_head(video, name)
    container = open_container(BytesIO(video) if isinstance(video, bytes) else f"file:{video}", name, is_url=False)
    with container:
        stream = _choose(container, name)
        line = _TimeLine(name, rate)
        warnings: list[str] = []
        for frame in _frames(container, stream, warnings):
            time_s = None if frame.pts is None or frame.time_base is None else float(frame.pts * frame.time_base)
            line.add(frame, None if time_s is None else time_s - origin_s(container, stream))
        samples, start = line.joined()
    if not len(samples):
        raise NoSoundError(f"{name} has no sound that can be decoded{''.join(f' ({one})' for one in warnings)}")
    return Sound(samples, start / rate, tuple(warnings), rate)


def _check_head(video: str | Path | bytes, name: str) -> None:
    try:
        if isinstance(video, bytes):
            head = video[:64]
        else:
            with Path(video).open("rb") as file:
                head = file.read(64)
    except FileNotFoundError as error:
        raise VideoNotFoundError(f"no such video: {name}") from error
    except (OSError, ValueError) as error:
        raise VideoDecodeError(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if is_playlist(head):
        raise VideoDecodeError(f"{name} is a playlist, which refers to other files; it is refused: pass those files")


def _choose(container: InputContainer, name: str) -> AudioStream:
    from av.stream import Disposition

    streams = [stream for stream in container.streams.audio if stream.codec_context is not None]
    if not streams:
        found = sorted({stream.type for stream in container.streams if stream.type != "audio"})
        raise NoSoundError(f"{name} has no sound that can be decoded, only {' and '.join(found) or 'no'} streams")
    return next((one for one in streams if one.disposition & Disposition.default), streams[0])


def _frames(container: InputContainer, stream: AudioStream, warnings: list[str]) -> Iterator[AudioFrame]:
    """All that can be decoded; packets that cannot are counted."""
    import av

    broken = 0
    packets = iter(container.demux(stream))
    while True:
        try:
            packet = next(packets, None)
        except Exception as error:  # from FFmpeg, or anything that a file object raises
            warnings.append(f"the sound breaks off: {describe_error(error)}")
            packet = None
        if packet is None:
            break
        try:
            yield from stream.decode(packet)
        except av.error.FFmpegError:
            broken += 1
    with suppress(av.error.FFmpegError):
        yield from stream.decode(None)
    if broken:
        warnings.append(f"{broken} packets of sound cannot be decoded")


class _TimeLine:
    """Runs of samples without a jump, each resampled by itself, at their places."""

    def __init__(self, name: str, rate: int) -> None:
        self._name, self._rate = name, rate
        self._runs: list[tuple[int, list[NDArray[np.float32]]]] = []
        self._resampler: Any = None
        self._layout: tuple[Any, ...] = ()
        self._end_s, self._shift_s = 0.0, 0.0

    def add(self, frame: AudioFrame, time_s: float | None) -> None:
        """Add a frame at its time; None follows the frame before."""
        layout = (frame.format.name, frame.layout.name, frame.sample_rate)
        jump_s = 0.0 if time_s is None else time_s + self._shift_s - self._end_s
        if self._runs and not -_RESTART_S <= jump_s <= MAX_JUMP_S:  # timestamps that jump, not time
            self._shift_s -= jump_s
            jump_s = 0.0
        if self._resampler is None or layout != self._layout or abs(jump_s) > _JUMP_S:
            self._end_s += jump_s
            self._begin(layout)
        self._end_s += frame.samples / frame.sample_rate
        if self._end_s > _MAX_S:
            raise VideoDecodeError(f"the sound of {self._name} is longer than a day; cut the file")
        frame.pts = None  # the resampler would fill gaps
        self._store(self._resampler.resample(frame))

    def joined(self) -> tuple[NDArray[np.float32], int]:
        """All samples, and the index of the first of them on the clock of the file; nothing lies before 0."""
        self._finish()
        runs = [(start, np.concatenate(parts)) for start, parts in self._runs if parts]
        if not runs:
            return np.zeros(0, dtype=np.float32), 0
        first = max(0, min(start for start, _ in runs))
        end = max(start + len(samples) for start, samples in runs)
        line = np.zeros(max(0, end - first), dtype=np.float32)
        for start, samples in runs:
            kept = samples[max(0, first - start) :]
            at = max(start, first) - first
            line[at : at + len(kept)] = kept
        return line, first

    def _begin(self, layout: tuple[Any, ...]) -> None:
        import av

        self._finish()
        # FFmpeg scales the mixture of channels to what a sample can hold, but not that of floats.
        self._resampler = av.AudioResampler("s16", "mono", self._rate)
        self._layout = layout
        self._runs.append((round(self._end_s * self._rate), []))

    def _finish(self) -> None:
        if self._resampler is not None and self._runs[-1][1]:
            self._store(self._resampler.resample(None))
        self._resampler = None

    def _store(self, frames: list[AudioFrame]) -> None:
        self._runs[-1][1].extend(np.divide(frame.to_ndarray().reshape(-1), 32768, dtype=np.float32) for frame in frames)
