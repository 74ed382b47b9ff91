"""Face recognition: SFace's interface by a small network made here, the checks, and a recogniser of one's own."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.making import FACE_TEMPLATE, ColouredFaces, lay, painted, write_small_sface

from marlin_sdk import ConfigError, DownloadError, WeightsError
from marlin_sdk.face.detections import Detections
from marlin_sdk.face.detectors import LbpDetector, load_detector
from marlin_sdk.face.recognition import FaceRecogniser, SFaceRecogniser, check_recogniser, embed_faces, load_recogniser
from marlin_sdk.video.reader import open_video


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_sface(tmp_path_factory.mktemp("sface") / "small.onnx")


def scene(colour: tuple[int, int, int], box: tuple[int, int, int, int], height: int = 96) -> NDArray[np.uint8]:
    """A grey frame with one square face, its lower half darker."""
    frame = np.full((height, 4 * height // 3, 3), 90, dtype=np.uint8)
    x1, y1, x2, y2 = box
    frame[y1:y2, x1:x2] = colour
    frame[(y1 + y2) // 2 : y2, x1:x2] = np.array(colour) * 0.9
    return frame


def embedding(recogniser: FaceRecogniser, frame: NDArray[np.uint8]) -> NDArray[np.float64]:
    (found,) = ColouredFaces().detect([frame])
    (row,) = embed_faces(recogniser, frame, found)
    return np.asarray(row)


def test_faces_are_aligned_by_their_landmarks(small: Path) -> None:
    recogniser = load_recogniser(small)
    assert isinstance(recogniser, SFaceRecogniser)
    here = embedding(recogniser, scene((255, 0, 0), (40, 20, 80, 60)))
    elsewhere = embedding(recogniser, scene((255, 0, 0), (150, 60, 262, 172), height=240))
    other = embedding(recogniser, scene((0, 0, 255), (40, 20, 80, 60)))
    assert here.shape == (48,)
    assert here @ elsewhere > 0.98
    assert here @ other < recogniser.threshold
    assert here[:4].min() > 0.1 > -0.1 > here[32:36].max()  # red first: the network expects RGB


@pytest.mark.shared
def test_alignment_of_real_faces_puts_the_eyes_where_the_network_expects_them(shared: Path) -> None:
    detector = load_detector(shared / "weights" / "face_detection_yunet_2023mar.onnx")
    aligned_at: list[Any] = []

    class Spy:
        def alignCrop(self, bgr: Any, row: Any) -> Any:  # noqa: N802 - OpenCV's name
            recogniser = cv2.FaceRecognizerSF.create(str(network), "")
            aligned_at.append(recogniser.alignCrop(bgr, row))
            return aligned_at[-1]

        def feature(self, aligned: Any) -> NDArray[np.float32]:
            return np.ones((1, 4), np.float32)

    network = write_small_sface(Path("small.onnx"))
    recogniser = SFaceRecogniser(network)
    recogniser._network = Spy()  # type: ignore[assignment]
    for clip in sorted((shared / "media" / "mead").glob("*.mp4")):
        with open_video(clip) as reader:
            frame = next(iter(reader)).rgb
        embed_faces(recogniser, frame, detector.detect([frame])[0])
    assert len(aligned_at) >= 7
    for aligned in aligned_at:
        rgb = cv2.cvtColor(cv2.copyMakeBorder(aligned, 56, 56, 56, 56, cv2.BORDER_REPLICATE), cv2.COLOR_BGR2RGB)
        (again,) = detector.detect([rgb])
        np.testing.assert_allclose(again.landmarks[0, :2] - 56, FACE_TEMPLATE[:2], atol=6)


def test_faces_without_landmarks_are_refused(small: Path) -> None:
    frame = scene((255, 0, 0), (40, 20, 80, 60))
    bare = Detections.from_rows([[40, 20, 80, 60]], [1.0])
    with pytest.raises(ConfigError, match=r"by landmarks, which this detector does not give; use detector='yunet'"):
        embed_faces(load_recogniser(small), frame, bare)


def test_file_that_is_no_sface_network_is_refused(tmp_path: Path, shared: Path) -> None:
    for file in (lay(tmp_path / "none.onnx"), shared / "weights" / "face_detection_yunet_2023mar.onnx"):
        with pytest.raises(WeightsError, match=r"is not an SFace network that OpenCV .* can read"):
            load_recogniser(file)


def test_pickled_it_embeds_the_same(small: Path) -> None:
    recogniser = load_recogniser(small)
    again = pickle.loads(pickle.dumps(recogniser))
    frame = scene((255, 0, 0), (40, 20, 80, 60))
    np.testing.assert_array_equal(embedding(again, frame), embedding(recogniser, frame))
    assert again.provenance == {"file": "small.onnx", "sha256": recogniser.provenance["sha256"]}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("arcface", r"unknown recogniser 'arcface'; expected 'sface', or SFace's \.onnx file"),
        (3, r"recogniser is a int; expected 'sface', a file, or a FaceRecogniser"),
        (LbpDetector(), r"recogniser is a LbpDetector; expected"),
        (SFaceRecogniser, r"recogniser is a type; expected"),
    ],
)
def test_unknown_recogniser_is_refused(wrong: Any, message: str) -> None:
    for ask in (check_recogniser, load_recogniser):
        with pytest.raises(ConfigError, match=message):
            ask(wrong)


def test_missing_file_and_missing_download_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no such recogniser file: away\.onnx"):
        check_recogniser("away.onnx")
    with pytest.raises(DownloadError, match=r"face_recognition_sface_2021dec\.onnx.*pass recogniser="):
        load_recogniser("sface", cache_dir=tmp_path, local_files_only=True)


class Returns:
    """A recogniser of one's own."""

    name, threshold = "own", 0.5

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def embed(self, frame: NDArray[np.uint8], faces: Detections) -> Any:
        return self.rows


def test_own_recogniser_is_used_as_it_is() -> None:
    own = Returns(np.array([[3.0, 4.0]], np.float32))
    assert load_recogniser(own) is own
    assert check_recogniser(own) == ("own", None)
    np.testing.assert_allclose(
        embed_faces(own, painted(1, {})[0], Detections.from_rows([[0, 0, 9, 9]], [1])), [[0.6, 0.8]]
    )


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.ones((2, 4), np.float32), r"returned float32 \(2, 4\); expected floats \(1, D\)"),
        (np.ones(4, np.float32), r"returned float32 \(4,\); expected floats"),
        (np.ones((1, 4), np.int64), r"returned int64 \(1, 4\); expected floats"),
        (None, r"returned object \(\); expected floats"),
        (np.zeros((1, 4)), r"an embedding that is zero, NaN or infinite"),
        (np.full((1, 4), np.nan), r"an embedding that is zero, NaN or infinite"),
        (np.ones((1, 0)), r"an embedding that is zero, NaN or infinite"),
    ],
)
def test_wrong_output_of_a_recogniser_is_refused(rows: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        embed_faces(Returns(rows), painted(1, {})[0], Detections.from_rows([[0, 0, 9, 9]], [1]))
