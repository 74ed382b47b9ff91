"""Face detectors behind one Protocol: RGB frames in; boxes, scores and five landmarks out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from marlin_sdk import assets
from marlin_sdk.errors import ConfigError, MissingExtraError, WeightsError

__all__ = [
    "DETECTORS",
    "Detections",
    "FaceAlignmentDetector",
    "FaceDetector",
    "LbpDetector",
    "YuNetDetector",
    "check_detector",
    "load_detector",
]

DETECTORS = ("yunet", "lbp", "sfd", "blazeface", "retinaface", "scrfd")
"""The detectors that have a name."""

# At 640 pixels YuNet's boxes measured 0.98 of the reference detector's, in the median over five real videos.
YUNET_SIZE = 1 / 0.98


@dataclass(frozen=True)
class Detections:
    """The faces of one frame, best score first.

    Attributes:
        boxes: float32 (n, 4), xyxy in pixels of the frame.
        scores: float32 (n,), in [0, 1].
        landmarks: float32 (n, 5, 2), xy pixels of right eye, left eye, nose tip, right and left corner of the mouth
            (the person's right); NaN from a detector that has none.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    landmarks: NDArray[np.float32]

    @classmethod
    def from_rows(cls, boxes: Any, scores: Any, landmarks: Any = None) -> Detections:
        """Sort and shape what a detector gives; no rows make an empty result."""
        boxes = np.asarray(boxes, dtype=np.float32).reshape(-1, 4)
        scores = np.asarray(scores, dtype=np.float32).reshape(-1)
        if landmarks is None:
            landmarks = np.full((len(boxes), 5, 2), np.nan)
        landmarks = np.asarray(landmarks, dtype=np.float32).reshape(-1, 5, 2)
        order = np.argsort(-scores, kind="stable")
        return cls(boxes[order], scores[order], landmarks[order])

    def __len__(self) -> int:
        return len(self.scores)


@runtime_checkable
class FaceDetector(Protocol):
    """Anything that finds faces; pass your own as `detector=`."""

    @property
    def name(self) -> str:
        """What the features' metadata calls it."""

    def detect(self, frames: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """Find faces.

        Args:
            frames: uint8 (H, W, 3) RGB arrays; sizes may differ.
        Returns:
            One `Detections` for each frame, in order, in that frame's pixels.
        """


class YuNetDetector:
    """YuNet (Wu et al., Machine Intelligence Research 2023) as OpenCV runs it: 7 ms a frame on two cores.

    Args:
        model: `face_detection_yunet_2023mar.onnx`.
        long_side_px: frames are scaled to this before detection, up to twofold; of 320 to 640, 640 agreed best with the
            reference's boxes on faces of 60 pixels and equally on those of 120.
        min_score: faces scored lower are left out.
    Raises:
        WeightsError: OpenCV cannot read the file as a YuNet network.
    """

    name = "yunet"

    def __init__(self, model: Path, *, long_side_px: int = 640, min_score: float = 0.6) -> None:
        import cv2

        self.provenance = _provenance(model)
        self._long_side_px = long_side_px
        try:
            with _errors_only():
                self._network = cv2.FaceDetectorYN.create(str(model), "", (320, 320), min_score, 0.3, 5000)
        except cv2.error as error:
            reason = f"{model} is no YuNet network that OpenCV {cv2.__version__} can read: {error.err}"
            raise WeightsError(reason) from error

    def detect(self, frames: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """See `FaceDetector.detect`."""
        return [self._detect_one(frame) for frame in frames]

    def _detect_one(self, frame: NDArray[np.uint8]) -> Detections:
        import cv2

        small, scale = _fit(frame, self._long_side_px)
        size = (small.shape[1], small.shape[0])
        self._network.setInputSize(size)
        faces: Any = self._network.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))[1]
        if faces is None:
            return Detections.from_rows([], [])
        points = faces[:, :14].reshape(-1, 7, 2) * scale
        centre, half = points[:, 0] + points[:, 1] / 2, points[:, 1] / 2 * YUNET_SIZE
        return Detections.from_rows(np.concatenate([centre - half, centre + half], axis=1), faces[:, 14], points[:, 2:])


class LbpDetector:
    """The frontal-face cascade that scikit-image ships: needs no download, knows only upright frontal faces.

    It gives no scores (each face gets 1.0) and no landmarks.

    Args:
        long_side_px: larger frames are scaled down to this before detection.
        min_face_share: smallest face, as a share of the frame's shorter side.
    """

    name = "lbp"

    def __init__(self, *, long_side_px: int = 320, min_face_share: float = 0.15) -> None:
        from skimage.data import lbp_frontal_face_cascade_filename
        from skimage.feature import Cascade

        self.provenance = _provenance(Path(lbp_frontal_face_cascade_filename()))
        self._cascade = Cascade(lbp_frontal_face_cascade_filename())
        self._long_side_px = long_side_px
        self._min_face_share = min_face_share

    def detect(self, frames: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """See `FaceDetector.detect`."""
        return [self._detect_one(frame) for frame in frames]

    def _detect_one(self, frame: NDArray[np.uint8]) -> Detections:
        small, scale = _fit(frame, min(self._long_side_px, max(frame.shape[:2])))
        height, width = small.shape[:2]
        smallest, largest = max(24, int(self._min_face_share * min(height, width))), min(height, width)
        if largest < 24:  # the cascade's own window
            return Detections.from_rows([], [])
        found = self._cascade.detect_multi_scale(
            img=small, scale_factor=1.1, step_ratio=1, min_size=(smallest, smallest), max_size=(largest, largest)
        )
        corners = [(face["c"], face["r"], face["c"] + face["width"], face["r"] + face["height"]) for face in found]
        boxes = np.asarray(corners, dtype=np.float32).reshape(-1, 4) * np.tile(scale, 2)
        return Detections.from_rows(boxes, np.ones(len(found)))


class FaceAlignmentDetector:
    """A detector of the face-alignment package, at native frame size.

    Args:
        name: "sfd", "blazeface", "retinaface" or "scrfd".
        weights: its weights file (and BlazeFace's anchors), in face-alignment's format.
        device: torch device it runs on.
    Raises:
        MissingExtraError: "retinaface" needs torchvision, "scrfd" needs onnxruntime.
        WeightsError: the file does not hold this detector's weights.
    """

    def __init__(self, name: str, weights: Sequence[Path], *, device: str = "cpu") -> None:
        self.name = name
        self.provenance = _provenance(weights[0])
        try:
            self._network = _face_alignment_network(name, [str(path) for path in weights], device)
        except ImportError as error:
            raise MissingExtraError(f'detector="{name}"', name) from error
        except Exception as error:  # whatever torch, numpy or onnxruntime say of a file that is not what it should be
            raise WeightsError(f"{weights[0]} does not hold weights of the {name} detector: {error}") from error

    def detect(self, frames: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """See `FaceDetector.detect`."""
        found = [
            np.asarray(self._network.detect_from_image(frame), dtype=np.float32).reshape(-1, 5) for frame in frames
        ]
        return [Detections.from_rows(rows[:, :4], rows[:, 4]) for rows in found]


def load_detector(
    detector: str | Path | FaceDetector,
    *,
    device: str = "cpu",
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> FaceDetector:
    """Make the detector that `detector=` asks for, fetching its weights where it has any.

    Args:
        detector: a name of `DETECTORS`; `"name:path/to/weights"` to provide its weights by hand; the path of a YuNet
            `.onnx` file; or an object that fits `FaceDetector`, which is returned as it is.
        device: torch device, for those that run on torch.
        cache_dir: where downloaded weights lie; `MARLIN_HOME` by default.
        local_files_only: touch no network.
    Raises:
        ConfigError: no such detector.
        DownloadError: its weights cannot be had.
        WeightsError: its weights are not what they should be.
        MissingExtraError: it needs a package that is not installed.
    """
    if not isinstance(detector, str | Path):
        return detector
    name, weights = check_detector(detector)
    if name == "lbp":
        return LbpDetector()
    if not weights:
        weights = [
            assets.fetch_asset(asset, cache_dir=cache_dir, local_files_only=local_files_only) for asset in _ASSETS[name]
        ]
    return YuNetDetector(weights[0]) if name == "yunet" else FaceAlignmentDetector(name, weights, device=device)


def check_detector(detector: str | Path | FaceDetector) -> tuple[str, list[Path]]:
    """Read what `detector=` asks for, without fetching anything.

    Returns:
        The detector's name, and its weights where they are provided by hand.
    Raises:
        ConfigError: no such detector.
        WeightsError: no such file.
    """
    if not isinstance(detector, str | Path):
        if not isinstance(detector, FaceDetector):
            raise ConfigError(f"detector is a {type(detector).__name__}; expected a name, a file, or a FaceDetector")
        return detector.name, []
    name, _, given = str(detector).partition(":")
    if name not in DETECTORS:
        name, given = "yunet", str(detector)
        if not given.endswith(".onnx"):
            raise ConfigError(
                f"unknown detector {given!r}; expected one of {', '.join(DETECTORS)}, "
                "'name:weights', or a YuNet .onnx file"
            )
    weights = [Path(part).expanduser() for part in given.split(",") if part]
    if missing := [str(path) for path in weights if not path.is_file()]:
        raise WeightsError(f"no such detector file: {', '.join(missing)}")
    return name, weights


_ASSETS: dict[str, tuple[assets.Asset, ...]] = {
    "yunet": (assets.YUNET,),
    "sfd": (assets.SFD,),
    "blazeface": (assets.BLAZEFACE_BACK, assets.BLAZEFACE_BACK_ANCHORS),
    "retinaface": (assets.RETINAFACE,),
    "scrfd": (assets.SCRFD,),
}


def _face_alignment_network(name: str, weights: list[str], device: str) -> Any:
    if name == "sfd":
        from face_alignment.detection.sfd.sfd_detector import SFDDetector

        return SFDDetector(device, path_to_detector=weights[0])
    if name == "blazeface":
        from face_alignment.detection.blazeface.blazeface_detector import BlazeFaceDetector

        return BlazeFaceDetector(device, back_model=True, path_to_detector=weights[0], path_to_anchor=weights[1])
    if name == "retinaface":
        from face_alignment.detection.retinaface.retinaface_detector import RetinaFaceDetector

        # marlin-pytorch's own thresholds: with its weights, its boxes to the last bit.
        return RetinaFaceDetector(device, weights[0], confidence_threshold=0.7, nms_threshold=0.2)
    import onnxruntime  # noqa: F401 - face-alignment imports it late, under its own message
    from face_alignment.detection.scrfd.scrfd_detector import SCRFDDetector

    return SCRFDDetector(device, path_to_detector=weights[0])


@contextmanager
def _errors_only() -> Iterator[None]:
    """Silence OpenCV 5, which warns at every creation of a network that it ignores its own default target."""
    import cv2

    log = getattr(cv2.utils, "logging", None)  # OpenCV 4.10 has no such switch, and no such warning
    level = log.getLogLevel() if log else None
    if log:
        log.setLogLevel(log.LOG_LEVEL_ERROR)
    try:
        yield
    finally:
        if log:
            log.setLogLevel(level)


def _fit(frame: NDArray[np.uint8], long_side_px: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Scale a frame to a long side (at most twofold up); also the (x, y) factors that lead back."""
    import cv2

    height, width = frame.shape[:2]
    scale = min(2.0, long_side_px / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = frame if size == (width, height) else cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(small, dtype=np.uint8), np.array([width / size[0], height / size[1]], dtype=np.float32)


def _provenance(weights: Path) -> dict[str, str]:
    if not weights.is_file():
        raise WeightsError(f"no such detector file: {weights}")
    return {"file": weights.name, "sha256": sha256(weights.read_bytes()).hexdigest()}
