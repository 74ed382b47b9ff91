"""Face parsing: labels to regions of tokens; landmarks, SegFormer and label maps behind one protocol."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from marlin_sdk import ConfigError, Detections, DownloadError, MissingExtraError, ShapeError, WeightsError
from marlin_sdk.errors import VideoDecodeError
from marlin_sdk.face.cropping import crop_square, square_box
from marlin_sdk.face.detectors import LbpDetector, load_detector
from marlin_sdk.face.regions.labels import LABELS, REGIONS, FaceCrops, RegionParser, region_bits
from marlin_sdk.face.regions.landmarks import FivePointParser, SixtyEightPointParser, draw_face, draw_outlines
from marlin_sdk.face.regions.parsers import check_parser, load_parser
from marlin_sdk.face.regions.precomputed import PrecomputedParser
from marlin_sdk.face.regions.segformer import SegformerParser
from marlin_sdk.video.reader import open_video

FACE = np.array([[76.0, 85], [148, 85], [112, 130], [84, 163], [140, 163]])  # upright, in 224 pixels


def crops_of(pixels: NDArray[np.uint8], source: str = "a/b.mp4", names: Sequence[str] = ()) -> FaceCrops:
    steps = len(pixels)
    size_px = pixels.shape[1]
    squares = np.tile(np.array([0, 0, size_px, size_px]), (steps, 1))
    return FaceCrops(pixels, np.arange(steps), squares, (size_px, size_px), source, tuple(names))


def centre(labels: NDArray[np.uint8], *names: str) -> NDArray[np.float64]:
    """The mean place of some labels, xy."""
    rows, columns = np.nonzero(np.isin(labels, [LABELS.index(name) for name in names]))
    assert len(rows), names
    return np.array([columns.mean(), rows.mean()])


class Points:
    """A detector that returns one face in the middle of given crops."""

    name = "points"

    def __init__(self, points: dict[int, NDArray[np.float64]]) -> None:
        self.points = points  # by the crop's grey value
        self.detected: list[int] = []

    def detect(self, frames: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        self.detected += [int(frame[0, 0, 0]) for frame in frames]
        return [self._one(int(frame[0, 0, 0])) for frame in frames]

    def _one(self, grey: int) -> Detections:
        if grey not in self.points:
            return Detections.from_rows([], [])
        aside = np.full((1, 5, 2), 5.0)
        boxes = [[0, 0, 10, 10], [40, 20, 180, 210]]
        return Detections.from_rows(boxes, [0.99, 0.7], np.concatenate([aside, self.points[grey][None]]))


def greys(count: int) -> NDArray[np.uint8]:
    return np.repeat(np.arange(count, dtype=np.uint8), 224 * 224 * 3).reshape(count, 224, 224, 3)


# Labels to bits -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "region"),
    [
        (0, "background"),
        (1, "skin"),
        (2, "right_eye"),
        (3, "left_eye"),
        (4, "right_eye"),
        (5, "left_eye"),
        (6, "nose"),
        (7, "mouth"),
        (8, "mouth"),
        (9, "mouth"),
        (10, "hair"),
    ],
)
def test_label_of_lapa_belongs_to_its_region(label: int, region: str) -> None:
    bits = region_bits(np.full((1, 16, 16), label, dtype=np.uint8), 16)
    assert bits.tolist() == [[[1 << REGIONS.index(region)]]]


def test_cell_holds_every_region_that_one_of_its_pixels_touches() -> None:
    labels = np.zeros((2, 32, 48), dtype=np.uint8)
    labels[1, 15, 31] = LABELS.index("nose")
    labels[1, 16, 32] = LABELS.index("hair")
    bits = region_bits(labels, 16)
    assert bits.shape == (2, 2, 3)
    assert (bits[0] == 1).all()
    assert bits[1].tolist() == [[1, 1 | 1 << REGIONS.index("nose"), 1], [1, 1, 1 | 1 << REGIONS.index("hair")]]


def test_value_that_is_not_a_label_is_refused() -> None:
    with pytest.raises(ShapeError, match="values from 0 to 11; expected 0 to 10"):
        region_bits(np.array([[[0, 11]]], dtype=np.uint8), 1)
    with pytest.raises(ShapeError, match="multiples of 16"):
        region_bits(np.zeros((1, 16, 17), dtype=np.uint8), 16)


# Five points ----------------------------------------------------------------------------------------------------------


def test_drawn_face_has_each_part_where_its_point_is() -> None:
    labels = draw_face(FACE, 224)
    assert set(np.unique(labels)) == set(range(11)) - {LABELS.index("inner_mouth")}
    for name, point in zip(("right_eye", "left_eye"), FACE[:2], strict=True):
        assert np.abs(centre(labels, name) - point).max() < 2
        brow = centre(labels, name.replace("eye", "brow"))
        assert abs(brow[0] - point[0]) < 2
        assert 12 < point[1] - brow[1] < 40
    assert labels[130, 112] == LABELS.index("nose")
    assert np.abs(centre(labels, "upper_lip", "lower_lip") - FACE[3:].mean(axis=0)).max() < 6
    assert labels[105, 150] == labels[40, 112] == LABELS.index("skin")
    assert labels[8, 112] == LABELS.index("hair")
    assert labels[220, 4] == labels[220, 219] == 0


@pytest.mark.parametrize("degrees", [-50, -20, 20, 50, 180])
def test_drawn_face_turns_with_its_points(degrees: float) -> None:
    turn = cv2.getRotationMatrix2D((112, 112), degrees, 1.0)
    turned = draw_face(FACE @ turn[:, :2].T + turn[:, 2], 224)
    expected = cv2.warpAffine(draw_face(FACE, 224), turn, (224, 224), flags=cv2.INTER_NEAREST)
    inside = np.hypot(*(np.indices((224, 224)) - 112)) < 110
    assert (turned != expected)[inside].mean() < 0.02


def test_drawn_face_scales_with_its_points() -> None:
    half = draw_face(FACE / 2, 112)
    assert (half != draw_face(FACE, 224)[1::2, 1::2]).mean() < 0.05  # borders


def test_outline_of_a_head_turned_aside_does_not_shrink_with_the_eyes() -> None:
    aside = FACE.copy()
    aside[:, 0] = 112 + (aside[:, 0] - 112) * 0.4
    aside[2, 0] += 25
    ratio = (draw_face(aside, 224) > 0).sum() / (draw_face(FACE, 224) > 0).sum()
    assert 0.6 < ratio < 1


def test_points_between_two_detections_are_interpolated() -> None:
    detector = Points({0: FACE, 4: FACE + 8, 8: FACE})
    parser = FivePointParser(detector)
    points = parser.points(crops_of(greys(9)))
    assert detector.detected == [0, 4, 8]
    np.testing.assert_allclose(points[2], FACE + 4)
    np.testing.assert_allclose(points[:, 0, 0], FACE[0, 0] + np.array([0, 2, 4, 6, 8, 6, 4, 2, 0]))
    np.testing.assert_array_equal(parser.parse(crops_of(greys(9)))[4], draw_face(FACE + 8, 224))


def test_crop_without_a_detection_gets_the_points_of_its_neighbours() -> None:
    points = FivePointParser(Points({4: FACE})).points(crops_of(greys(9)))
    np.testing.assert_allclose(points, np.tile(FACE, (9, 1, 1)))


def test_face_beside_the_cropped_one_is_ignored() -> None:
    """The other face has the better score."""
    np.testing.assert_allclose(FivePointParser(Points({0: FACE})).points(crops_of(greys(1)))[0], FACE)


@pytest.mark.parametrize("detector", [Points({}), LbpDetector()], ids=["unseen", "lbp"])
def test_without_landmarks_average_proportions_are_used(detector: Points | LbpDetector) -> None:
    points = FivePointParser(detector).points(crops_of(greys(3)))
    assert points.shape == (3, 5, 2)
    right_eye, left_eye, nose, right_mouth, left_mouth = points[0] / 224
    assert 0.3 < right_eye[0] < nose[0] < left_eye[0] < 0.7
    assert 0.35 < right_eye[1] < nose[1] < right_mouth[1] == left_mouth[1] < 0.8


@pytest.mark.shared
@pytest.mark.parametrize("name", ["video01", "video03", "cropped01", "cropped04"])
def test_yunets_landmarks_agree_in_its_crops(name: str, shared: Path) -> None:
    detector = load_detector(shared / "weights/face_detection_yunet_2023mar.onnx")
    with open_video(shared / f"media/{name}.mp4") as reader:
        frame = next(frame.rgb for frame in reader if frame.index == 14)
    (seen,) = detector.detect([frame])
    square = square_box(seen.boxes[0])
    crop = crop_square(frame, square, 224)
    points = FivePointParser(detector).points(crops_of(crop[None]))[0]
    expected = (seen.landmarks[0] - square[:2]) * 224 / (square[2] - square[0])
    assert np.abs(points - expected).max() < 16  # a token


# 68 points ------------------------------------------------------------------------------------------------------------


def ibug_points() -> NDArray[np.float64]:
    """An upright face in the order of the iBUG scheme, in 224 pixels."""
    jaw = [(112 + 75 * np.cos(a), 100 + 105 * np.sin(a)) for a in np.linspace(np.pi, 0, 17)]
    brows = [(x, 66 - 5 * np.sin((x - 60) / 35 * np.pi)) for x in np.linspace(60, 95, 5)]
    brows += [(224 - x, y) for x, y in reversed(brows)]
    nose = [(112, y) for y in (86, 100, 115, 130)] + [(x, 138) for x in (98, 105, 112, 119, 126)]
    eye = [(62, 86), (70, 81), (80, 81), (90, 86), (80, 90), (70, 90)]
    other = [(134, 86), (144, 81), (154, 81), (162, 86), (154, 90), (144, 90)]
    outer = [(112 + 30 * np.cos(a), 163 + 13 * np.sin(a)) for a in np.linspace(np.pi, 3 * np.pi, 13)[:-1]]
    inner = [(112 + 24 * np.cos(a), 163 + 5 * np.sin(a)) for a in np.linspace(np.pi, 3 * np.pi, 9)[:-1]]
    return np.array([*jaw, *brows, *nose, *eye, *other, *outer, *inner])


def test_outlines_fill_each_part() -> None:
    labels = draw_outlines(ibug_points(), 224)
    assert set(np.unique(labels)) == set(range(11))
    assert np.abs(centre(labels, "right_eye") - (76, 86)).max() < 2
    assert np.abs(centre(labels, "left_eye") - (148, 86)).max() < 2
    assert 60 < centre(labels, "right_brow")[1] < 70
    assert labels[163, 112] == LABELS.index("inner_mouth")
    assert labels[154, 112] == LABELS.index("upper_lip")
    assert labels[173, 112] == LABELS.index("lower_lip")
    assert labels[125, 112] == LABELS.index("nose")
    assert labels[195, 112] == labels[120, 60] == LABELS.index("skin")


@pytest.fixture(scope="module")
def fan_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of the real network."""
    from face_alignment.models import FAN

    torch.manual_seed(0)
    state = FAN(4).state_dict()
    path = tmp_path_factory.mktemp("fan") / "2DFAN4-11f355bf06.pth.tar"
    torch.save(state, path)
    return path


def test_68_points_are_the_peaks_of_the_networks_heatmaps(fan_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parser = SixtyEightPointParser(fan_file)
    crop = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    heat = torch.zeros(1, 68, 64, 64)
    wanted = ibug_points()
    cells = ((wanted + 89) / ((224 + 178) / 64)).astype(int)  # a margin of two fifths to each side
    for index, (x, y) in enumerate(cells):
        heat[0, index, y, x] = 1.0
    looked: list[tuple[int, ...]] = []

    def last_heat(pixels: torch.Tensor) -> list[torch.Tensor]:
        looked.append(tuple(pixels.shape))
        assert 0 <= pixels.min() < pixels.max() <= 1
        return [torch.zeros_like(heat), heat]

    assert parser.parse(crops_of(crop[None])).shape == (1, 224, 224)  # the network itself
    monkeypatch.setattr(parser._network, "forward", last_heat)
    labels = parser.parse(crops_of(crop[None]))[0]
    assert looked == [(1, 3, 256, 256)]
    assert np.abs(centre(labels, "right_eye") - (76, 86)).max() < 7  # a cell is 6.3 pixels wide
    assert np.abs(centre(labels, "nose") - centre(draw_outlines(wanted, 224), "nose")).max() < 7


def test_file_that_is_not_the_networks_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "fan.pth").write_bytes(b"no weights")
    with pytest.raises(WeightsError, match="does not hold face-alignment's 2DFAN-4"):
        load_parser(f"landmarks68:{tmp_path / 'fan.pth'}", detector=Points({}))


def test_68_points_without_their_weights_say_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DownloadError, match=r'parser="landmarks68:path/to/2DFAN4-11f355bf06\.pth\.tar"'):
        load_parser("landmarks68", detector=Points({}), local_files_only=True)


# SegFormer ------------------------------------------------------------------------------------------------------------

CLASSES = ["background", "skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear", "mouth"]
CLASSES += ["u_lip", "l_lip", "hair", "hat", "ear_r", "neck_l", "neck", "cloth"]


def write_segformer(folder: Path, classes: Sequence[str], favourite: str) -> Path:
    """A SegFormer of a few thousand weights that predicts one class everywhere."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    torch.manual_seed(0)
    config = SegformerConfig(
        hidden_sizes=[8, 8, 8, 8],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 1, 1, 1],
        decoder_hidden_size=8,
        id2label=dict(enumerate(classes)),
        label2id={name: index for index, name in enumerate(classes)},
    )
    network = SegformerForSemanticSegmentation(config)
    network.decode_head.classifier.weight.data.zero_()
    network.decode_head.classifier.bias = torch.nn.Parameter(torch.eye(len(classes))[classes.index(favourite)])
    network.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("favourite", "label"),
    [
        ("l_eye", "left_eye"),
        ("r_brow", "right_brow"),
        ("u_lip", "upper_lip"),
        ("mouth", "inner_mouth"),
        ("eye_g", "skin"),
        ("neck", "background"),
        ("hair", "hair"),
    ],
)
def test_segformers_classes_become_labels_of_lapa(favourite: str, label: str, tmp_path: Path) -> None:
    parser = load_parser(f"segformer:{write_segformer(tmp_path / 'seg', CLASSES, favourite)}", detector=Points({}))
    assert parser.name == "segformer"
    labels = parser.parse(crops_of(np.zeros((3, 64, 64, 3), dtype=np.uint8)))
    assert labels.shape == (3, 64, 64)
    assert labels.dtype == np.uint8
    assert set(np.unique(labels)) == {LABELS.index(label)}


def test_segformer_with_other_classes_is_refused(tmp_path: Path) -> None:
    folder = write_segformer(tmp_path / "streets", ["road", "skin", "sky"], "sky")
    with pytest.raises(WeightsError, match="has no classes hair, l_eye, mouth, nose, r_eye"):
        SegformerParser(str(folder))


def test_segformer_without_transformers_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"marlin-sdk\[parsing\]"):
        load_parser("segformer", detector=Points({}))


def test_unavailable_segformer_says_how_to_provide_it(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match='parser="segformer:path/to/folder"'):
        load_parser(f"segformer:{tmp_path / 'nothing'}", detector=Points({}), local_files_only=True)


# Label maps -----------------------------------------------------------------------------------------------------------


def a_map(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 11, (height, width), dtype=np.uint8)


def framed(squares: list[list[int]], size_px: int, source: str, names: Sequence[str] = ()) -> FaceCrops:
    pixels = np.zeros((len(squares), size_px, size_px, 3), dtype=np.uint8)
    return FaceCrops(pixels, np.arange(len(squares)) * 2, np.array(squares), (60, 80), source, tuple(names))


def test_map_of_a_frame_is_cropped_like_the_frame(tmp_path: Path) -> None:
    whole = a_map(60, 80)
    (tmp_path / "ann" / "1").mkdir(parents=True)
    np.save(tmp_path / "ann/1/0007.npy", whole)
    np.save(tmp_path / "ann/1/0009.npy", whole.astype(np.int64))
    crops = framed([[10, 20, 42, 52], [-8, 40, 24, 72]], 32, "frame_images_DB/ann/1", ["0007", "0009"])
    parsed = PrecomputedParser(tmp_path).parse(crops)
    np.testing.assert_array_equal(parsed[0], whole[20:52, 10:42])
    np.testing.assert_array_equal(parsed[1][:20, 8:], whole[40:60, 0:24])
    assert not parsed[1][20:].any()
    assert not parsed[1][:, :8].any()


def test_map_is_scaled_with_its_crop_by_the_nearest_pixel(tmp_path: Path) -> None:
    whole = a_map(60, 80)
    np.save(tmp_path / "talk.npy", np.stack([whole] * 3))
    (parsed, _) = PrecomputedParser(tmp_path).parse(framed([[0, 0, 16, 16], [0, 0, 64, 64]], 32, "talk.mp4"))
    np.testing.assert_array_equal(parsed, np.kron(whole[:16, :16], np.ones((2, 2), dtype=np.uint8)))


def test_map_of_the_crops_size_is_used_unchanged(tmp_path: Path) -> None:
    maps = np.stack([a_map(32, 32, seed) for seed in range(5)])
    np.save(tmp_path / "talk.npy", maps)
    parsed = PrecomputedParser(tmp_path).parse(framed([[10, 20, 42, 52]] * 3, 32, "talk.mp4"))
    np.testing.assert_array_equal(parsed, maps[[0, 2, 4]])  # the rows of frames 0, 2, 4


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        (np.zeros((2, 60, 80), np.uint8), "with a row for frame 4"),
        (np.zeros((5, 50, 80), np.uint8), r"a label map of \(50, 80\); expected the frame's size \(60, 80\)"),
        (np.full((5, 60, 80), 19, np.uint8), "values from 19 to 19"),
        (np.zeros((5, 60, 80), np.float32), "is float32; expected integers"),
        (None, "cannot read a label map"),
    ],
    ids=["short", "size", "labels", "dtype", "missing"],
)
def test_maps_that_do_not_fit_are_refused(maps: NDArray[np.uint8] | None, message: str, tmp_path: Path) -> None:
    if maps is not None:
        np.save(tmp_path / "talk.npy", maps)
    with pytest.raises((VideoDecodeError, ShapeError), match=message):
        PrecomputedParser(tmp_path).parse(framed([[0, 0, 32, 32]] * 3, 32, "talk.mp4"))


def test_pickled_map_is_not_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "talk.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(VideoDecodeError, match="cannot read a label map"):
        PrecomputedParser(tmp_path).parse(framed([[0, 0, 32, 32]], 32, "talk.mp4"))


# Names ----------------------------------------------------------------------------------------------------------------


def test_every_parser_fits_the_protocol(tmp_path: Path, fan_file: Path) -> None:
    parser = ["landmarks", f"landmarks68:{fan_file}", f"precomputed:{tmp_path}"]
    parsers = [load_parser(name, detector=Points({})) for name in parser]
    assert all(isinstance(parser, RegionParser) for parser in parsers)
    assert [parser.name for parser in parsers] == ["landmarks", "landmarks68", "precomputed"]
    assert load_parser(parsers[0], detector=Points({})) is parsers[0]


@pytest.mark.parametrize(
    ("parser", "message"),
    [
        (
            "landmark",
            "unknown region parser 'landmark'; expected one of landmarks, landmarks68, segformer, precomputed",
        ),
        ("precomputed", '"precomputed:FOLDER"'),
        ("landmarks:fan.pth", 'did you mean "landmarks68:fan.pth"'),
    ],
)
def test_unknown_parser_is_refused(parser: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_parser(parser)


def test_object_without_the_parser_protocol_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="parser is a int; expected a name, or a RegionParser"):
        load_parser(7, detector=Points({}))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no folder of label maps"):
        load_parser(f"precomputed:{tmp_path / 'nothing'}", detector=Points({}))
