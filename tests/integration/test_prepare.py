"""A folder of raw videos to prepared faces, by the command and from Python; stopped, resumed, broken, in parallel."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.making import noise, write_video
from tests.patience import HANG_S, wait_for

from marlin_sdk import ConfigError, NoFaceError
from marlin_sdk.errors import VideoNotFoundError
from marlin_sdk.face.cropping import crop_square, square_box
from marlin_sdk.face.detectors import load_detector
from marlin_sdk.face.regions.labels import REGIONS, region_bits
from marlin_sdk.face.tracking import FaceTracker
from marlin_sdk.training.prepare.config import PrepareConfig
from marlin_sdk.training.prepare.folder import DataFolder, Outcome
from marlin_sdk.training.prepare.run import _process_isolated, prepare
from marlin_sdk.training.prepare.shards import Shard, read_clip, read_regions
from marlin_sdk.training.prepare.sources import Source
from marlin_sdk.training.pretrain.data import ClipDataset
from marlin_sdk.video.reader import open_video

SMALL = PrepareConfig(size_px=32, detector="lbp", min_face_px=0, val_share=0.3)
OPTIONS = ["--size", "32", "--detector", "lbp", "--min-face", "0", "--val-share", "0.3", "--workers", "1"]


def changed(**values: Any) -> PrepareConfig:
    """`SMALL` with other settings."""
    return PrepareConfig(**{**SMALL.to_dict(), **values})


def command(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """`marlin-sdk prepare` in a process of its own, where warnings are errors."""
    line = [sys.executable, "-W", "error", "-m", "marlin_sdk.cli.training.prepare", *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=HANG_S, **options)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five videos that are cropped already, and one that is too short."""
    folder = tmp_path_factory.mktemp("videos")
    for index, name in enumerate(("ann/monday", "ann/tuesday", "bob", "eve", "zoe")):
        (folder / name).parent.mkdir(exist_ok=True)
        write_video(folder / f"{name}.mp4", noise(40 + 10 * index, 32, 32, seed=index))
    write_video(folder / "short.mp4", noise(20, 32, 32))
    (folder / "notes.txt").write_text("not a video")
    (folder / "._bob.mp4").write_text("what macOS leaves")
    return folder


def manifest(data: Path) -> dict[str, dict[str, Any]]:
    return {line["source"]: line for line in map(json.loads, (data / "manifest.jsonl").read_text().splitlines())}


def files_of(data: Path) -> dict[str, bytes]:
    """What a folder of data comes to: its shards and its split."""
    found = [*data.glob("shards/*"), data / "split.json"]
    return {str(path.relative_to(data)): path.read_bytes() for path in sorted(found)}


def samples_of(data: Path) -> dict[str, tuple[Shard, Any]]:
    return {sample.id: (shard, sample) for shard in DataFolder(data).shards() for sample in shard.samples}


# The command ----------------------------------------------------------------------------------------------------------


def test_command_prepares_a_folder_and_has_nothing_to_do_the_second_time(videos: Path, tmp_path: Path) -> None:
    done = command(videos, "-o", tmp_path / "data", *OPTIONS[:-2])  # as many workers as cores
    assert done.returncode == 0, done.stderr
    assert "5 of 6 videos gave faces, 0 broken." in done.stderr
    assert "short.mp4: face tracks: 1, all shorter than 31 frames" in done.stderr
    lines = manifest(tmp_path / "data")
    assert {name: line["status"] for name, line in lines.items()} == {
        "ann/monday.mp4": "done",
        "ann/tuesday.mp4": "done",
        "bob.mp4": "done",
        "eve.mp4": "done",
        "short.mp4": "left_out",
        "zoe.mp4": "done",
    }
    assert (lines["zoe.mp4"]["frames"], lines["zoe.mp4"]["samples"]) == (80, 1)
    sides = json.loads((tmp_path / "data" / "split.json").read_text())
    assert sorted(sides) == ["ann/monday.mp4", "ann/tuesday.mp4", "bob.mp4", "eve.mp4", "zoe.mp4"]
    assert sorted(sides.values()) == ["train", "train", "train", "val", "val"]
    assert not list((tmp_path / "data" / "parts").iterdir())
    before = files_of(tmp_path / "data")
    again = command(videos, "-o", tmp_path / "data", *OPTIONS)
    assert again.returncode == 0, again.stderr
    assert "0 of 0 videos gave faces (6 done before)" in again.stderr
    assert files_of(tmp_path / "data") == before


def test_what_the_command_wrote_is_what_training_reads(videos: Path, tmp_path: Path) -> None:
    assert command(videos, "-o", tmp_path / "data", *OPTIONS, "--quiet").returncode == 0
    sides = json.loads((tmp_path / "data" / "split.json").read_text())
    for split in ("train", "val"):
        items = list(ClipDataset(tmp_path / "data", split, drop_last=False))
        assert sorted(item["identity"] for item in items) == sorted(name for name in sides if sides[name] == split)
    shard, sample = samples_of(tmp_path / "data")["zoe.mp4#0-0"]
    clip = read_clip(shard, sample, range(80))
    assert np.abs(clip.astype(int) - noise(80, 32, 32, seed=4)).mean() < 8  # x264 and WebP
    assert read_regions(shard, sample).shape == (80, 2, 2)


def test_broken_video_is_recorded_and_the_others_are_done(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    for name in ("bob", "eve"):
        (tmp_path / "videos" / f"{name}.mp4").write_bytes((videos / f"{name}.mp4").read_bytes())
    broken = tmp_path / "videos" / "broken.mp4"
    broken.write_bytes(b"no video at all")
    call: list[str | Path] = [tmp_path / "videos", "-o", tmp_path / "data", *OPTIONS]
    done = command(*call)
    assert done.returncode == 1
    assert "failed: broken.mp4: " in done.stderr
    assert "2 of 3 videos gave faces, 1 broken." in done.stderr
    line = manifest(tmp_path / "data")["broken.mp4"]
    assert line["status"] == "broken"
    assert "broken.mp4" in line["reason"]
    again = command(*call)  # known to be broken, and not tried again ...
    assert "0 of 0 videos" in again.stderr
    assert "1 broken" in command(*call, "--retry").stderr  # ... but where one asks
    broken.write_bytes((videos / "zoe.mp4").read_bytes())  # ... or where it has changed
    mended = command(*call)
    assert mended.returncode == 0, mended.stderr
    assert "1 of 1 videos gave faces" in mended.stderr
    assert len(samples_of(tmp_path / "data")) == 3


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["{videos}/notes"], 2, "no such folder of videos"),
        (["{empty}"], 2, "no video in"),
        (["{videos}/bob.mp4"], 2, "only one identity, 'bob.mp4'"),
        (["{videos}", "--parser", "magic"], 2, "unknown region parser 'magic'"),
        (["{videos}", "--val-share", "1"], 2, "val_share is 1.0"),
        (["{videos}", "--size", "30"], 2, "size_px = 30 is not a multiple of patch_px = 16"),
        (["{videos}", "--parser", "precomputed:nowhere"], 2, "no folder of label maps at nowhere"),
        (["{videos}", "--workers", "0"], 2, "workers is 0"),
        (["{videos}", "--crop-face", "yes", "--size", "64"], 1, "no face to train on in 6 videos"),
    ],
)
def test_command_says_what_cannot_be_used(
    arguments: list[str], code: int, says: str, videos: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    filled = [text.format(videos=videos, empty=tmp_path / "empty") for text in arguments]
    done = command(filled[0], "-o", tmp_path / "data", *OPTIONS, *filled[1:])
    assert done.returncode == code, done.stderr
    assert says in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr


# Faces ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def astronaut_data(astronaut: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("astronaut")
    prepare(astronaut, data, PrepareConfig(detector="lbp", val_share=0))
    return data


def test_face_is_tracked_and_cropped_as_for_features(astronaut: Path, astronaut_data: Path) -> None:
    ((shard, sample),) = samples_of(astronaut_data).values()
    assert (sample.source, sample.track, sample.first_frame) == ("astronaut.mp4", 0, 0)
    with open_video(astronaut) as reader:
        followed = list(FaceTracker(load_detector("lbp"), detect_every=4).follow(reader))
    assert sample.num_frames == sum(any(face.track_id == 0 for face in faces) for _, faces in followed) > 70
    for index in (0, 41, 70):
        frame, faces = followed[index]
        crop = crop_square(frame.rgb, square_box(faces[0].box), 224)
        assert np.abs(read_clip(shard, sample, [index])[0].astype(int) - crop).mean() < 2.5


def test_regions_lie_where_the_face_has_them(astronaut_data: Path) -> None:
    ((shard, sample),) = samples_of(astronaut_data).values()
    regions = read_regions(shard, sample)
    assert regions.shape == (sample.num_frames, 14, 14)

    def place(region: str) -> NDArray[np.float64]:
        return np.asarray(np.argwhere(regions[0] >> REGIONS.index(region) & 1).mean(axis=0), dtype=np.float64)

    assert place("right_eye")[1] < place("nose")[1] < place("left_eye")[1]
    assert place("right_eye")[0] < place("nose")[0] < place("mouth")[0]
    assert place("hair")[0] < place("nose")[0]
    assert (regions > 0).all()


@pytest.mark.shared
def test_real_videos_are_prepared_with_yunet(shared: Path, tmp_path: Path) -> None:
    detector = str(shared / "weights/face_detection_yunet_2023mar.onnx")
    (tmp_path / "media").mkdir()
    for name in ("cropped01", "cropped04", "cropped05", "video03"):
        (tmp_path / f"media/{name}.mp4").symlink_to(shared / f"media/{name}.mp4")
    config = PrepareConfig(detector=detector, detect_every=8, val_share=0.3)
    result = prepare(tmp_path / "media", tmp_path / "data", config, workers=2)
    assert {outcome.source: (outcome.status, outcome.frames) for outcome in result.outcomes} == {
        "cropped01.mp4": ("done", 143),
        "cropped04.mp4": ("left_out", 0),  # 15 and 27 frames: a clip spans 31
        "cropped05.mp4": ("left_out", 0),
        "video03.mp4": ("done", 240),
    }
    assert sum(result.samples.values()) == 2
    for shard, sample in samples_of(tmp_path / "data").values():
        bits = np.bitwise_or.reduce(read_regions(shard, sample), axis=(1, 2))
        assert (bits == 127).all(), sample.id  # every region in every frame


# YouTube Faces --------------------------------------------------------------------------------------------------------


def write_frames(folder: Path, frames: NDArray[np.uint8], first: int = 1) -> None:
    folder.mkdir(parents=True)
    for index, frame in enumerate(frames, start=first):
        cv2.imwrite(str(folder / f"0.{index}.jpg"), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))


@pytest.fixture
def youtube_faces(tmp_path: Path) -> Path:
    root = tmp_path / "ytf"
    for seed, name in enumerate(("Ann_Lee/0", "Ann_Lee/3", "Bob_Ray/1")):
        write_frames(root / "frame_images_DB" / name, noise(40, 32, 32, seed=seed), first=95)  # 0.95.jpg to 0.134.jpg
    return root


def test_youtube_faces_layout_gives_a_video_for_each_folder_and_the_names_as_identities(
    youtube_faces: Path, tmp_path: Path
) -> None:
    (youtube_faces / "frame_images_DB/Bob_Ray/1/0.99.jpg").write_bytes(b"broken")
    prepare(youtube_faces, tmp_path / "data", SMALL)
    samples = samples_of(tmp_path / "data")
    assert {sample.source: sample.identity for _, sample in samples.values()} == {
        "frame_images_DB/Ann_Lee/0": "Ann_Lee",
        "frame_images_DB/Ann_Lee/3": "Ann_Lee",
        "frame_images_DB/Bob_Ray/1": "Bob_Ray",
    }
    assert {sample.num_frames for _, sample in samples.values()} == {40, 39}
    assert "0.99.jpg" in manifest(tmp_path / "data")["frame_images_DB/Bob_Ray/1"]["warnings"][0]
    shard, sample = samples["frame_images_DB/Ann_Lee/3#0-0"]
    frames = read_clip(shard, sample, [0, 10, 39])  # in the order of numbers: 95, 105, 134
    assert np.abs(frames.astype(int) - noise(40, 32, 32, seed=1)[[0, 10, 39]]).mean() < 8
    sides = json.loads((tmp_path / "data/split.json").read_text())
    assert sorted(sides) == ["Ann_Lee", "Bob_Ray"]
    assert sorted(sides.values()) == ["train", "val"]


def test_folder_of_youtube_faces_itself_gives_the_same(youtube_faces: Path, tmp_path: Path) -> None:
    prepare(youtube_faces, tmp_path / "one", SMALL)
    prepare(youtube_faces / "frame_images_DB", tmp_path / "other", SMALL)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "other")


def test_precomputed_label_maps_become_the_regions(youtube_faces: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 11, (3, 40, 32, 32), dtype=np.uint8)
    for video, name in enumerate(("Ann_Lee/0", "Ann_Lee/3", "Bob_Ray/1")):
        (tmp_path / "labels" / name).mkdir(parents=True)
        for index in range(40):
            np.save(tmp_path / "labels" / name / f"0.{95 + index}.npy", labels[video, index])
    (tmp_path / "labels/Bob_Ray/1/0.100.npy").unlink()
    config = PrepareConfig(
        size_px=32, patch_px=4, parser=f"precomputed:{tmp_path / 'labels'}", detector="lbp", min_face_px=0
    )
    result = prepare(youtube_faces, tmp_path / "data", PrepareConfig(**{**config.to_dict(), "val_share": 0}))
    assert [(outcome.source, outcome.status) for outcome in result.failed] == [("frame_images_DB/Bob_Ray/1", "broken")]
    assert "0.100.npy" in result.failed[0].reason
    shard, sample = samples_of(tmp_path / "data")["frame_images_DB/Ann_Lee/3#0-0"]
    np.testing.assert_array_equal(read_regions(shard, sample), region_bits(labels[1], 4))


# Stopped, resumed, in parallel ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def straight(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder prepared in one go, in one process."""
    data = tmp_path_factory.mktemp("straight")
    prepare(videos, data, SMALL)
    return data


def test_workers_write_the_same_as_one_process(videos: Path, straight: Path, tmp_path: Path) -> None:
    prepare(videos, tmp_path, SMALL, workers=3)
    assert files_of(tmp_path) == files_of(straight)


HELD = """
import sys, time
from pathlib import Path
from marlin_sdk.cli.training import prepare
from marlin_sdk.training.prepare import run

held, own = Path(sys.argv.pop(1)), run.prepare

def hold(*arguments, on_outcome, **settings):
    def told(*outcome):
        held.touch()
        time.sleep(100_000)
    return own(*arguments, on_outcome=told, **settings)

run.prepare = hold
if __name__ == "__main__":
    prepare.command()
"""
"""The command, held up behind its first video."""


def wait_until_gone(group: int) -> None:
    """Wait for the last process of a group to end."""

    def is_gone() -> bool:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        return False

    wait_for(is_gone)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_killed_run_goes_on_and_comes_to_the_same(videos: Path, straight: Path, tmp_path: Path, workers: str) -> None:
    line: list[str | Path] = [videos, "-o", tmp_path / "data", *OPTIONS, "--workers", workers]
    running = subprocess.Popen(
        [sys.executable, "-c", HELD, tmp_path / "held", *line], stderr=subprocess.DEVNULL, start_new_session=True
    )
    wait_for((tmp_path / "held").exists, unless=lambda: running.poll() is not None)
    assert len(manifest(tmp_path / "data")) >= 1
    running.send_signal(signal.SIGKILL)
    running.wait()
    wait_until_gone(running.pid)
    outcomes: list[Outcome] = []
    prepare(videos, tmp_path / "data", SMALL, on_outcome=lambda outcome, _: outcomes.append(outcome))
    assert len(outcomes) < 6
    assert files_of(tmp_path / "data") == files_of(straight)


@pytest.mark.parametrize("at", range(1, 6))
def test_run_stopped_after_any_video_goes_on_and_comes_to_the_same(
    at: int, videos: Path, straight: Path, tmp_path: Path
) -> None:
    told: list[str] = []

    def stop(outcome: Outcome, to_do: int) -> None:
        told.append(outcome.source)
        if len(told) == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(videos, tmp_path, SMALL, on_outcome=stop)
    (tmp_path / "parts" / ".rest.0123.part.tar").write_bytes(b"half a part")
    prepare(videos, tmp_path, SMALL, on_outcome=lambda outcome, _: told.append(outcome.source))
    assert sorted(told) == sorted(set(told))
    assert len(told) == 6
    assert files_of(tmp_path) == files_of(straight)
    assert not list((tmp_path / "parts").iterdir())


def test_run_stopped_while_packing_goes_on_and_comes_to_the_same(
    videos: Path, straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shard and index are there, the parts are not yet gone."""
    unlink = Path.unlink

    def stop(self: Path, missing_ok: bool = False) -> None:
        if self.parent.name == "parts" and self.suffix == ".json":
            raise KeyboardInterrupt
        unlink(self, missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", stop)
        with pytest.raises(KeyboardInterrupt):
            prepare(videos, tmp_path, SMALL)
    prepare(videos, tmp_path, SMALL)
    assert sorted(samples_of(tmp_path)) == sorted(samples_of(straight))
    assert json.loads((tmp_path / "split.json").read_text()) == json.loads((straight / "split.json").read_text())


def test_folder_may_grow_and_everybody_keeps_the_side(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    for index in range(4):
        write_video(tmp_path / f"videos/{index}.mp4", noise(40, 32, 32, seed=index))
    prepare(tmp_path / "videos", tmp_path / "data", SMALL)
    before = json.loads((tmp_path / "data/split.json").read_text())
    for index in range(4, 10):
        write_video(tmp_path / f"videos/{index}.mp4", noise(40, 32, 32, seed=index))
    result = prepare(tmp_path / "videos", tmp_path / "data", SMALL)
    after = json.loads((tmp_path / "data/split.json").read_text())
    assert (len(result.outcomes), result.before) == (6, 4)
    assert {name: after[name] for name in before} == before
    assert sorted(after.values()).count("val") == 3
    assert len(list(ClipDataset(tmp_path / "data"))) == 7


def test_small_shards_hold_what_one_large_one_does(videos: Path, straight: Path, tmp_path: Path) -> None:
    prepare(videos, tmp_path, SMALL, shard_bytes=1)
    assert len(list(tmp_path.glob("shards/train-*.tar"))) == 3
    assert [item["id"] for item in ClipDataset(tmp_path)] == [item["id"] for item in ClipDataset(straight)]


def test_shard_that_was_cut_off_is_made_again(videos: Path, straight: Path, tmp_path: Path) -> None:
    prepare(videos, tmp_path, SMALL)
    tar = tmp_path / "shards/train-000000.tar"
    tar.write_bytes(tar.read_bytes()[:-3000])
    result = prepare(videos, tmp_path, SMALL)
    assert any("train-000000.tar has" in note and "its 3 videos are prepared again" in note for note in result.notes)
    assert len(result.outcomes) == 3
    assert files_of(tmp_path) == files_of(straight)


def test_killed_workers_cost_no_video(videos: Path, straight: Path, tmp_path: Path) -> None:
    killed: list[int] = []

    def kill(outcome: Outcome, to_do: int) -> None:
        if not killed:
            for child in multiprocessing.active_children():
                killed.append(child.pid or 0)
                os.kill(child.pid or 0, signal.SIGKILL)

    result = prepare(videos, tmp_path, SMALL, workers=2, on_outcome=kill)
    assert killed
    assert [outcome.status for outcome in result.outcomes].count("done") == 5
    assert files_of(tmp_path) == files_of(straight)


def test_video_that_brings_its_process_down_is_recorded(videos: Path, tmp_path: Path) -> None:
    stop = threading.Event()

    def kill() -> None:
        while not stop.is_set():
            for child in multiprocessing.active_children():
                os.kill(child.pid or 0, signal.SIGKILL)
            time.sleep(0.01)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        outcome = _process_isolated(Source(videos / "bob.mp4", "bob.mp4", "bob"), DataFolder(tmp_path), SMALL)
    finally:
        stop.set()
        killer.join()
    assert (outcome.source, outcome.status) == ("bob.mp4", "broken")
    assert "was killed" in outcome.reason


def test_full_disk_stops_the_run_and_what_is_there_is_whole(videos: Path, straight: Path, tmp_path: Path) -> None:
    def no_file_larger_than_20_kb() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    done = command(videos, "-o", tmp_path / "data", *OPTIONS, preexec_fn=no_file_larger_than_20_kb)
    assert done.returncode == 1
    assert "failed: stopped: " in done.stderr
    assert not list((tmp_path / "data").rglob("*.part.*"))
    prepare(videos, tmp_path / "data", SMALL)
    assert files_of(tmp_path / "data") == files_of(straight)


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"a": "test"}', '{"a": ["val"]}', "[" * 5000 + "]" * 5000], ids=range(5)
)
def test_split_that_cannot_be_read_is_named(videos: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "split.json").write_text(content)
    with pytest.raises(ConfigError, match=r"split\.json .*delete it"):
        prepare(videos, tmp_path, SMALL)


def test_split_that_was_deleted_is_that_of_the_shards(videos: Path, straight: Path, tmp_path: Path) -> None:
    shutil.copytree(straight, tmp_path / "data")
    before = (tmp_path / "data" / "split.json").read_bytes()
    (tmp_path / "data" / "split.json").unlink()
    prepare(videos, tmp_path / "data", SMALL)
    assert (tmp_path / "data" / "split.json").read_bytes() == before


def test_second_run_at_the_same_time_is_refused(videos: Path, tmp_path: Path) -> None:
    with DataFolder(tmp_path).lock(), pytest.raises(ConfigError, match="another marlin-sdk prepare is running"):
        prepare(videos, tmp_path, SMALL)


# Settings, identities, bad folders ------------------------------------------------------------------------------------


def test_other_settings_for_the_same_folder_are_refused(videos: Path, straight: Path) -> None:
    other = changed(quality=50, seed=3)
    with pytest.raises(ConfigError, match=r"was prepared with quality = 95, not 50, seed = 0, not 3"):
        prepare(videos, straight, other)


def test_one_video_can_be_prepared_without_a_split(videos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"only one identity, 'bob\.mp4'.*--val-share 0"):
        prepare(videos / "bob.mp4", tmp_path, SMALL)
    result = prepare(videos / "bob.mp4", tmp_path, changed(val_share=0))
    assert result.samples == {"train": 1}


def test_only_one_identity_with_a_face_is_told_before_packing(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    for name in ("bob", "short"):
        (tmp_path / f"videos/{name}.mp4").write_bytes((videos / f"{name}.mp4").read_bytes())
    with pytest.raises(ConfigError, match="only one identity"):
        prepare(tmp_path / "videos", tmp_path / "data", SMALL)
    free = changed(val_share=0)
    result = prepare(tmp_path / "videos", tmp_path / "data", free)  # and what was done is not done again
    assert (len(result.outcomes), result.samples) == (0, {"train": 1})


def test_folder_without_a_face_says_what_each_video_gave(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    for name in ("a", "b"):
        write_video(tmp_path / f"videos/{name}.mp4", np.full((40, 64, 64, 3), 90, dtype=np.uint8))
    (tmp_path / "videos/c.mp4").write_bytes(b"x")
    with pytest.raises(NoFaceError, match=r"3 videos: 2 \(a\.mp4, \.\.\.\): no face in any frame; 1 \(c\.mp4\)"):
        prepare(tmp_path / "videos", tmp_path / "data", SMALL)


def write_table(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(["source,identity,split", *rows]) + "\n")
    return path


def test_table_says_who_is_who_and_on_which_side(videos: Path, tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.csv", "bob.mp4,Bob,val", "zoe.mp4,Bob,", "eve.mp4,,train")
    prepare(videos, tmp_path / "data", SMALL, table=table)
    sides = json.loads((tmp_path / "data/split.json").read_text())
    assert sorted(sides) == ["Bob", "ann/monday.mp4", "ann/tuesday.mp4", "eve.mp4"]
    assert (sides["Bob"], sides["eve.mp4"]) == ("val", "train")
    assert {sample.source for _, sample in samples_of(tmp_path / "data").values() if sample.identity == "Bob"} == {
        "bob.mp4",
        "zoe.mp4",
    }


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (
            ["bob.mp4,Bob,val", "zoe.mp4,Bob,train"],
            r"'Bob' is in both splits: val in .*\(bob\.mp4\)",
        ),
        (["rob.mp4,Rob,val"], r"line 2: no video 'rob\.mp4'; expected .* such as 'ann/monday\.mp4'"),
        (["bob.mp4,Bob,test"], "split is 'test'; expected train or val"),
    ],
)
def test_table_that_cannot_be_used_is_refused(rows: list[str], says: str, videos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=says):
        prepare(videos, tmp_path / "data", SMALL, table=write_table(tmp_path / "t.csv", *rows))
    assert not list(tmp_path.glob("data/shards/*"))


def test_table_against_the_split_of_earlier_data_is_refused(videos: Path, straight: Path, tmp_path: Path) -> None:
    sides = json.loads((straight / "split.json").read_text())
    name = next(name for name in sides if sides[name] == "train")
    with pytest.raises(ConfigError, match=f"'{name}' is in both splits"):
        prepare(videos, straight, SMALL, table=write_table(tmp_path / "t.csv", f"{name},,val"))


def test_folders_as_identities_keep_their_videos_together(videos: Path, tmp_path: Path) -> None:
    prepare(videos, tmp_path, changed(identity="folder"))
    sides = json.loads((tmp_path / "split.json").read_text())
    assert sorted(sides) == ["ann", "bob.mp4", "eve.mp4", "zoe.mp4"]


def test_video_that_is_somebody_else_now_is_refused(videos: Path, tmp_path: Path) -> None:
    def stop(outcome: Outcome, to_do: int) -> None:
        if outcome.source == "zoe.mp4":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(videos, tmp_path / "data", SMALL, on_outcome=stop)
    with pytest.raises(ConfigError, match=r"was prepared as 'bob\.mp4' and is 'Rob' now"):
        prepare(videos, tmp_path / "data", SMALL, table=write_table(tmp_path / "t.csv", "bob.mp4,Rob,"))


def test_videos_of_several_folders_keep_their_names_apart(videos: Path, tmp_path: Path) -> None:
    result = prepare([videos / "ann", videos / "bob.mp4"], tmp_path, SMALL)
    assert [outcome.source for outcome in result.outcomes] == ["ann/monday.mp4", "ann/tuesday.mp4", "bob.mp4"]
    with pytest.raises(VideoNotFoundError, match="no such folder of videos"):
        prepare([videos, videos / "nobody"], tmp_path, SMALL)


# Segments -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "lengths"),
    [
        ({}, [80]),
        ({"segment_frames": 40}, [40, 40]),
        ({"segment_frames": 49}, [49, 31]),
        ({"segment_frames": 50}, [80]),  # 30 would be too few for a clip
        ({"segment_frames": 10, "min_frames": 10}, [10] * 8),
        ({"fps": 12.5}, [40]),
    ],
)
def test_long_track_is_split_into_segments_and_no_frame_is_lost(
    changes: dict[str, Any], lengths: list[int], videos: Path, tmp_path: Path
) -> None:
    config = changed(val_share=0, **changes)
    prepare(videos / "zoe.mp4", tmp_path, config)
    found = [sample for _, sample in samples_of(tmp_path).values()]
    assert [sample.num_frames for sample in found] == lengths
    step = 2 if "fps" in changes else 1
    assert [sample.first_frame for sample in found] == [step * sum(lengths[:index]) for index in range(len(lengths))]
