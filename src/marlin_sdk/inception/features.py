"""Inception features of all frames of videos, for the Fréchet Inception Distance."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from marlin_sdk.errors import ConfigError
from marlin_sdk.evaluation.frechet.sets import FeatureSet
from marlin_sdk.inception.network import FEATURES, Inception, resize
from marlin_sdk.video.folders import videos_below
from marlin_sdk.video.reader import open_video

if TYPE_CHECKING:
    from marlin_sdk.video.reader import VideoReader

__all__ = ["inception_features"]

_BLOCK = 25  # frames of one video that are drawn together: a second of most videos
_FOLDER_FPS = 25.0  # of a folder of images, whose times are not used


def inception_features(
    source: str | Path,
    network: Inception,
    *,
    every: int = 1,
    batch_size: int = 16,
    progress: Callable[[str, int, int], None] | None = None,
) -> FeatureSet:
    """The features of the frames of a video, of all videos below a folder, or of a folder of images.

    The groups are the videos; of one video, or of images, they are stretches of 25 frames.

    Args:
        source: a video, or a folder.
        network: from `load_inception`, on its device.
        every: take each frame (1), every second (2), and so on, from the first of each video.
        batch_size: frames at a time.
        progress: called with the source, the number of videos done, and of all.
    Raises:
        ConfigError: fewer frames than a distance needs, or an `every` or `batch_size` below 1.
        VideoDecodeError: a video that cannot be read.
    """
    if every < 1 or batch_size < 1:
        raise ConfigError(f"every is {every}, batch_size {batch_size}; expected at least 1")
    videos = (list(videos_below(str(source))) if Path(source).is_dir() else []) or [str(source)]
    rows: list[NDArray[np.float32]] = []
    groups: list[str] = []
    notes: list[str] = []
    for done, video in enumerate(videos, start=1):
        with open_video(video, source_fps=_FOLDER_FPS if Path(video).is_dir() else None) as reader:
            before = len(rows)
            for batch in _batches(reader, every, batch_size):
                rows.extend(_embed(network, batch))
            count = len(rows) - before
            if reader.is_damaged:
                notes.append(f"{video} is damaged, {count} frames of it are used: {'; '.join(reader.warnings[:1])}")
        groups += [video if len(videos) > 1 else f"{video}#{at * every // _BLOCK}" for at in range(count)]
        if progress is not None:
            progress(str(source), done, len(videos))
    if len(videos) == 1:
        notes.append(
            f"one video: its groups are stretches of {_BLOCK} frames, and what differs between videos is not seen"
        )
    if every > 1:
        notes.append(f"one of {every} frames is used; FID is defined on all")
    features = np.stack(rows) if rows else np.empty((0, FEATURES), np.float32)
    return FeatureSet(str(source), features, np.array(groups, dtype=np.str_), unit="frames", notes=tuple(notes))


def _batches(reader: VideoReader, every: int, batch_size: int) -> Iterator[list[NDArray[np.uint8]]]:
    batch: list[NDArray[np.uint8]] = []
    for number, frame in enumerate(reader):
        if number % every == 0:
            batch.append(frame.rgb)
        frame.release()
        if len(batch) == batch_size:
            yield batch
            batch = []
    if batch:
        yield batch


@torch.inference_mode()
def _embed(network: Inception, pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    device = next(network.parameters()).device
    # one by one: the pictures of a folder may differ in size, and large ones take much memory as floats
    small = [resize(torch.from_numpy(picture).to(device).permute(2, 0, 1)[None].float() / 255) for picture in pictures]
    found: NDArray[np.float32] = network(torch.cat(small)).cpu().numpy()
    return found
