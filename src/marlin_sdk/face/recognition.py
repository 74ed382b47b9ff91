"""Face recognition: embeddings that are alike for faces of one person, from SFace or a recogniser of your own."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.errors import ConfigError, WeightsError
from marlin_sdk.face.detections import Detections
from marlin_sdk.face.networks import errors_only, weights_provenance
from marlin_sdk.locked import Locked
from marlin_sdk.weights import downloads

__all__ = ["FaceRecogniser", "SFaceRecogniser", "check_recogniser", "embed_faces", "load_recogniser"]

SFACE_THRESHOLD = 0.363
"""Least cosine similarity of two faces of one person: OpenCV's documentation of `FaceRecognizerSF`, tuned on LFW."""


@runtime_checkable
class FaceRecogniser(Protocol):
    """Protocol of a face recogniser; pass your own as `recogniser=`."""

    @property
    def name(self) -> str:
        """Its name in the metadata of features."""

    @property
    def threshold(self) -> float:
        """Least cosine similarity of two embeddings of one person, in (-1, 1)."""

    def embed(self, frame: NDArray[np.uint8], faces: Detections) -> NDArray[np.float32]:
        """Embed faces of one frame.

        Args:
            frame: uint8 (H, W, 3), RGB.
            faces: boxes and landmarks, in pixels of the frame.
        Returns:
            float32 (n, D), a row for each face, of any length but 0.
        """


class SFaceRecogniser(Locked):
    """SFace (Zhong et al., IEEE TIP 2021) run by OpenCV: 128 values from a face aligned by its five landmarks.

    Args:
        model: `face_recognition_sface_2021dec.onnx`.
    Raises:
        WeightsError: OpenCV cannot read the file, or it is not an SFace network.
    """

    name = "sface"
    threshold = SFACE_THRESHOLD

    _transient = ("_network",)

    def __init__(self, model: Path) -> None:
        super().__init__()
        self.provenance = weights_provenance(model)
        self._model = model
        self._restore()

    def _restore(self) -> None:
        import cv2

        try:
            with errors_only():
                self._network = cv2.FaceRecognizerSF.create(str(self._model), "")
                self._network.feature(np.zeros((112, 112, 3), dtype=np.uint8))  # another network fails only here
        except cv2.error as error:
            reason = f"{self._model} is not an SFace network that OpenCV {cv2.__version__} can read: {error.err}"
            raise WeightsError(reason) from error

    def embed(self, frame: NDArray[np.uint8], faces: Detections) -> NDArray[np.float32]:
        """See `FaceRecogniser.embed`.

        Raises:
            ConfigError: the faces have no landmarks.
        """
        import cv2

        if not np.isfinite(faces.landmarks).all():
            raise ConfigError(
                "sface aligns faces by landmarks, which this detector does not give; use detector='yunet', or pass a "
                "recogniser of your own"
            )
        bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
        sizes = faces.boxes[:, 2:] - faces.boxes[:, :2]
        rows = np.concatenate(
            [faces.boxes[:, :2], sizes, faces.landmarks.reshape(-1, 10), faces.scores[:, None]], axis=1
        )
        with self._lock:
            return np.concatenate([self._network.feature(self._network.alignCrop(bgr, row)) for row in rows])


def load_recogniser(
    recogniser: str | Path | FaceRecogniser = "sface",
    *,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> FaceRecogniser:
    """Load the recogniser that `recogniser=` names, downloading its weights if it needs any.

    Args:
        recogniser: "sface"; the path of SFace's `.onnx` file; or an object that implements `FaceRecogniser`, which is
            returned unchanged.
        cache_dir: folder of downloaded weights; `MARLIN_HOME` by default.
        local_files_only: do not access the network.
    Raises:
        ConfigError: unknown recogniser.
        DownloadError: its weights cannot be downloaded.
        WeightsError: its weights are invalid.
    """
    _, file = check_recogniser(recogniser)
    if not isinstance(recogniser, str | Path):
        return recogniser
    where: dict[str, Any] = {"cache_dir": cache_dir, "local_files_only": local_files_only}
    return SFaceRecogniser(file or downloads.fetch_asset(downloads.SFACE, **where))


def check_recogniser(recogniser: str | Path | FaceRecogniser) -> tuple[str, Path | None]:
    """Parse `recogniser=`, without downloading anything.

    Returns:
        The recogniser's name, and the path of its weights if it is given.
    Raises:
        ConfigError: unknown recogniser.
        WeightsError: no such file.
    """
    if not isinstance(recogniser, str | Path):
        if isinstance(recogniser, type) or not isinstance(recogniser, FaceRecogniser):
            got = type(recogniser).__name__
            raise ConfigError(f"recogniser is a {got}; expected 'sface', a file, or a FaceRecogniser")
        return recogniser.name, None
    if recogniser == "sface":
        return "sface", None
    path = Path(recogniser).expanduser()
    if path.suffix != ".onnx":
        raise ConfigError(f"unknown recogniser {str(recogniser)!r}; expected 'sface', or SFace's .onnx file")
    if not path.is_file():
        raise WeightsError(f"no such recogniser file: {path}")
    return "sface", path


def embed_faces(recogniser: FaceRecogniser, frame: NDArray[np.uint8], faces: Detections) -> NDArray[np.float64]:
    """Embed the faces of one frame, and validate the recogniser's output.

    Args:
        recogniser: any object that implements the protocol.
        frame: uint8 (H, W, 3), RGB.
        faces: at least one.
    Returns:
        float64 (n, D), each row of length 1.
    Raises:
        ConfigError: the recogniser did not return a finite row, of a length above 0, for each face.
    """
    embeddings: Any = np.asarray(recogniser.embed(frame, faces))
    if embeddings.ndim != 2 or len(embeddings) != len(faces) or embeddings.dtype.kind != "f":
        got = f"{embeddings.dtype} {embeddings.shape}"
        raise ConfigError(f"recogniser {recogniser.name!r} returned {got}; expected floats ({len(faces)}, D)")
    lengths = np.linalg.norm(embeddings.astype(np.float64), axis=1, keepdims=True)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise ConfigError(f"recogniser {recogniser.name!r} returned an embedding that is zero, NaN or infinite")
    return np.asarray(embeddings / lengths, dtype=np.float64)
