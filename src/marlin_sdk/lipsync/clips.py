"""Clips of a face that talks, with its sound: what a network that makes lips is measured on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from marlin_sdk.errors import NoFaceError
from marlin_sdk.face.detections import FaceDetector
from marlin_sdk.lipsync.faces import read_face
from marlin_sdk.sync.curve import Reading, read_curve
from marlin_sdk.sync.mel import LogMel, check_audible, log_mel
from marlin_sdk.sync.network import FPS, SyncNetwork
from marlin_sdk.sync.windows import FaceWindows, shift_distances, silent_windows
from marlin_sdk.video.sound import read_sound

__all__ = ["TalkingClip", "read_clip", "read_timing", "scaled"]

_STRIDE = 4  # frames from one judged window to the next, as `marlin-sdk sync score`
_BATCH = 16


@dataclass(frozen=True, eq=False)
class TalkingClip:
    """A face and its sound, on one clock.

    Attributes:
        name: of the video.
        crops: uint8 (T, S, S, 3), RGB, successive frames, 25 a second.
        start_s: time of the first.
        heard: the sound.
    """

    name: str
    crops: NDArray[np.uint8]
    start_s: float
    heard: LogMel

    @property
    def times_s(self) -> NDArray[np.float64]:
        """Times of the frames."""
        return self.start_s + np.arange(len(self.crops)) / FPS


def read_clip(video: str | Path, size_px: int, detector: FaceDetector, *, min_frames: int) -> TalkingClip:
    """The longest part of a video that shows its most prominent face without a gap.

    Args:
        video: a file.
        size_px: side of the crops.
        detector: the face detector.
        min_frames: fewer are refused.
    Raises:
        NoFaceError: no frame shows a face, or not for long enough.
        NoSoundError: the video has no sound, or nothing but silence.
        VideoDecodeError: it cannot be read.
    """
    sound = read_sound(video)
    heard = log_mel(sound)
    check_audible(sound, heard, str(video))
    face = read_face(video, size_px, detector)
    runs = np.split(np.arange(len(face.frames)), np.flatnonzero(np.diff(face.frames) > 1) + 1)
    longest = max(runs, key=len)
    if len(longest) < min_frames:
        raise NoFaceError(f"{video} shows its face for {len(longest)} frames without a gap; expected {min_frames}")
    start_s = face.start_s + float(face.frames[longest[0]]) / FPS
    return TalkingClip(Path(video).stem, face.crops[longest], start_s, heard)


def read_timing(crops: NDArray[np.uint8], start_s: float, heard: LogMel, judge: SyncNetwork) -> Reading | None:
    """What a synchronisation model says of face crops and a sound.

    Args:
        crops: uint8 (T, S, S, 3), successive frames, 25 a second; scaled to what the model takes.
        start_s: time of the first.
        heard: the sound.
        judge: the model.
    Returns:
        None if there is too little sound.
    """
    model = judge.config.model
    small = scaled(crops, model.img_size)
    starts = np.arange(0, len(crops) - model.n_frames + 1, _STRIDE)
    windows = small[starts[:, None] + np.arange(model.n_frames)]
    device = judge.log_scale.device
    with torch.inference_mode():
        parts = [
            judge.embed_faces(torch.from_numpy(part).to(device).permute(0, 4, 1, 2, 3).float().div_(255)).cpu()
            for part in np.split(windows, range(_BATCH, len(windows), _BATCH))
        ]
        sound = judge.embed_sound(torch.from_numpy(heard.values).to(device)[None])[0].cpu()
    face = FaceWindows(0, start_s + starts / FPS, torch.cat(parts))
    found = shift_distances(face, sound, heard, model)
    found[silent_windows(face.start_s, heard)] = np.nan
    return read_curve(found)


def scaled(crops: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """Crops (T, S, S, 3) at another size; averages where they become smaller."""
    import cv2

    way = cv2.INTER_AREA if side_px < crops.shape[1] else cv2.INTER_LINEAR
    return np.stack([np.asarray(cv2.resize(one, (side_px, side_px), interpolation=way), np.uint8) for one in crops])
