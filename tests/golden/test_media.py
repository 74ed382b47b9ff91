"""Real videos against the reference implementation, on its recipe weights (../shared/README.md)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.making import recipe_weights

from marlin_sdk import Detections, FaceDetector, Marlin, VideoFeatures
from marlin_sdk.face.boxes import box_overlaps

pytestmark = pytest.mark.shared

MODEL = "marlin_vit_small_ytf"
WINDOWS = {"video01": 9, "video03": 7}
VIDEOS = [pytest.param("video01", marks=pytest.mark.long), "video03"]
Boxes = dict[str, list[list[float]]]
Record = Callable[[str, object], None]  # pytest --junitxml=numbers.xml writes what was measured


class PlayedBack:
    """A detector that returns the boxes of the reference's detector.

    Compat detects faces on the frames 0 to 15, which a short video needs, and then on every second one. Of these the
    reference used 32 * w + 2 * k, so the odd frames are blank here; no window of a long video holds one.
    """

    name = "retinaface"

    def __init__(self, rows: Sequence[Sequence[float]]) -> None:
        self._rows = {32 * (place // 16) + 2 * (place % 16): row for place, row in enumerate(rows)}
        self._num_calls = 0

    def detect(self, frames: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        return [self._next() for _ in frames]

    def _next(self) -> Detections:
        index = self._num_calls if self._num_calls < 16 else 2 * self._num_calls - 16
        self._num_calls += 1
        row = self._rows.get(index)
        return Detections.from_rows([row[:4]], [row[4]]) if row else Detections.from_rows([], [])


def load(weights: Path, detector: str | FaceDetector) -> Marlin:
    return Marlin.from_pretrained(weights, device="cpu", detector=detector)


@pytest.fixture(scope="module")
def weights(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The encoder of ViT-S with the recipe weights, as the file that users have."""
    published = json.loads((shared / f"golden/{MODEL}.keys.json").read_text())
    shapes = {key: shape for key, shape in published.items() if key.startswith("encoder.")}
    table = Marlin.untrained(MODEL, device="cpu").encoder.positions
    state = recipe_weights(shapes, {"encoder.pos_embedding.emb": table})
    path = tmp_path_factory.mktemp("recipe") / f"{MODEL}.encoder.pt"
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def expected(shared: Path) -> dict[str, NDArray[np.float32]]:
    """The reference's features, by video."""
    with np.load(shared / "golden/videos/vit_small_recipe_features.npz") as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="module")
def detected(shared: Path) -> Boxes:
    """The reference's top box and its score, for each of 16 frames a window."""
    boxes: Boxes = json.loads((shared / "golden/videos/reference_face_boxes.json").read_text())
    return boxes


def squares(rows: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """What the reference cuts for its boxes, (windows, 16, 4)."""
    cut = []
    for x1, y1, x2, y2, _ in np.asarray(rows, dtype=np.float32).tolist():
        x, y, half = int((x1 + x2) / 2), int((y1 + y2) / 2), int(max(x2 - x1, y2 - y1) / 2)
        cut.append([x - half, y - half, x + half, y + half])
    return np.array(cut, dtype=np.float64).reshape(-1, 16, 4)


def undecided(rows: Sequence[Sequence[float]]) -> NDArray[np.bool_]:
    """The windows that hold a box whose two decimals do not say to which pixel the reference has rounded it."""
    x1, y1, x2, y2, _ = np.array(rows).T
    rounded = np.stack([(x1 + x2) / 2, (y1 + y2) / 2, np.maximum(x2 - x1, y2 - y1) / 2])
    near = np.abs(rounded - rounded.round()) <= 0.0051
    return np.asarray(near.any(axis=0).reshape(-1, 16).any(axis=1))


def cosines(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray((first * second).sum(1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1))


def overlaps(result: VideoFeatures, reference: NDArray[np.float64]) -> NDArray[np.float64]:
    """The overlap of each crop with the reference's, over the windows that the reference has."""
    ours = result.boxes[: len(reference)].astype(np.float64)
    return np.array(
        [
            box_overlaps(a[None], b[None])[0, 0]
            for a, b in zip(ours.reshape(-1, 4), reference.reshape(-1, 4), strict=True)
        ]
    )


@pytest.mark.parametrize("video", VIDEOS)
def test_compat_gives_the_reference_windows_boxes_and_features(
    video: str,
    shared: Path,
    weights: Path,
    expected: dict[str, NDArray[np.float32]],
    detected: Boxes,
    record_testsuite_property: Record,
) -> None:
    model = load(weights, PlayedBack(detected[video]))
    result = model.extract(shared / f"media/{video}.mp4", compat="marlin_pytorch")
    starts = 32 * np.arange(WINDOWS[video])[:, None]
    np.testing.assert_array_equal(result.frame_index, starts + 2 * np.arange(16))
    np.testing.assert_array_equal(result.boxes, squares(detected[video]))
    assert result.warnings == ()
    difference = np.abs(result.features - expected[video]).max(axis=1)
    sure = ~undecided(detected[video])
    record_testsuite_property(f"{video} compat difference", [f"{value:.1e}" for value in difference])
    assert sure.sum() >= 3
    assert (difference[sure] < 1e-5).all()
    assert (difference < 1e-2).all()


@pytest.mark.parametrize("video", VIDEOS)
def test_the_default_crop_agrees_with_the_reference(
    video: str,
    shared: Path,
    weights: Path,
    expected: dict[str, NDArray[np.float32]],
    detected: Boxes,
    record_testsuite_property: Record,
) -> None:
    model = load(weights, f"yunet:{shared}/weights/face_detection_yunet_2023mar.onnx")
    result = model.extract(shared / f"media/{video}.mp4", tail="drop")
    rows = len(expected[video])
    assert len(result) == WINDOWS[video] == rows
    assert result.frame_valid.all()
    cosine = cosines(result.features, expected[video])
    iou = overlaps(result, squares(detected[video]))
    record_testsuite_property(f"{video} least cosine", f"{cosine.min():.6f}")
    record_testsuite_property(f"{video} mean IoU", f"{iou.mean():.4f}")
    assert cosine.min() >= 0.999
    assert iou.mean() >= 0.90


@pytest.mark.parametrize(("video", "rows"), [("cropped01", 4), ("cropped04", 1), ("cropped05", 1)])
def test_compat_gives_the_reference_features_of_a_cropped_video(
    video: str,
    rows: int,
    shared: Path,
    weights: Path,
    expected: dict[str, NDArray[np.float32]],
    record_testsuite_property: Record,
) -> None:
    result = load(weights, "lbp").extract(shared / f"media/{video}.mp4", compat="marlin_pytorch")
    assert len(result) == rows
    difference = np.abs(result.features - expected[video]).max()
    record_testsuite_property(f"{video} compat difference", f"{difference:.1e}")
    assert difference < 1e-5


def test_the_default_windows_of_a_cropped_video_are_the_reference_ones_and_its_tail(
    shared: Path, weights: Path, expected: dict[str, NDArray[np.float32]]
) -> None:
    result = load(weights, "lbp").extract(shared / "media/cropped01.mp4")
    assert len(result) == 5
    np.testing.assert_allclose(result.features[:4], expected["cropped01"], atol=1e-5)
    np.testing.assert_array_equal(result.frame_valid.sum(axis=1), [16, 16, 16, 16, 8])
    assert (result.track_id == -1).all()
