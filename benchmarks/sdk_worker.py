"""marlin-sdk's worker: `python -m benchmarks.sdk_worker`, in the same environment as the benchmark."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import torch

from benchmarks.protocol import Answer, sampled_memory, serve, settled_mb
from marlin_sdk import Marlin
from marlin_sdk.face.cropping import crop_square, square_box
from marlin_sdk.face.tracking import FaceTracker
from marlin_sdk.video.reader import open_video

Result = TypeVar("Result")

WINDOW_FRAMES = 32
CLIP_FRAMES = 16
KINDS = {
    "matrix products": ("mm", "linear", "mkldnn"),
    "attention": ("scaled_dot_product", "flash_attention", "softmax"),
    "GELU": ("gelu",),
    "LayerNorm": ("layer_norm",),
    "copies": ("copy", "cat", "contiguous"),
}
"""Substrings of torch operator names, by kind."""


class Sdk:
    """The tasks of marlin-sdk's worker."""

    def __init__(self) -> None:
        self._model: Marlin

    def open(
        self, *, checkpoint: str, threads: int, detector: str | None, options: Mapping[str, Any], device: str = "cpu"
    ) -> Answer:
        """Load the model.

        Args:
            checkpoint: a file, or a published name for random weights.
            threads: of torch.
            detector: as for `from_pretrained`, loaded immediately; None if nothing is cropped.
            options: more keyword arguments of `from_pretrained`: runtime, dtype.
            device: torch device.
        """
        torch.set_num_threads(threads)
        self._model = Marlin.from_pretrained(checkpoint, device=device, detector=detector or "yunet", **options)
        if detector:
            _ = self._model.detector
        return {}

    def encode(self, *, clips: str, save_to: str) -> Answer:
        """Embed clips from an .npy file in one batch."""
        pixels = torch.from_numpy(np.load(clips))
        features, seconds = _timed(lambda: self._model.extract_clip(pixels).cpu())
        np.save(save_to, features.numpy())
        return {"seconds": seconds, "count": len(pixels)}

    def extract(self, *, video: str, crop: bool, save_to: str, settings: Mapping[str, Any] | None = None) -> Answer:
        """Embed a video; by default with the same windows as the reference, which drops the tail."""
        given: Any = {"tail": "drop", **(settings or {})}
        features, seconds = _timed(lambda: self._model.extract_video(video, crop_face=crop, **given))
        np.save(save_to, features.numpy())
        return {"seconds": seconds, "count": len(features)}

    def pieces(self, *, video: str) -> Answer:
        """Seconds per window (32 source frames) of each stage of `extract_video`, run one after another."""
        detector = self._model.detector
        with open_video(video) as reader:
            frames, decode_s = _timed(lambda: list(reader))
        windows = len(frames) / WINDOW_FRAMES
        seconds = {"decode": decode_s / windows}
        sampled = frames[::2]
        stills, convert_s = _timed(lambda: [frame.rgb for frame in sampled])
        seconds["convert"] = convert_s / windows
        seconds["detect"] = _timed(lambda: detector.detect(stills[::4]))[1] / windows
        tracked, follow_s = _timed(lambda: list(FaceTracker(detector).follow(iter(sampled))))
        seconds["track"] = max(0.0, follow_s / windows - seconds["detect"])
        boxes = [faces[0].box if faces else np.array([0.0, 0.0, 64.0, 64.0]) for _, faces in tracked]
        size_px = self._model.config.img_size
        crops, crop_s = _timed(
            lambda: [crop_square(still, square_box(box), size_px) for still, box in zip(stills, boxes, strict=True)]
        )
        seconds["crop"] = crop_s / windows
        whole = min(8, len(crops) // CLIP_FRAMES)  # batch size, the default of `extract_video`
        clips = np.stack(crops[: whole * CLIP_FRAMES]).reshape(whole, CLIP_FRAMES, size_px, size_px, 3)
        self._model.extract_clip(clips[:1])
        seconds["encode"] = _timed(lambda: self._model.extract_clip(clips).cpu())[1] / whole
        return {"seconds": sum(seconds.values()), "pieces": seconds}

    def memory(self, *, video: str, crop: bool, clips: str, settings: Mapping[str, Any] | None = None) -> Answer:
        """Memory above the model while a video is embedded."""
        self._model.extract_clip(np.load(clips)[:1])
        _ = self._model.detector
        model_mb = settled_mb()
        given: Any = dict(settings or {})
        with sampled_memory() as samples:
            features = self._model.extract_video(video, crop_face=crop, **given)
        above = [(at_s, mb - model_mb) for at_s, mb in samples]
        return {"seconds": samples[-1][0], "samples": above, "count": len(features)}

    def breakdown(self, *, clips: str) -> Answer:
        """Seconds per clip that torch spends in each kind of operator, profiler overhead included."""
        from torch.profiler import ProfilerActivity, profile

        pixels = torch.from_numpy(np.load(clips))
        self._model.extract_clip(pixels)
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            _, seconds = _timed(lambda: self._model.extract_clip(pixels))
        shares = dict.fromkeys([*KINDS, "other"], 0.0)
        for event in profiler.key_averages():
            kind = next((kind for kind, marks in KINDS.items() if any(mark in event.key for mark in marks)), "other")
            shares[kind] += event.self_cpu_time_total / 1e6 / len(pixels)
        return {"seconds": seconds, "count": len(pixels), "pieces": shares}


def _timed(do: Callable[[], Result]) -> tuple[Result, float]:
    started_s = time.perf_counter()
    result = do()
    return result, time.perf_counter() - started_s


if __name__ == "__main__":
    sdk = Sdk()
    serve({name: getattr(sdk, name) for name in ("open", "encode", "extract", "pieces", "memory", "breakdown")})
