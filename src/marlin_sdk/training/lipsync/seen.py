"""The mouths that a run was trained on, for the baselines that copy from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from marlin_sdk.errors import ConfigError
from marlin_sdk.lipsync.likeness import SeenMouths, sights, sounds_of_frames
from marlin_sdk.lipsync.mouth import mouth_of_pixels
from marlin_sdk.training.prepare.folder import DataFolder
from marlin_sdk.training.prepare.shards import read_clip
from marlin_sdk.training.sync.sounds import SoundFolder

__all__ = ["read_seen"]

_MAX_FRAMES = 50_000


def read_seen(run: str | Path, shards: str | Path | None = None, *, size_px: int) -> SeenMouths:
    """Read the mouths of the training tracks of a run.

    Args:
        run: folder of `marlin-sdk lipsync train`.
        shards: that it was trained on, if they are not in its folder.
        size_px: side of its faces.
    Returns:
        Every frame, or of more than 50,000 every second, third and so on.
    Raises:
        ConfigError: the shards or the sounds are not there, or are of another size.
        VideoDecodeError: a shard is missing or truncated.
    """
    folder = Path(run) / "shards" if shards is None else Path(shards)
    data, sounds = DataFolder(folder), SoundFolder(Path(run) / "sounds")
    if data.settings().size_px != size_px:
        raise ConfigError(f"{folder} holds crops of {data.settings().size_px} pixels; the model makes {size_px}")
    outcomes = sounds.outcomes()
    tracks = [
        (shard, sample)
        for shard in data.shards()
        if shard.split == "train"
        for sample in shard.samples
        if sample.source in outcomes and not outcomes[sample.source].reason
    ]
    if not tracks:
        raise ConfigError(f"{folder} and {sounds.path} hold no training track with sound; name the shards with --seen")
    step = -(-sum(sample.num_frames for _, sample in tracks) // _MAX_FRAMES)
    mouths, heard, seen = [], [], []
    for shard, sample in tracks:
        frames = list(range(0, sample.num_frames, step))
        crops = read_clip(shard, sample, frames)
        mouths.append(mouth_of_pixels(crops))
        seen.append(sights(crops))
        times_s = np.array(sample.times_us, dtype=np.float64)[frames] / 1e6
        heard.append(sounds_of_frames(sounds.read(outcomes[sample.source]), times_s))
    return SeenMouths(np.concatenate(mouths), np.concatenate(heard), np.concatenate(seen))
