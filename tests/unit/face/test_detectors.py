"""Every detector behind the protocol, and every error of loading one."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.making import PaintedFace, lay, painted

from marlin_sdk import ConfigError, Detections, DownloadError, FaceDetector, MissingExtraError, WeightsError
from marlin_sdk.face.boxes import box_overlaps
from marlin_sdk.face.detectors import DETECTORS, LbpDetector, check_detector, load_detector
from marlin_sdk.video.reader import open_video

# The astronaut's face in the first frame of the example, drawn by hand: hairline to chin, cheek to cheek.
FACE = np.array([[170.0, 65.0, 272.0, 197.0]])
SIZES = [(1, 1), (2, 300), (16, 16), (33, 31), (98, 98), (120, 90)]


@pytest.fixture(scope="module")
def frames(astronaut: Path) -> list[NDArray[np.uint8]]:
    """Every twentieth frame of the example."""
    with open_video(astronaut) as reader:
        return [frame.rgb for frame in reader if frame.index % 20 == 0]


@pytest.fixture(scope="module")
def yunet_file(shared: Path) -> Path:
    return shared / "weights/face_detection_yunet_2023mar.onnx"


@pytest.fixture(scope="module")
def sfd_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of the real network, biased to detect something everywhere at its coarsest stride."""
    from face_alignment.detection.sfd.net_s3fd import s3fd

    torch.manual_seed(0)
    network = s3fd()
    for name, parameter in network.named_parameters():
        parameter.data.mul_(0.1)
        if name.endswith("mbox_conf.bias"):
            parameter.data.copy_(torch.tensor([4.0, -4.0]) if parameter.numel() == 2 else torch.tensor([0.0, 0, 4, -4]))
    network.get_parameter("conv7_2_mbox_conf.bias").data.copy_(torch.tensor([-2.0, 2.0]))
    path = tmp_path_factory.mktemp("sfd") / "s3fd.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def blazeface_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The real network, biased to detect one face, half the picture in size, in the middle of any picture."""
    from face_alignment.detection.blazeface.net_blazeface import BlazeFace

    network = BlazeFace(back_model=True)
    for name, parameter in network.named_parameters():
        parameter.data.zero_()
        if name == "classifier_8.bias":
            parameter.data.fill_(3.0)
        elif name == "classifier_16.bias":
            parameter.data.fill_(-3.0)
        elif name.startswith("regressor") and name.endswith("bias"):
            parameter.data[2::16] = parameter.data[3::16] = 128.0
    folder = tmp_path_factory.mktemp("blazeface")
    torch.save(network.state_dict(), folder / "back.pth")
    np.save(folder / "anchors.npy", np.tile(np.array([0.5, 0.5, 1, 1], dtype=np.float32), (896, 1)))
    return folder / "back.pth", folder / "anchors.npy"


def check_contract(detector: FaceDetector, found: list[Detections], num_frames: int) -> None:
    assert isinstance(detector, FaceDetector)
    assert len(found) == num_frames
    for one in found:
        assert one.boxes.shape == (len(one), 4)
        assert one.scores.shape == (len(one),)
        assert one.landmarks.shape == (len(one), 5, 2)
        assert all(values.dtype == np.float32 for values in (one.boxes, one.scores, one.landmarks))
        assert (np.diff(one.scores) <= 0).all()
        assert ((one.scores >= 0) & (one.scores <= 1)).all()
        assert (one.boxes[:, 2:] > one.boxes[:, :2]).all()


def test_rows_are_sorted_by_score_and_keep_together() -> None:
    boxes = [[0, 0, 1, 1], [0, 0, 2, 2], [0, 0, 3, 3]]
    landmarks = np.arange(30).reshape(3, 10)
    found = Detections.from_rows(boxes, [0.2, 0.9, 0.5], landmarks)
    assert found.boxes[:, 2].tolist() == [2, 3, 1]
    assert found.landmarks[:, 0, 0].tolist() == [10, 20, 0]
    assert np.isnan(Detections.from_rows(boxes, [1, 1, 1]).landmarks).all()
    assert len(Detections.from_rows([], [])) == 0


def test_lbp_finds_the_astronaut_with_no_download(frames: list[NDArray[np.uint8]]) -> None:
    detector = load_detector("lbp", local_files_only=True)
    found = detector.detect(frames)
    check_contract(detector, found, len(frames))
    assert all(len(one) >= 1 for one in found)
    assert box_overlaps(found[0].boxes[:1].astype(np.float64), FACE)[0, 0] > 0.5


def test_lbp_gives_boxes_in_pixels_of_the_frame_whatever_its_size(frames: list[NDArray[np.uint8]]) -> None:
    detector = LbpDetector()
    large = cv2.resize(frames[0], None, fx=2.0, fy=2.0, interpolation=cv2.INTER_LINEAR)
    one, two = detector.detect([frames[0], np.asarray(large, dtype=np.uint8)])
    overlap = box_overlaps(one.boxes[:1].astype(np.float64) * 2, two.boxes[:1].astype(np.float64))
    assert overlap[0, 0] > 0.9


def test_lbp_finds_nothing_in_plain_or_tiny_frames() -> None:
    frames = [np.full((*size, 3), 90, dtype=np.uint8) for size in SIZES]
    assert [len(one) for one in LbpDetector().detect(frames)] == [0] * len(SIZES)


@pytest.mark.shared
def test_yunet_finds_the_astronaut_and_five_landmarks(frames: list[NDArray[np.uint8]], yunet_file: Path) -> None:
    detector = load_detector(yunet_file)
    found = detector.detect(frames)
    check_contract(detector, found, len(frames))
    assert [len(one) for one in found] == [1] * len(frames)
    assert box_overlaps(found[0].boxes.astype(np.float64), FACE)[0, 0] > 0.7
    for one in found:
        right_eye, left_eye, nose, right_mouth, left_mouth = one.landmarks[0]
        assert right_eye[0] < nose[0] < left_eye[0]  # the person's right is at the picture's left
        assert right_mouth[0] < left_mouth[0]
        assert max(right_eye[1], left_eye[1]) < nose[1] < min(right_mouth[1], left_mouth[1])
        assert (one.landmarks[0] > one.boxes[0, :2]).all()
        assert (one.landmarks[0] < one.boxes[0, 2:]).all()


@pytest.mark.shared
def test_yunet_gives_boxes_in_pixels_of_the_frame_whatever_its_shape(
    frames: list[NDArray[np.uint8]], yunet_file: Path
) -> None:
    detector = load_detector(f"yunet:{yunet_file}")
    (plain,) = detector.detect(frames[:1])
    tall = np.pad(frames[0], ((300, 0), (0, 0), (0, 0)))
    wide = np.pad(frames[0], ((0, 0), (700, 0), (0, 0)))
    half = np.ascontiguousarray(frames[0][::2, ::2])
    offsets = {"tall": [0, 300, 0, 300], "wide": [700, 0, 700, 0], "half": [0, 0, 0, 0]}
    for (name, offset), frame in zip(offsets.items(), (tall, wide, half), strict=True):
        (found,) = detector.detect([frame])
        back = (found.boxes[:1].astype(np.float64) - offset) * (2 if name == "half" else 1)
        assert box_overlaps(back, plain.boxes.astype(np.float64))[0, 0] > 0.8, name


@pytest.mark.shared
def test_yunet_finds_each_of_several_faces_once(frames: list[NDArray[np.uint8]], yunet_file: Path) -> None:
    small = np.ascontiguousarray(frames[0][::2, ::2])
    pair = np.concatenate([frames[0], np.pad(small, ((0, 180), (0, 0), (0, 0)))], axis=1)
    (found,) = load_detector(yunet_file).detect([pair])
    boxes = found.boxes[np.argsort(found.boxes[:, 0])].astype(np.float64)
    assert len(boxes) == 2
    expected = np.concatenate([FACE, FACE / 2 + [480, 0, 480, 0]])
    assert (np.diag(box_overlaps(boxes, expected)) > 0.6).all()


@pytest.mark.shared
def test_yunet_finds_nothing_in_plain_or_tiny_frames(yunet_file: Path) -> None:
    frames = [np.full((*size, 3), 90, dtype=np.uint8) for size in SIZES]
    assert [len(one) for one in load_detector(yunet_file).detect(frames)] == [0] * len(SIZES)


@pytest.mark.shared
def test_another_network_is_refused_as_yunet(yunet_file: Path, tmp_path: Path) -> None:
    other = lay(tmp_path / "other.onnx", yunet_file.read_bytes().replace(b"cls_8", b"xls_8"))
    with pytest.raises(WeightsError, match=r"other\.onnx is not a YuNet network"):
        load_detector(other)
    half = lay(tmp_path / "half.onnx", yunet_file.read_bytes()[:100_000])
    with pytest.raises(WeightsError, match=r"half\.onnx is not a YuNet network"):
        load_detector(half)


def test_sfd_runs_through_the_network_of_face_alignment(sfd_file: Path) -> None:
    detector = load_detector(f"sfd:{sfd_file}")
    assert detector.name == "sfd"
    found = detector.detect([np.full((256, 256, 3), 90, dtype=np.uint8), np.full((140, 300, 3), 90, dtype=np.uint8)])
    check_contract(detector, found, 2)
    assert all(len(one) for one in found)
    assert all(np.isnan(one.landmarks).all() for one in found)


def test_blazeface_runs_through_the_network_of_face_alignment(blazeface_files: tuple[Path, Path]) -> None:
    weights, anchors = blazeface_files
    detector = load_detector(f"blazeface:{weights},{anchors}")
    found = detector.detect([np.zeros((200, 200, 3), dtype=np.uint8), np.zeros((100, 300, 3), dtype=np.uint8)])
    check_contract(detector, found, 2)
    assert [len(one) for one in found] == [1, 1]
    np.testing.assert_allclose(found[0].boxes[0], [50, 50, 150, 150], atol=1)
    np.testing.assert_allclose(found[1].boxes[0], [125, 25, 175, 75], atol=1)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_detectors_of_face_alignment_take_frames_of_any_size(
    sfd_file: Path, blazeface_files: tuple[Path, Path], size: tuple[int, int]
) -> None:
    frame = np.zeros((*size, 3), dtype=np.uint8)
    for name in (f"sfd:{sfd_file}", f"blazeface:{blazeface_files[0]},{blazeface_files[1]}"):
        detector = load_detector(name)
        check_contract(detector, detector.detect([frame]), 1)


@pytest.mark.parametrize(("name", "package"), [("retinaface", "torchvision"), ("scrfd", "onnxruntime")])
def test_missing_extra_names_its_pip_line(
    name: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    weights = lay(tmp_path / "weights.bin")
    with pytest.raises(MissingExtraError, match=rf"detector=\"{name}\".*pip install 'marlin-sdk\[{name}\]'"):
        load_detector(f"{name}:{weights}")


def test_extra_built_for_another_torch_is_not_reported_as_invalid_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay(tmp_path / "broken/torchvision/__init__.py", b"raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    monkeypatch.syspath_prepend(tmp_path / "broken")
    with pytest.raises(
        ConfigError, match=r"torchvision.*cannot be imported: operator torchvision::nms.*fits your torch"
    ):
        load_detector(f"retinaface:{lay(tmp_path / 'weights.pth')}")


class Bomb:
    """A pickle that runs code when it is opened unsafely."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


def test_weights_that_would_run_code_run_none(tmp_path: Path) -> None:
    bomb, fuse = tmp_path / "bomb.pth", tmp_path / "ran"
    torch.save({"weight": Bomb(fuse)}, bomb)
    with pytest.raises(WeightsError, match=r"bomb\.pth cannot be read as weights of the sfd detector"):
        load_detector(f"sfd:{bomb}")
    assert not fuse.exists()


def test_anchors_that_would_run_code_run_none(tmp_path: Path, blazeface_files: tuple[Path, Path]) -> None:
    fuse = tmp_path / "ran"
    bomb = lay(tmp_path / "bomb.npy", pickle.dumps(Bomb(fuse)))
    with pytest.raises(WeightsError, match=r"bomb\.npy cannot be read as weights of the blazeface detector"):
        load_detector(f"blazeface:{blazeface_files[0]},{bomb}")
    assert not fuse.exists()


@pytest.mark.parametrize("content", [b"", b"no weights", bytes(range(256)) * 20], ids=["empty", "text", "bytes"])
@pytest.mark.parametrize("name", ["yunet", "sfd"])
def test_broken_weights_are_named(name: str, content: bytes, tmp_path: Path) -> None:
    broken = lay(tmp_path / "broken.onnx", content)
    with pytest.raises(WeightsError, match=r"broken\.onnx"):
        load_detector(f"{name}:{broken}")


def test_weights_of_another_network_are_named(sfd_file: Path, blazeface_files: tuple[Path, Path]) -> None:
    weights, anchors = blazeface_files
    with pytest.raises(WeightsError, match=r"back\.pth cannot be read as weights of the sfd detector.*s3fd"):
        load_detector(f"sfd:{weights}")
    with pytest.raises(WeightsError, match=r"s3fd\.pth, .*anchors\.npy cannot be read as weights of the blazeface"):
        load_detector(f"blazeface:{sfd_file},{anchors}")


def test_onnx_file_of_another_network_is_refused_as_scrfd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Session:
        """Runs a network with one input and one output, as onnxruntime does."""

        def __init__(self, path: str, providers: Sequence[str]) -> None:
            self.node = SimpleNamespace(name="x")

        def get_inputs(self) -> list[SimpleNamespace]:
            return [self.node]

        def get_outputs(self) -> list[SimpleNamespace]:
            return [self.node]

        def run(self, names: Sequence[str], inputs: object) -> list[NDArray[np.float32]]:
            return [np.zeros((1, 10), np.float32) for _ in names]

    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace(InferenceSession=Session))
    detector = load_detector(f"scrfd:{lay(tmp_path / 'other.onnx')}")
    with pytest.raises(WeightsError, match=r"other\.onnx is not an SCRFD network \(IndexError.*scrfd takes http"):
        detector.detect([np.zeros((100, 100, 3), dtype=np.uint8)])


def test_custom_detector_is_returned_unchanged() -> None:
    mine = PaintedFace()
    assert load_detector(mine) is mine
    assert check_detector(mine) == ("painted", [])
    check_contract(mine, mine.detect(list(painted(2, {1: (10, 10, 30, 30)}))), 2)


class Nameless:
    def detect(self, frames: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        return [Detections.from_rows([], []) for _ in frames]


@pytest.mark.parametrize("wrong", [Nameless(), 3, None, PaintedFace], ids=["nameless", "number", "None", "class"])
def test_object_without_the_protocol_is_refused(wrong: Any) -> None:
    for ask in (check_detector, load_detector):
        with pytest.raises(ConfigError, match=r"expected a name, a file, or a FaceDetector"):
            ask(wrong)


@pytest.mark.parametrize("wrong", ["yunett", "", "YuNet", "mtcnn:weights.pt", "weights.pth"])
def test_unknown_name_lists_the_known_ones(wrong: str) -> None:
    with pytest.raises(ConfigError, match=r"unknown detector.*expected one of yunet, lbp, sfd, blazeface, retinaface"):
        check_detector(wrong)


def test_missing_file_is_named() -> None:
    with pytest.raises(WeightsError, match=r"no such detector file: away\.onnx"):
        check_detector("away.onnx")
    with pytest.raises(WeightsError, match=r"no such detector file: away\.pth"):
        check_detector("sfd:away.pth")


@pytest.mark.parametrize(("wrong", "takes"), [("blazeface:a.pth", 2), ("blazeface:a,b,c", 2), ("lbp:a.xml", 0)])
def test_wrong_number_of_files_is_refused(wrong: str, takes: int) -> None:
    with pytest.raises(ConfigError, match=rf"takes {takes}"):
        check_detector(wrong)


def test_path_may_hold_a_comma(tmp_path: Path) -> None:
    file = lay(tmp_path / "a,b" / "net.onnx")
    assert check_detector(file) == ("yunet", [file])
    assert check_detector(f"sfd:{file}") == ("sfd", [file])


@pytest.mark.parametrize("name", [name for name in DETECTORS if name != "lbp"])
def test_weights_that_cannot_be_downloaded_say_where_to_put_them(name: str, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"Cache folder: .*cache.*provide the file by hand"):
        load_detector(name, cache_dir=tmp_path / "cache", local_files_only=True)


def test_provenance_is_the_file_and_its_checksum(sfd_file: Path) -> None:
    detector: Any = load_detector(f"sfd:{sfd_file}")
    assert detector.provenance["file"] == "s3fd.pth"
    assert len(detector.provenance["sha256"]) == 64
