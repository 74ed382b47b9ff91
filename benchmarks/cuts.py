"""Cuts between people: this package's tracker beside PySceneDetect's detectors, on joined clips and on whole ones.

    pip install scenedetect==0.6.7.1
    python -m benchmarks.cuts --shared ../shared

The clips of GRID and MEAD (same background, small changes) are joined in pairs, in full light and in a quarter of it:
every cut is known. Whole clips have no cut: what is found there is false.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.face.detections import FaceDetector
from marlin_sdk.face.detectors import load_detector
from marlin_sdk.face.tracking import FaceTracker
from marlin_sdk.video.reader import open_video

__all__ = ["main"]

Frames = Sequence[NDArray[np.uint8]]
SAMPLED = 2  # every second frame, as the published model samples
CLIP_FRAMES = 26
WIDE_PX = 800  # wider clips are read at a third


@dataclass(frozen=True)
class _Still:
    rgb: NDArray[np.uint8]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description="Cuts between people, beside PySceneDetect.")
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="the reference data")
    parser.add_argument("--every", type=int, default=1, help="only every k-th pair")
    options = parser.parse_args(arguments)
    detector = load_detector(options.shared / "weights" / "face_detection_yunet_2023mar.onnx")
    clips = _read(options.shared / "media")
    pairs = [
        (first, second)
        for first, second in permutations(clips, 2)
        if clips[first][0].shape == clips[second][0].shape and first.split("_")[0] != second.split("_")[0]
    ][:: options.every]
    missed: dict[str, int] = {"content": 0, "adaptive": 0, "tracker": 0}
    for first, second in pairs:
        for gain in (1.0, 0.25):
            frames = [(rgb * gain).astype(np.uint8) for rgb in (*clips[first], *clips[second])]
            at = len(clips[first])
            for name, cuts in _scene_cuts(frames).items():
                missed[name] += not any(abs(cut - at) <= 1 for cut in cuts)
            tracks = _tracks(frames, detector)
            missed["tracker"] += bool(set().union(*tracks[:at]) & set().union(*tracks[at:]))
    false: dict[str, int] = {"content": 0, "adaptive": 0, "tracker": 0}
    for frames in clips.values():
        for name, cuts in _scene_cuts(frames).items():
            false[name] += len(cuts)
        false["tracker"] += max(0, len(set().union(*_tracks(frames, detector))) - 1)
    rows = {name: {"missed": missed[name], "false": false[name]} for name in missed}
    print(json.dumps({"cuts": 2 * len(pairs), "whole_clips": len(clips), **rows}, indent=1))


def _read(media: Path) -> dict[str, list[NDArray[np.uint8]]]:
    """The first frames of each clip, sampled, the large ones at a third of their size."""
    clips = {}
    for path in [*sorted((media / "grid" / "others").glob("*.mp4")), *sorted((media / "mead").glob("*.mp4"))]:
        with open_video(path) as reader:
            frames = [frame.rgb for frame, _ in zip(reader, range(CLIP_FRAMES), strict=False)][::SAMPLED]
        step = 3 if frames[0].shape[1] > WIDE_PX else 1
        clips[path.stem] = [np.ascontiguousarray(rgb[::step, ::step]) for rgb in frames]
    return clips


def _scene_cuts(frames: Frames) -> dict[str, list[int]]:
    """The first frames of new scenes, by PySceneDetect's detectors with their defaults, but scenes of any length."""
    from scenedetect.detectors import AdaptiveDetector, ContentDetector

    detectors: dict[str, Any] = {
        "content": ContentDetector(min_scene_len=1),
        "adaptive": AdaptiveDetector(min_scene_len=1),
    }
    found: dict[str, list[int]] = {}
    for name, detector in detectors.items():
        cuts: list[int] = []
        for number, rgb in enumerate(frames):
            cuts += detector.process_frame(number, rgb[..., ::-1])
        found[name] = [*cuts, *detector.post_process(len(frames))]
    return found


def _tracks(frames: Frames, detector: FaceDetector) -> list[set[int]]:
    followed = FaceTracker(detector).follow([_Still(rgb) for rgb in frames])
    return [{face.track_id for face in faces} for _, faces in followed]


if __name__ == "__main__":
    main()
