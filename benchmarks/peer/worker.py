"""The reference's worker: marlin-pytorch as installed, with its detector's network injected.

Runs in the reference's own environment: `python -m benchmarks.peer.worker`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from marlin_pytorch import Marlin
from marlin_pytorch.face_detector import FaceXZooFaceDetector

from benchmarks.protocol import Answer, sampled_memory, serve, settled_mb


class RetinaFaceHandler:
    """Replaces what marlin-pytorch loads from its git clone of FaceX-Zoo: the same network, weights and thresholds.

    Args:
        weights: `retinaface_mobilenet0.25.pth`.
        device: torch device.
    """

    def __init__(self, weights: str, device: str) -> None:
        from face_alignment.detection.retinaface import FaceDetector

        self._network = FaceDetector(device, path_to_detector=weights, confidence_threshold=0.7, nms_threshold=0.2)
        self.seen: list[list[float]] = []  # the top box of each processed frame, with its score

    def inference_on_image(self, image: Any) -> list[list[float]]:
        """Boxes x1, y1, x2, y2, score of an RGB frame, best first."""
        found: list[list[float]] = self._network.detect_from_image(image)
        self.seen += found[:1]
        return found


class Reference:
    """The tasks of the reference's worker."""

    def __init__(self) -> None:
        self._model: Any = None
        self._handler: RetinaFaceHandler | None = None

    def open(self, *, model: str, checkpoint: str, threads: int, detector: str | None, device: str = "cpu") -> Answer:
        """Load the model, and the detector's network if there are weights for it."""
        torch.set_num_threads(threads)
        self._model = Marlin.from_file(model, checkpoint).to(device).eval()
        if detector is not None:
            self._handler = FaceXZooFaceDetector.faceDetModelHandler = RetinaFaceHandler(detector, device)
            FaceXZooFaceDetector.inited = True
        return {}

    def encode(self, *, clips: str, save_to: str) -> Answer:
        """Embed clips from an .npy file, one at a time, as the package does."""
        pixels = torch.from_numpy(np.load(clips))
        started_s = time.perf_counter()
        rows = []
        for clip in pixels:
            x = (clip.permute(3, 0, 1, 2)[None].to(self._model.device) / 255).contiguous()
            rows.append(self._model.extract_features(x, keep_seq=False).cpu())
        seconds = time.perf_counter() - started_s
        np.save(save_to, torch.cat(rows).numpy())
        return {"seconds": seconds, "count": len(rows)}

    def extract(self, *, video: str, crop: bool, save_to: str) -> Answer:
        """Embed a video."""
        if self._handler is not None:
            self._handler.seen.clear()
        started_s = time.perf_counter()
        features = self._model.extract_video(video, crop_face=crop).cpu()
        seconds = time.perf_counter() - started_s
        np.save(save_to, features.numpy())
        return {"seconds": seconds, "count": len(features), "boxes": self._handler.seen if self._handler else []}

    def pieces(self, *, video: str) -> Answer:
        """Seconds per window of each stage of `extract_video`."""
        handler = self._handler
        assert handler is not None
        seconds = {}
        windows, took = _timed(lambda: [window.cpu() for window in self._model._load_video(video, 2, 16)])
        seconds["decode and convert"] = took / len(windows)
        frames = [(frame.permute(1, 2, 0).numpy() * 255).astype(np.uint8) for frame in windows[0][0].unbind(1)]
        found, seconds["detect"] = _timed(lambda: [handler.inference_on_image(frame) for frame in frames])
        boxes = iter(found)
        real, FaceXZooFaceDetector.detect_face = FaceXZooFaceDetector.detect_face, lambda _: next(boxes)
        try:
            faces, seconds["crop"] = _timed(lambda: self._model._crop_face(windows[0].to(self._model.device)))
        finally:
            FaceXZooFaceDetector.detect_face = real
        _, seconds["encode"] = _timed(lambda: self._model.extract_features(faces, keep_seq=False).cpu())
        return {"seconds": sum(seconds.values()), "pieces": seconds}

    def memory(self, *, video: str, crop: bool, clips: str) -> Answer:
        """Memory above the model while a video is embedded."""
        clip = torch.from_numpy(np.load(clips)[:1])
        self._model.extract_features(clip.permute(0, 4, 1, 2, 3) / 255, keep_seq=False)
        model_mb = settled_mb()
        with sampled_memory() as samples:
            self._model.extract_video(video, crop_face=crop)
        return {"seconds": samples[-1][0], "samples": [(at_s, mb - model_mb) for at_s, mb in samples]}


def _timed(do: Callable[[], Any]) -> tuple[Any, float]:
    started_s = time.perf_counter()
    result = do()
    return result, time.perf_counter() - started_s


if __name__ == "__main__":
    reference = Reference()
    tasks = ("open", "encode", "extract", "pieces", "memory")
    serve({name: getattr(reference, name) for name in tasks})
