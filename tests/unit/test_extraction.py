"""From a reader's frames to rows: skipped windows, warnings, metadata."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.making import TINY, ColouredFaces, PaintedFace, noise, painted, write_small_sface, write_video

from marlin_sdk import (
    ConfigError,
    ExtractionConfig,
    FeatureFileError,
    Marlin,
    NoFaceError,
    VideoDecodeError,
    VideoFeatures,
    WeightsError,
)
from marlin_sdk._version import __version__
from marlin_sdk.clips.cutter import ClipCutter
from marlin_sdk.config import ExtractionSettings, Reduction
from marlin_sdk.extraction import embed_cuts
from marlin_sdk.features import SkippedWindow, WindowFeatures
from marlin_sdk.video.reader import Frame
from marlin_sdk.video.sources import ArrayReader

FACE = (40, 20, 80, 60)


@pytest.fixture(scope="module")
def finder() -> Marlin:
    return Marlin.untrained(TINY, device="cpu", detector=PaintedFace())


def test_face_that_leaves_and_returns(finder: Marlin) -> None:
    shown = [*range(32), *range(96, 160)]
    result = finder.extract(painted(160, dict.fromkeys(shown, FACE)), source_fps=25.0, detect_every=1)
    assert result.frame_index[:, 0].tolist() == [0, 96, 128]
    times = [(window.start_s, window.end_s) for window in result.skipped]
    np.testing.assert_allclose(times, [(1.28, 2.52), (2.56, 3.8)])
    assert all("no face" in window.reason for window in result.skipped)
    assert result.frame_valid.all()
    assert len(set(result.track_id)) == 2  # a face that returns after seconds may be another


def test_window_with_a_face_in_fewer_than_half_of_its_frames_is_skipped(finder: Marlin) -> None:
    settings: ExtractionSettings = {"sample_rate": 1, "detect_every": 1, "smooth": False, "source_fps": 25.0}
    video = painted(32, dict.fromkeys([*range(16), *range(25, 32)], FACE))
    result = finder.extract(video, **settings)
    assert result.frame_index[:, 0].tolist() == [0]
    (skipped,) = result.skipped
    assert "7 of 16 frames; 8 are needed" in skipped.reason
    video[24] = video[25]
    assert len(finder.extract(video, **settings)) == 2


def test_no_face_at_all_is_an_error_that_says_what_to_do(finder: Marlin) -> None:
    reductions: tuple[Reduction, ...] = ("none", "mean")
    for reduction in reductions:
        with pytest.raises(NoFaceError, match=r"<array>: none of 2 windows shows one face.*detector=.*crop_face=False"):
            finder.extract_video(painted(60, {}), reduction=reduction)
    with pytest.raises(NoFaceError, match=r"none of 2 windows shows one face .*\(the first: no face\)"):
        list(finder.stream(painted(60, {})))


def test_faces_between_scene_cuts_are_not_one_face(finder: Marlin) -> None:
    video = painted(48, dict.fromkeys(range(48), FACE))
    x1, y1, x2, y2 = FACE
    for shot, start in enumerate(range(0, 48, 6)):  # of three steps each, every other one of another person
        video[start : start + 6, :, 90:] = 255 * (shot % 2)
        video[start : start + 6, 70:] = 255 * (shot % 2)
        stripes = video[start : start + 6, y1:y2, x1:x2]
        (stripes[:, ::4] if shot % 2 else stripes[:, :, ::4])[:] = (205, 55, 55)
    with pytest.raises(
        NoFaceError, match=r"faces in 16 of 16 frames, but the longest-seen one in only \d; 8 are needed"
    ):
        finder.extract(video, source_fps=25.0)


def test_compat_embeds_windows_without_a_face_with_a_warning(finder: Marlin) -> None:
    result = finder.extract(painted(65, dict.fromkeys(range(40), FACE)), source_fps=25.0, compat="marlin_pytorch")
    assert (len(result), result.skipped) == (2, ())
    assert (result.face_score[1] == 0).sum() == 12
    assert any("12 frames show no face" in warning for warning in result.warnings)
    assert any("'painted'" in warning and "detector='retinaface'" in warning for warning in result.warnings)


def test_video_without_a_full_window(tiny: Marlin) -> None:
    result = tiny.extract(noise(20, 32, 32), tail="drop")
    assert (result.features.shape, result.frame_index.shape, len(result)) == ((0, 32), (0, 16), 0)
    assert any("shorter than one window" in warning for warning in result.warnings)
    assert tiny.extract_video(noise(20, 32, 32), tail="drop", keep_seq=True).shape == (0, 32, 32)
    assert list(tiny.stream(noise(20, 32, 32), tail="drop")) == []
    with pytest.raises(ConfigError, match="no full window to reduce; use tail='pad'"):
        tiny.extract(noise(20, 32, 32), tail="drop", reduction="max")


def test_rows_come_before_the_source_has_ended(tiny: Marlin) -> None:
    given: list[int] = []

    class Counting(ArrayReader):
        """Records which frames have been read."""

        def __iter__(self) -> Iterator[Frame]:
            for frame in super().__iter__():
                given.append(frame.index)
                yield frame

    reader = Counting(noise(200, 32, 32), 25.0)
    cuts = ClipCutter(TINY, lambda: tiny.detector).cut(reader, ExtractionConfig())
    rows = embed_cuts(cuts, tiny._runtime, batch_size=1)
    first = next(rows)
    assert isinstance(first, WindowFeatures)
    assert given == list(range(31))
    next(rows)
    assert given == list(range(63))


def test_skipped_windows_come_in_order_in_a_stream(finder: Marlin) -> None:
    reader = ArrayReader(painted(96, dict.fromkeys([*range(32), *range(64, 96)], FACE)), 25.0)
    config = ExtractionConfig(detect_every=1, smooth=False)
    cuts = ClipCutter(TINY, lambda: finder.detector).cut(reader, config)
    rows = list(embed_cuts(cuts, finder._runtime, batch_size=1))
    assert [type(row) for row in rows] == [WindowFeatures, SkippedWindow, WindowFeatures]


def test_metadata_is_complete_and_survives_json(finder: Marlin, tmp_path: Path) -> None:
    path = write_video(tmp_path / "face.mp4", painted(40, dict.fromkeys(range(40), FACE)))
    meta = finder.extract(path, stride=8, batch_size=2).meta
    assert json.loads(json.dumps(meta)) == meta
    assert meta["source"] == str(path)
    assert meta["settings"] == ExtractionConfig(stride=8, batch_size=2).to_dict()
    assert meta["config"] == TINY.without_decoder().to_dict()
    assert meta["detector"] == {"name": "painted"}
    assert (meta["device"], meta["dtype"], meta["untrained"]) == ("cpu", "float32", True)
    assert meta["video"]["num_frames"] == 40
    assert meta["versions"]["marlin-sdk"] == __version__
    assert {"torch", "numpy", "av", "opencv", "python"} <= set(meta["versions"])


def test_reader_without_a_frame_is_an_error(tiny: Marlin) -> None:
    with pytest.raises(VideoDecodeError, match="no frame"):
        tiny.extract(np.empty((0, 32, 32, 3), dtype=np.uint8))


def test_broken_file_gives_the_windows_before_the_break_and_a_warning(tiny: Marlin, tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mkv", noise(200, 32, 32), codec="mpeg4")
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    expected, result = tiny.extract(whole), tiny.extract(cut)
    assert not expected.warnings
    assert any("truncated" in warning or "breaks off" in warning for warning in result.warnings)
    assert 1 < len(result) < len(expected)
    np.testing.assert_allclose(result.features[:-1], expected.features[: len(result) - 1], atol=1e-6)
    saved = VideoFeatures.load(result.save(tmp_path / "cut.npz"))
    assert saved.warnings == result.warnings


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_features_that_are_not_finite_are_refused(dtype: str) -> None:
    model = Marlin.untrained(TINY, device="cpu", dtype=dtype, detector="lbp")
    with torch.no_grad():
        model.encoder.norm.weight.fill_(torch.finfo(model.dtype).max)
    advice = "check the weights" if dtype == "float32" else "use dtype='float32'"
    for embed in (
        lambda: model.extract_clip(noise(16, 32, 32)),
        lambda: model.extract(noise(40, 32, 32), source_fps=25.0),
    ):
        with pytest.raises(WeightsError, match=rf"NaN or infinite in {dtype}; {advice}"):
            embed()


@pytest.fixture(scope="module")
def identifier(tmp_path_factory: pytest.TempPathFactory) -> Marlin:
    network = write_small_sface(tmp_path_factory.mktemp("sface") / "small.onnx")
    return Marlin.untrained(TINY, device="cpu", detector=ColouredFaces(), recogniser=network)


def two_people() -> np.ndarray:
    """Red on the left, then blue on the right, then red again, elsewhere."""
    frames = np.full((144, 96, 128, 3), 90, dtype=np.uint8)
    frames[:48, 20:60, 10:50] = (255, 0, 0)
    frames[48:96, 20:60, 70:110] = (0, 0, 255)
    frames[96:, 40:80, 40:80] = (255, 0, 0)
    return frames


def test_identify_joins_the_tracks_of_a_person_across_cuts(identifier: Marlin, tmp_path: Path) -> None:
    plain = identifier.extract(two_people(), source_fps=25.0, sample_rate=1)
    assert plain.track_id.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert plain.person_id.tolist() == [-1] * 9
    assert not {"persons", "recogniser"} & set(plain.meta)
    result = identifier.extract(two_people(), source_fps=25.0, sample_rate=1, identify=True)
    np.testing.assert_array_equal(result.features, plain.features)
    assert result.track_id.tolist() == plain.track_id.tolist()
    assert result.person_id.tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 0]
    assert {person: len(rows) for person, rows in result.persons().items()} == {0: 6, 1: 3}
    assert result.meta["recogniser"] == {"name": "sface", **identifier.recogniser.provenance}  # type: ignore[attr-defined]
    assert list(result.to_dataframe().columns[3:5]) == ["track_id", "person_id"]
    for suffix in ("npz", "npy", "safetensors"):
        loaded = VideoFeatures.load(result[4:].save(tmp_path / f"people.{suffix}"))
        assert loaded.person_id.tolist() == [1, 1, 0, 0, 0]


def test_identify_needs_faces_and_the_whole_video(identifier: Marlin) -> None:
    with pytest.raises(ConfigError, match=r"identify=True compares the faces that crop_face=False does not look for"):
        identifier.extract(two_people(), identify=True, crop_face=False)
    with pytest.raises(ConfigError, match=r"before a video's persons are known; use extract\(identify=True\)"):
        identifier.stream(two_people(), identify=True)
    cropped = identifier.extract(noise(16, 32, 32), source_fps=25.0, identify=True)
    assert cropped.person_id.tolist() == [-1]
    assert cropped.warnings == ("identify: the frames are cropped already, so no faces were compared",)


@pytest.mark.parametrize("persons", [{"0": 1}, ["a"], [-1], [True], [2**40], 7])
def test_persons_of_a_crafted_file_are_refused(identifier: Marlin, persons: object, tmp_path: Path) -> None:
    result = identifier.extract(two_people()[:16], source_fps=25.0, sample_rate=1, identify=True)
    result.meta["persons"] = persons  # type: ignore[index]
    with pytest.raises(FeatureFileError, match=r"expected the person of each track, from 0 on"):
        VideoFeatures.load(result.save(tmp_path / "crafted.npz"))
