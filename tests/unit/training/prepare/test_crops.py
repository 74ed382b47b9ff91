"""Tracking and cropping faces for training, several at once; which folders and files are videos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.making import PaintedFace, lay, painted

from marlin_sdk import ConfigError, Detections, ShapeError
from marlin_sdk.face.regions.labels import FaceCrops
from marlin_sdk.training.prepare.config import PrepareConfig
from marlin_sdk.training.prepare.crops import prepare_source, track_faces
from marlin_sdk.training.prepare.folder import DataFolder, Outcome
from marlin_sdk.training.prepare.shards import read_clip, read_shard
from marlin_sdk.training.prepare.sources import Source, find_sources, plan_sources
from marlin_sdk.video.sources import ArrayReader

CONFIG = PrepareConfig(size_px=32, segment_frames=40, min_face_px=16)


class TwoFaces:
    """Finds the red square in either half of a frame."""

    name = "two"

    def detect(self, frames: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        return [self._one(frame) for frame in frames]

    def _one(self, frame: NDArray[np.uint8]) -> Detections:
        half = frame.shape[1] // 2
        left, right = (PaintedFace().detect([part])[0].boxes for part in (frame[:, :half], frame[:, half:]))
        boxes = np.concatenate([left, right + np.array([half, 0, half, 0], dtype=np.float32)])
        return Detections.from_rows(boxes, np.full(len(boxes), 0.9))


class Blank:
    """Labels every pixel skin."""

    name = "blank"

    def parse(self, crops: FaceCrops) -> NDArray[np.uint8]:
        return np.ones(crops.pixels.shape[:3], dtype=np.uint8)


def two_faces(num_frames: int, leaves_at: int) -> NDArray[np.uint8]:
    """A large face at the left, and a small one at the right that leaves."""
    frames = painted(num_frames, dict.fromkeys(range(num_frames), (10, 20, 50, 60)))
    frames[:leaves_at, 40:58, 90:108] = (255, 0, 0)
    return frames


def test_each_face_has_its_own_segments() -> None:
    segments = list(track_faces(ArrayReader(two_faces(100, 64), None), CONFIG, TwoFaces()))
    lengths: dict[int, list[int]] = {}
    for segment in segments:
        lengths.setdefault(segment.track, []).append(len(segment.pixels))
        assert segment.frame_index == list(range(segment.frame_index[0], segment.frame_index[0] + len(segment.pixels)))
        assert all((crop[8:24, 8:24] == (255, 0, 0)).all() for crop in segment.pixels)
        assert segment.face_px == (40 if segment.track == 0 else 18)
    assert lengths == {0: [40, 60], 1: [61]}  # last detected on an every fourth frame


def test_frames_without_cropping_must_have_the_size() -> None:
    frames = painted(40, {}, 32, 32)
    (segment,) = track_faces(ArrayReader(frames, None), CONFIG, None)
    assert np.array_equal(np.stack(segment.pixels), frames)
    with pytest.raises(ShapeError, match="frame 0 is 128x96; without cropping, frames must be 32x32"):
        list(track_faces(ArrayReader(painted(40, {}), None), CONFIG, None))


def prepared(
    folder: Path, frames: NDArray[np.uint8], config: PrepareConfig, monkeypatch: pytest.MonkeyPatch
) -> tuple[Outcome, DataFolder, Source]:
    """Prepare one video, with these detectors and parsers instead of the built-in ones."""
    import cv2

    (folder / "v").mkdir(parents=True)
    for index, frame in enumerate(frames):
        cv2.imwrite(str(folder / f"v/{index}.png"), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    monkeypatch.setattr("marlin_sdk.training.prepare.crops.load_tools", lambda _: (TwoFaces(), Blank()))
    source = Source(folder / "v", "v", "v")
    return prepare_source(source, DataFolder(folder / "data"), config), DataFolder(folder / "data"), source


def test_all_faces_are_kept_or_only_the_largest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for faces, tracks in (("all", [1, 0, 0]), ("largest", [0, 0])):
        config = PrepareConfig(**{**CONFIG.to_dict(), "faces": faces})
        outcome, folder, source = prepared(tmp_path / faces, two_faces(100, 64), config, monkeypatch)
        shard = read_shard(folder.part(source.id).with_suffix(".json"))
        assert [sample.track for sample in shard.samples] == tracks
        assert (outcome.samples, outcome.left_out) == (len(tracks), 3 - len(tracks))
        last = read_clip(shard, shard.samples[-1], [0, 30])
        assert np.abs(last[:, 10:22, 10:22].astype(int) - (255, 0, 0)).mean() < 8


def test_small_faces_and_short_tracks_are_discarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = PrepareConfig(**{**CONFIG.to_dict(), "min_face_px": 20})
    outcome, folder, source = prepared(tmp_path / "small", two_faces(100, 64), config, monkeypatch)
    assert (outcome.status, outcome.samples, outcome.left_out) == ("done", 2, 1)
    outcome, folder, source = prepared(tmp_path / "short", two_faces(30, 30), config, monkeypatch)
    assert (outcome.status, outcome.left_out) == ("left_out", 2)
    assert outcome.reason == "face tracks: 2, all shorter than 31 frames or smaller than 20 pixels"
    assert not folder.part(source.id).exists()


def test_error_of_one_video_is_its_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: Blank, crops: FaceCrops) -> NDArray[np.uint8]:
        raise ZeroDivisionError("parser")

    monkeypatch.setattr(Blank, "parse", fails)
    outcome, folder, _ = prepared(tmp_path, two_faces(60, 60), CONFIG, monkeypatch)
    assert (outcome.status, outcome.reason) == ("broken", "unexpected ZeroDivisionError('parser')")
    assert not list((folder.path / "parts").iterdir())


def test_missing_file_is_an_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marlin_sdk.training.prepare.crops.load_tools", lambda _: (TwoFaces(), Blank()))
    source = Source(tmp_path / "gone.mp4", "gone.mp4", "gone")
    outcome = prepare_source(source, DataFolder(tmp_path / "data"), CONFIG)
    assert (outcome.status, outcome.stamp) == ("broken", "")
    assert "no such video" in outcome.reason


# Sources --------------------------------------------------------------------------------------------------------------


def test_videos_are_found_below_a_folder_and_others_are_counted_but_hidden_ones(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("b.mp4", "a/x.MKV", "a/x.jpg", ".cache/c.mp4", "a/._x.mp4", "a/notes.txt"):
        lay(tmp_path / name)
    assert list(find_sources([tmp_path])) == ["a/x.MKV", "b.mp4"]
    (said,) = caplog.messages
    assert "2 files are left out" in said
    assert "1 .jpg (x.jpg)" in said
    assert "1 .txt (notes.txt)" in said


def test_folder_of_frames_alone_is_one_video(tmp_path: Path) -> None:
    lay(tmp_path / "talk/1.png")
    assert find_sources([tmp_path / "talk"]) == {"talk": tmp_path / "talk"}
    with pytest.raises(ConfigError, match="no video in"):
        find_sources([tmp_path])  # a folder of folders of frames is YouTube Faces or nothing


def test_videos_beside_youtube_faces_are_found_too(tmp_path: Path) -> None:
    lay(tmp_path / "frame_images_DB/Ann/0/0.1.jpg")
    lay(tmp_path / "more/b.mp4")
    sources = plan_sources(find_sources([tmp_path]))
    assert {source.id: source.identity for source in sources} == {
        "frame_images_DB/Ann/0": "Ann",
        "more/b.mp4": "more/b.mp4",
    }


@pytest.mark.parametrize(
    "values",
    [
        {"size_px": 0},
        {"patch_px": 15},
        {"quality": 101},
        {"faces": "some"},
        {"crop_face": "maybe"},
        {"identity": "person"},
        {"fps": 0.0},
        {"val_share": 1.0},
        {"min_frames": True},
        {"parser": "precomputed"},
    ],
)
def test_invalid_setting_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        PrepareConfig(**values)  # type: ignore[arg-type]


def test_settings_survive_their_file() -> None:
    config = PrepareConfig(size_px=96, fps=25.0, faces="largest")
    assert PrepareConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ConfigError, match=r"unknown keys \['colour'\]"):
        PrepareConfig.from_dict({**config.to_dict(), "colour": 1})


def test_truncated_line_of_the_manifest_is_ignored(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    folder.record(Outcome("a.mp4", "broken", "why"))
    folder.record(Outcome("b.mp4", "no_face", warnings=("w",)))
    file = tmp_path / "manifest.jsonl"
    file.write_text(file.read_text() + '{"source": "c.mp4", "sta')
    assert folder.outcomes() == {
        "a.mp4": Outcome("a.mp4", "broken", "why"),
        "b.mp4": Outcome("b.mp4", "no_face", warnings=("w",)),
    }
    folder.record(Outcome("a.mp4", "done"))
    assert folder.outcomes()["a.mp4"].status == "done"
    assert set(folder.outcomes()) == {"a.mp4", "b.mp4"}
