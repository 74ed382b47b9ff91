"""The inputs of both sides: the same checkpoints, videos and clips, created once and cached."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from tests.making import recipe_weights

from marlin_sdk.atomic import atomic_path

__all__ = [
    "ROOT",
    "face_video",
    "hour_video",
    "make_checkpoint",
    "pixels_of_clips",
    "resized_copy",
    "shared_file",
]

ROOT = Path(__file__).parents[1]
FRAMES_BETWEEN_WINDOWS = 32  # 16 frames, every second one, no overlap: the default of both packages


def shared_file(name: str) -> Path | None:
    """A file of the reference data (../shared, or where MARLIN_SHARED points); None if it is missing."""
    path = Path(os.environ.get("MARLIN_SHARED", ROOT.parent / "shared")) / name
    return path if path.is_file() else None


def face_video() -> Path:
    """A video with an uncropped face: from the reference data, or the example in this repository."""
    return shared_file("media/video01.mp4") or ROOT / "examples" / "astronaut.mp4"


def make_checkpoint(name: str, folder: Path) -> Path:
    """Write an encoder checkpoint in the published format, with the recipe weights of ../shared/README.md.

    Args:
        name: a published model.
        folder: the output folder; the file is created once (22, 87 or 305 million floats).
    """
    import torch

    from marlin_sdk import Marlin
    from marlin_sdk.weights.checkpoints import to_published_keys

    path = folder / f"{name}.encoder.pt"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        own = Marlin.untrained(name, device="cpu").encoder.state_dict()
        published = to_published_keys({f"encoder.{key}": tensor for key, tensor in own.items()})
        tables = {key: tensor for key, tensor in published.items() if key.endswith("pos_embedding.emb")}
        state = recipe_weights({key: tensor.shape for key, tensor in published.items()}, tables)
        with atomic_path(path) as part:
            torch.save(state, part)
    return path


def resized_copy(source: Path, width: int, height: int, num_frames: int, folder: Path) -> Path:
    """Re-encode a video at another size: centre-cropped to the new aspect ratio, then scaled.

    Args:
        source: repeated from its start if it is too short.
        width: of the copy, in pixels.
        height: of the copy, in pixels.
        num_frames: of the copy.
        folder: the output folder; the file is created once.
    """
    import av
    import cv2

    path = folder / f"{source.stem}-{width}x{height}-{num_frames}.mp4"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as part, av.open(str(part), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "18", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index, frame in enumerate(islice(_frames_again_and_again(source), num_frames)):
            cut = _middle(frame, width / height)
            scaled = cv2.resize(cut, (width, height), interpolation=cv2.INTER_CUBIC)
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(scaled), format="rgb24")
            picture.pts, picture.time_base = index, Fraction(1, 30)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def hour_video(folder: Path, seconds: int = 3600) -> Path:
    """The example video of 4 s, repeated until it lasts an hour; its packets are copied, not re-encoded.

    Args:
        folder: the output folder; the file is created once.
        seconds: the duration, rounded to whole repeats of the example.
    """
    import av

    path = folder / f"astronaut-{seconds}s.mp4"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        atomic_path(path) as part,
        av.open(str(ROOT / "examples" / "astronaut.mp4")) as source,
        av.open(str(part), "w", format="mp4") as container,
    ):
        video = source.streams.video[0]
        copy = container.add_stream_from_template(video)
        time_base, length = cast(Fraction, video.time_base), cast(int, video.duration)
        for turn in range(round(seconds / float(length * time_base))):
            source.seek(0)
            for packet in source.demux(video):
                if packet.pts is None or packet.dts is None:
                    continue  # the empty packet at the end of the stream
                packet.pts += turn * length
                packet.dts += turn * length
                packet.stream = copy
                container.mux(packet)
    return path


def pixels_of_clips(count: int, folder: Path) -> Path:
    """Clips of real frames, uint8 (count, 16, 224, 224, 3), in an .npy file.

    Args:
        count: number of clips, from the start of a pre-cropped video of the reference data, or from the example.
        folder: the output folder; the file is created once.
    """
    path = folder / f"clips-{count}.npy"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        source = shared_file("media/cropped01.mp4") or resized_copy(face_video(), 224, 224, 32 * count, folder)
        sampled = np.stack(list(islice(_frames_again_and_again(source), 0, FRAMES_BETWEEN_WINDOWS * count, 2)))
        with atomic_path(path) as part, part.open("wb") as file:
            np.save(file, sampled.reshape(count, 16, 224, 224, 3))
    return path


def _frames_again_and_again(source: Path) -> Iterator[NDArray[np.uint8]]:
    from marlin_sdk.video.reader import open_video

    while True:
        with open_video(source) as reader:
            for frame in reader:
                yield frame.rgb


def _middle(frame: NDArray[np.uint8], shape: float) -> NDArray[Any]:
    """The largest centre crop with aspect ratio `shape` (width / height)."""
    height, width = frame.shape[:2]
    across, down = min(width, int(height * shape)), min(height, int(width / shape))
    left, top = (width - across) // 2, (height - down) // 2
    return frame[top : top + down, left : left + across]
