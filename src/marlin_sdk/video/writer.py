"""Write frames, and sound, to a video file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.atomic import atomic_path
from marlin_sdk.errors import ConfigError, FeatureFileError, MarlinError
from marlin_sdk.video.sound import Sound

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.packet import Packet

__all__ = ["WRITABLE_SUFFIXES", "check_suffix", "write_video"]

WRITABLE_SUFFIXES = frozenset({".mp4", ".mkv", ".mov"})
"""Suffixes of the containers that can hold H.264 video."""

_SOUND_FRAME = 1024  # samples, of AAC
_BIT_RATE = 128_000


def check_suffix(path: Path) -> None:
    """Check that a video can be written to a path.

    Raises:
        ConfigError: another suffix.
    """
    if path.suffix.lower() not in WRITABLE_SUFFIXES:
        raise ConfigError(
            f"{path} cannot be written; expected a name that ends in {', '.join(sorted(WRITABLE_SUFFIXES))}"
        )


def write_video(
    frames: Iterable[NDArray[np.uint8]],
    path: Path,
    *,
    fps: float,
    sound: Sound | None = None,
    metadata: Mapping[str, str] | None = None,
) -> int:
    """Write RGB frames as H.264, and their sound as AAC, atomically.

    Args:
        frames: uint8 (H, W, 3), all of one size; an odd last row or column is cut off, since H.264 cannot hold it.
        path: the file; its suffix selects the container.
        fps: frames a second.
        sound: on the clock of the frames; it is cut where they end.
        metadata: of the file: `title`, `comment` and so on.
    Returns:
        Number of frames written.
    Raises:
        ConfigError: another suffix, or no frames.
        FeatureFileError: it cannot be written.
    """
    import av

    check_suffix(path)
    count = 0
    try:
        with atomic_path(path) as part, av.open(str(part), "w") as container:
            container.metadata.update(metadata or {})
            stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options={"crf": "18"})
            stream.pix_fmt = "yuv420p"
            track = None if sound is None else _SoundTrack(container, sound)
            for frame in frames:
                height, width = frame.shape[0] // 2 * 2, frame.shape[1] // 2 * 2
                if not count:
                    stream.height, stream.width = height, width
                picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame[:height, :width]), format="rgb24")
                container.mux(stream.encode(picture))
                count += 1
                if track is not None:
                    container.mux(list(track.packets(count / fps)))
            if not count:
                raise ConfigError(f"there are no frames to write to {path}")
            container.mux(stream.encode())
            if track is not None:
                container.mux(track.last_packets())
    except MarlinError:
        raise  # raised by the iterable of frames
    except (OSError, av.FFmpegError) as error:
        raise FeatureFileError(f"cannot write {path}: {error}") from error
    return count


class _SoundTrack:
    """The sound of a video that is being written, a little at a time, so that the file can be played while it loads."""

    def __init__(self, container: OutputContainer, sound: Sound) -> None:
        self._stream = container.add_stream("aac", rate=sound.rate, layout="mono", bit_rate=_BIT_RATE)
        self._rate = sound.rate
        start = round(sound.start_s * sound.rate)
        self._samples = np.concatenate([np.zeros(start, dtype=np.float32), sound.samples])
        self._done = 0

    def packets(self, end_s: float) -> Iterator[Packet[Any]]:
        """What can be written up to a time."""
        import av

        end = min(round(end_s * self._rate), len(self._samples))
        while self._done < end:
            samples = self._samples[self._done : min(self._done + _SOUND_FRAME, end)]
            frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = self._rate, self._done, Fraction(1, self._rate)
            self._done += len(samples)
            yield from self._stream.encode(frame)

    def last_packets(self) -> list[Packet[Any]]:
        """What the encoder still holds."""
        return list(self._stream.encode())
