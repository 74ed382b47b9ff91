"""The built-in face detectors, and loading them by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.errors import ConfigError, MissingExtraError, WeightsError
from marlin_sdk.face.boxes import box_overlaps
from marlin_sdk.face.cropping import fit_frame
from marlin_sdk.face.detections import Detections, FaceDetector
from marlin_sdk.face.networks import errors_only, weights_provenance
from marlin_sdk.locked import Locked
from marlin_sdk.weights import downloads

__all__ = [
    "DETECTORS",
    "Detections",
    "FaceAlignmentDetector",
    "FaceDetector",
    "LbpDetector",
    "YuNetDetector",
    "check_detector",
    "check_landmarks",
    "detector_assets",
    "load_detector",
    "published_sha256",
]

DETECTORS = ("yunet", "lbp", "sfd", "blazeface", "retinaface", "scrfd")
"""Names of the built-in detectors."""

# YuNet's box of the same face varies by some percent with the scale and the channel order; the mean of two detections
# is closer to marlin-pytorch's box than either. The detection at the larger scale, in the network's own BGR, finds
# small and tilted faces; the other uses RGB, as marlin-pytorch passes RGB to its own BGR-trained network.
YUNET_SCALES = ((640, True), (320, False))  # long side in pixels, whether BGR
SAME_FACE = 0.5  # least overlap of the detections of a face at two scales
# Over five real videos YuNet's boxes are 0.98 times as large as the reference detector's at 640 pixels, 0.99 at 320.
YUNET_SIZE = 1 / 0.985

_MIN_SIDE_PX = 64  # of the smallest frame that face-alignment's networks accept


class YuNetDetector(Locked):
    """YuNet (Wu et al., Machine Intelligence Research 2023) run by OpenCV: 11 ms a frame on two cores.

    Faces are detected with the frame's long side scaled to 640 and to 320 pixels (at most 2x up); the boxes of a face
    detected at both scales are averaged, faces detected at only one are retained.

    Args:
        model: `face_detection_yunet_2023mar.onnx`.
        min_score: faces with a lower score are discarded.
    Raises:
        WeightsError: OpenCV cannot read the file, or it is not a YuNet network.
    """

    name = "yunet"

    _transient = ("_network",)

    def __init__(self, model: Path, *, min_score: float = 0.6) -> None:
        super().__init__()
        self.provenance = weights_provenance(model)
        self._model, self._min_score = model, min_score
        self._restore()

    def _restore(self) -> None:
        import cv2

        try:
            with errors_only():
                self._network = cv2.FaceDetectorYN.create(str(self._model), "", (320, 320), self._min_score, 0.3, 5000)
                self._network.detect(np.zeros((320, 320, 3), dtype=np.uint8))  # another network fails only here
        except cv2.error as error:
            reason = f"{self._model} is not a YuNet network that OpenCV {cv2.__version__} can read: {error.err}"
            raise WeightsError(reason) from error

    def detect(self, frames: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """See `FaceDetector.detect`."""
        return [self._detect_one(frame) for frame in frames]

    def _detect_one(self, frame: NDArray[np.uint8]) -> Detections:
        large, small = (self._detect_scaled(frame, long_side_px, bgr) for long_side_px, bgr in YUNET_SCALES)
        overlaps = box_overlaps(large[:, :4], small[:, :4])
        for first, second in zip(*np.nonzero(overlaps >= SAME_FACE), strict=True):
            large[first, :14] = (large[first, :14] + small[second, :14]) / 2
        rows = np.concatenate([large, small[~(overlaps >= SAME_FACE).any(axis=0)]])
        centre, half = (rows[:, :2] + rows[:, 2:4]) / 2, (rows[:, 2:4] - rows[:, :2]) / 2 * YUNET_SIZE
        return Detections.from_rows(np.concatenate([centre - half, centre + half], axis=1), rows[:, 14], rows[:, 4:14])

    def _detect_scaled(self, frame: NDArray[np.uint8], long_side_px: int, bgr: bool) -> NDArray[np.float64]:
        """Rows of x1, y1, x2, y2, five landmarks (x, y), score, in pixels of the frame."""
        import cv2

        small, scale = fit_frame(frame, long_side_px)
        picture = cv2.cvtColor(small, cv2.COLOR_RGB2BGR) if bgr else small
        with self._lock:  # the network has one input size at a time
            self._network.setInputSize((small.shape[1], small.shape[0]))
            faces: Any = self._network.detect(picture)[1]
        rows = np.asarray(faces if faces is not None else np.empty((0, 15)), dtype=np.float64)
        rows[:, :14] *= np.tile(scale, 7)
        rows[:, 2:4] += rows[:, :2]
        return rows


class LbpDetector(Locked):
    """The frontal-face LBP cascade included in scikit-image: needs no download, finds only upright frontal faces.

    It has no scores (each face gets 1.0) and no landmarks.

    Args:
        long_side_px: larger frames are scaled down to this before detection.
        min_face_share: smallest face, as a fraction of the frame's shorter side.
    """

    name = "lbp"

    _transient = ("_cascade",)

    def __init__(self, *, long_side_px: int = 320, min_face_share: float = 0.15) -> None:
        from skimage.data import lbp_frontal_face_cascade_filename

        super().__init__()
        self._file = lbp_frontal_face_cascade_filename()
        self.provenance = weights_provenance(Path(self._file))
        self._long_side_px = long_side_px
        self._min_face_share = min_face_share
        self._restore()

    def _restore(self) -> None:
        from skimage.feature import Cascade

        self._cascade = Cascade(self._file)

    def detect(self, frames: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """See `FaceDetector.detect`."""
        return [self._detect_one(frame) for frame in frames]

    def _detect_one(self, frame: NDArray[np.uint8]) -> Detections:
        small, scale = fit_frame(frame, min(self._long_side_px, max(frame.shape[:2])))
        height, width = small.shape[:2]
        smallest, largest = max(24, int(self._min_face_share * min(height, width))), min(height, width)
        if largest < 24:  # the cascade's own window
            return Detections.from_rows([], [])
        size = {"min_size": (smallest, smallest), "max_size": (largest, largest)}
        with self._lock:
            found = self._cascade.detect_multi_scale(img=small, scale_factor=1.1, step_ratio=1, **size)
        corners = [(face["c"], face["r"], face["c"] + face["width"], face["r"] + face["height"]) for face in found]
        boxes = np.asarray(corners, dtype=np.float32).reshape(-1, 4) * np.tile(scale, 2)
        return Detections.from_rows(boxes, np.ones(len(found)))


class FaceAlignmentDetector(Locked):
    """A detector of the face-alignment package, at native frame size.

    Args:
        name: "sfd", "blazeface", "retinaface" or "scrfd".
        weights: its weights file (and BlazeFace's anchors), in face-alignment's format.
        device: torch device it runs on.
    Raises:
        MissingExtraError: "retinaface" needs torchvision, "scrfd" needs onnxruntime.
        WeightsError: the file does not hold this detector's weights; for "scrfd", raised at the first detection.
    """

    _transient = ("_network",)

    def __init__(self, name: str, weights: Sequence[Path], *, device: str = "cpu") -> None:
        super().__init__()
        self.name = name
        self.provenance = weights_provenance(weights[0])
        self._weights, self._device = tuple(weights), device
        self._restore()

    def _restore(self) -> None:
        network = _import_face_alignment(self.name)
        files = dict(zip(("path_to_detector", "path_to_anchor"), map(str, self._weights), strict=False))
        try:
            self._network = network(self._device, **files)
        except Exception as error:  # torch, numpy and onnxruntime raise many types of error for an invalid file
            expected = ", ".join(asset.url for asset in _ASSETS[self.name])
            raise WeightsError(
                f"{', '.join(files.values())} cannot be read as weights of the {self.name} detector "
                f"({type(error).__name__}); it takes {expected}"
            ) from error

    def detect(self, frames: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """See `FaceDetector.detect`."""
        return [self._detect_one(frame) for frame in frames]

    def _detect_one(self, frame: NDArray[np.uint8]) -> Detections:
        height, width = frame.shape[:2]
        # S3FD fails on frames too small for its strides; BlazeFace on squares, which it may round to 255 pixels.
        pad_bottom, pad_right = max(0, _MIN_SIDE_PX - height), max(0, _MIN_SIDE_PX - width)
        if self.name == "blazeface" and height + pad_bottom == width + pad_right:
            pad_right += 1
        if pad_bottom or pad_right:
            frame = np.pad(frame, ((0, pad_bottom), (0, pad_right), (0, 0)))
        try:
            with self._lock:
                rows = np.asarray(self._network.detect_from_image(frame), dtype=np.float32).reshape(-1, 5)
        except Exception as error:
            if self.name != "scrfd":  # its ONNX file contains the network, which may be any other
                raise
            raise WeightsError(
                f"{self.provenance['file']} is not an SCRFD network ({type(error).__name__}: {error}); "
                f"scrfd takes {downloads.SCRFD.url}"
            ) from error
        return Detections.from_rows(rows[:, :4], rows[:, 4])


def load_detector(
    detector: str | Path | FaceDetector,
    *,
    device: str = "cpu",
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> FaceDetector:
    """Load the detector that `detector=` names, downloading its weights if it needs any.

    Args:
        detector: a name from `DETECTORS`; `"name:path/to/weights"` to use local weights; the path of a YuNet `.onnx`
            file; or an object that implements `FaceDetector`, which is returned unchanged.
        device: torch device, for detectors that run on torch.
        cache_dir: folder of downloaded weights; `MARLIN_HOME` by default.
        local_files_only: do not access the network.
    Raises:
        ConfigError: unknown detector.
        DownloadError: its weights cannot be downloaded.
        WeightsError: its weights are invalid.
        MissingExtraError: it needs a package that is not installed.
    """
    name, weights = check_detector(detector)
    if not isinstance(detector, str | Path):
        return detector
    if name == "lbp":
        return LbpDetector()
    if not weights:
        where: dict[str, Any] = {"cache_dir": cache_dir, "local_files_only": local_files_only}
        weights = [downloads.fetch_asset(asset, **where) for asset in _ASSETS[name]]
    return YuNetDetector(weights[0]) if name == "yunet" else FaceAlignmentDetector(name, weights, device=device)


def check_detector(detector: str | Path | FaceDetector) -> tuple[str, list[Path]]:
    """Parse `detector=`, without downloading anything.

    Returns:
        The detector's name, and the paths of its weights if they are given.
    Raises:
        ConfigError: unknown detector.
        WeightsError: no such file.
    """
    if not isinstance(detector, str | Path):
        if isinstance(detector, type) or not isinstance(detector, FaceDetector):
            raise ConfigError(f"detector is a {type(detector).__name__}; expected a name, a file, or a FaceDetector")
        return detector.name, []
    name, _, given = str(detector).partition(":")
    if name not in DETECTORS:
        name, given = "yunet", str(detector)
        if not given.endswith(".onnx"):
            known = f"{', '.join(DETECTORS)}, 'name:weights', or a YuNet .onnx file"
            raise ConfigError(f"unknown detector {given!r}; expected one of {known}")
    needed = len(_ASSETS[name])
    parts = given.split(",") if needed > 1 else [given]  # a single path may contain a comma
    weights = [Path(part).expanduser() for part in parts if part]
    if weights and len(weights) != needed:
        raise ConfigError(
            f"detector {str(detector)!r} names {len(weights)} files; {name} takes {needed}"
            + (f": '{name}:weights,anchors'" if needed > 1 else "")
        )
    if missing := [str(path) for path in weights if not path.is_file()]:
        raise WeightsError(f"no such detector file: {', '.join(missing)}")
    return name, weights


def check_landmarks(detector: str | Path | FaceDetector, needed_by: str) -> None:
    """Check that a built-in detector gives landmarks, without loading it. One of your own shows it when it runs.

    Raises:
        ConfigError: it gives none; the message says who needs them, `needed_by`.
    """
    name, _ = check_detector(detector)
    if isinstance(detector, str | Path | LbpDetector | FaceAlignmentDetector) and name != "yunet":
        raise ConfigError(f"detector {name!r} finds no landmarks, which {needed_by} needs; use detector='yunet'")


def detector_assets(name: str) -> tuple[downloads.Asset, ...]:
    """The files that a built-in detector downloads.

    Raises:
        ConfigError: not the name of a built-in detector.
    """
    if name not in DETECTORS:
        raise ConfigError(f"unknown detector {name!r}; expected one of {', '.join(DETECTORS)}")
    return _ASSETS[name]


def published_sha256(name: str) -> list[str]:
    """SHA-256 digests of a built-in detector's weights; empty if they were not published."""
    digests = [asset.sha256 or "" for asset in _ASSETS.get(name, ())]
    return digests if all(len(digest) == 64 for digest in digests) else []


_ASSETS: dict[str, tuple[downloads.Asset, ...]] = {
    "lbp": (),
    "yunet": (downloads.YUNET,),
    "sfd": (downloads.SFD,),
    "blazeface": (downloads.BLAZEFACE_BACK, downloads.BLAZEFACE_BACK_ANCHORS),
    "retinaface": (downloads.RETINAFACE,),
    "scrfd": (downloads.SCRFD,),
}


def _import_face_alignment(name: str) -> Callable[..., Any]:
    """A constructor of the detector, which takes a device and the paths of its weights."""
    required = {"retinaface": "torchvision", "scrfd": "onnxruntime"}.get(name)
    if required:
        # Before face-alignment does, which imports onnxruntime late: an import error is not an error in the weights.
        try:
            import_module(required)
        except ImportError as error:
            raise MissingExtraError(f'detector="{name}"', name) from error
        except Exception as error:  # a torchvision that was built for another torch raises RuntimeError
            raise ConfigError(
                f'detector="{name}" needs {required}, which is installed but cannot be imported: {error}; install the '
                "build of it that fits your torch, or use another detector"
            ) from error
    options: dict[str, Any] = {}
    if name == "blazeface":
        options = {"back_model": True}
    elif name == "retinaface":  # marlin-pytorch's thresholds: with the same weights, the boxes are identical
        options = {"confidence_threshold": 0.7, "nms_threshold": 0.2}
    module = import_module(f"face_alignment.detection.{name}")
    return partial(module.FaceDetector, **options)
