"""Generated talks: a mouth that opens with the loudness of a noise, as files of all kinds."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

FPS = 25
SIZE_PX = 32


def envelope(seconds: float, seed: int, rate: int) -> NDArray[np.float64]:
    """How open the mouth is, in [0, 1]: bursts of a fifth of a second, at random."""
    rng = np.random.default_rng(seed)
    steps = rng.random(int(seconds * 8) + 2) * (rng.random(int(seconds * 8) + 2) < 0.6)
    return np.asarray(np.interp(np.arange(int(seconds * rate)) * 8 / rate, np.arange(len(steps)), steps))


def mouth_frames(seconds: float, seed: int, *, size_px: int = SIZE_PX) -> NDArray[np.uint8]:
    """A grey face whose mouth, a dark square at the bottom, is as high as the envelope."""
    opened = envelope(seconds, seed, FPS)
    frames = np.full((len(opened), size_px, size_px, 3), 160, dtype=np.uint8)
    frames += np.random.default_rng(seed).integers(0, 8, frames.shape, dtype=np.uint8)
    scale = size_px // 32
    for frame, height in zip(frames, opened, strict=True):
        frame[28 * scale - round(10 * scale * height) : 28 * scale, 8 * scale : 24 * scale] = 20
    return frames


def noise_sound(seconds: float, seed: int, rate: int = 16_000) -> NDArray[np.float32]:
    """Noise with the same envelope."""
    noise = np.random.default_rng(seed).standard_normal(int(seconds * rate))
    return (0.2 * noise * envelope(seconds, seed, rate)).clip(-1, 1).astype(np.float32)


def clicks(seconds: float, times_s: list[float], rate: int) -> NDArray[np.float32]:
    """Silence with tones of 5 ms at some times."""
    samples = np.zeros(int(seconds * rate), dtype=np.float32)
    for time_s in times_s:
        first = round(time_s * rate)
        samples[first : first + rate // 200] = 0.8 * np.sin(np.arange(rate // 200) * 2 * np.pi * 1000 / rate + 0.5)
    return samples


def write_talk(
    path: Path,
    frames: NDArray[np.uint8] | None,
    samples: NDArray[np.float32] | None,
    *,
    rate: int = 16_000,
    layout: str = "mono",
    codec: str = "aac",
    picture_start_s: float = 0.0,
    sound_start_s: float = 0.0,
    gap_s: float = 0.0,
    options: dict[str, str] | None = None,
) -> Path:
    """Write a file with pictures (mpeg4, 25 a second) and sound.

    Args:
        path: the container is that of its suffix.
        frames: uint8 (T, H, W, 3); None writes no pictures.
        samples: float32 (N,), the same in all channels; None writes no sound.
        rate: of the sound.
        layout: "mono" or "stereo".
        codec: of the sound.
        picture_start_s: timestamp of the first picture.
        sound_start_s: timestamp of the first sample.
        gap_s: hole in the timestamps of the sound after its first half.
        options: of the container.
    """
    with av.open(str(path), "w", options=options or {}) as container:
        if frames is not None:
            picture = container.add_stream("mpeg4", rate=FPS, options={"qscale": "1"})
            picture.width, picture.height, picture.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
            picture.bit_rate = 4_000_000
            picture.time_base = Fraction(1, FPS)
        if samples is not None:
            sound = container.add_stream(codec, rate=rate, layout=layout)
        if frames is not None:
            for index, rgb in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
                frame.pts, frame.time_base = index + round(picture_start_s * FPS), Fraction(1, FPS)
                container.mux(picture.encode(frame))
            container.mux(picture.encode(None))
        if samples is not None:
            size = 1024
            for first in range(0, len(samples), size):
                part = np.repeat(samples[None, first : first + size], 2 if layout == "stereo" else 1, axis=0)
                if codec.startswith("pcm_s16"):
                    data = np.round(part.T.reshape(1, -1) * 32767).astype(np.int16)
                    block = av.AudioFrame.from_ndarray(data, format="s16", layout=layout)
                else:
                    block = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), format="fltp", layout=layout)
                late_s = sound_start_s + (gap_s if first >= len(samples) // 2 else 0.0)
                block.sample_rate, block.time_base = rate, Fraction(1, rate)
                block.pts = first + round(late_s * rate)
                container.mux(sound.encode(block))
            container.mux(sound.encode(None))
    return path
