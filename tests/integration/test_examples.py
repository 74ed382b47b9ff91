"""The scripts in examples/ run, and make what they say."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from tests.conftest import ROOT
from tests.integration.conftest import Command
from tests.integration.warm import WarmServer
from tests.making import noise, write_video
from tests.patience import HANG_S
from tests.unit.training.finetune.labelling import clips as labelled_clips

from marlin_sdk import Marlin
from marlin_sdk.dump.reading import FeatureDump

EXAMPLES = ROOT / "examples"
InShell = Callable[..., subprocess.CompletedProcess[str]]


def run(script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", EXAMPLES / script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=HANG_S)


def test_crop_strip_shows_a_face_for_every_window(tmp_path: Path, astronaut: Path) -> None:
    done = run("crop_strip.py", astronaut, "-o", tmp_path / "strip.png", "--detector", "lbp")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'strip.png'}: 4 windows, 3.96 s\n"
    made = imread(tmp_path / "strip.png")[..., :3]
    shown = imread(ROOT / "docs" / "assets" / "crop-strip.png")[..., :3]
    assert made.shape == shown.shape
    # Fonts, codecs and boxes differ a little from one machine to the next; without the crops it differs by a fifth.
    assert np.abs(made - shown).mean() < 0.04
    assert np.abs(1 - shown).mean() > 0.15


def test_crop_strip_of_a_video_without_a_face_says_so(tmp_path: Path) -> None:
    video = write_video(tmp_path / "grey.mp4", np.full((20, 96, 128, 3), 90, dtype=np.uint8))
    done = run("crop_strip.py", video, "-o", tmp_path / "strip.png", "--detector", "lbp")
    assert done.returncode != 0
    assert "NoFaceError" in done.stderr
    assert not (tmp_path / "strip.png").exists()


@pytest.mark.shared
def test_crop_strip_takes_a_detector_file(tmp_path: Path, astronaut: Path, shared: Path) -> None:
    yunet = shared / "weights" / "face_detection_yunet_2023mar.onnx"
    done = run("crop_strip.py", astronaut, "-o", tmp_path / "strip.png", "--detector", yunet)
    assert done.returncode == 0, done.stderr
    assert "4 windows" in done.stdout


def test_example_video_is_what_its_script_makes(tmp_path: Path, astronaut: Path) -> None:
    """Frame by frame and not byte by byte: another build of x264 writes other bytes."""
    from marlin_sdk.video.reader import open_video

    done = run("make_astronaut.py", tmp_path / "again.mp4")
    assert done.returncode == 0, done.stderr
    with open_video(astronaut) as first, open_video(tmp_path / "again.mp4") as second:
        pairs = list(zip(first, second, strict=True))
        assert len(pairs) == 100
        for ours, theirs in pairs[::9]:
            assert ours.time_s == theirs.time_s
            assert np.abs(ours.rgb.astype(int) - theirs.rgb).mean() < 2


# The examples for dumps -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten small videos, cropped already, dark and bright in turn, with a table that says which."""
    folder = tmp_path_factory.mktemp("clips")
    lines = ["path,mood"]
    for index in range(10):
        frames = noise(40, 32, 32, seed=index) // 4 + 190 * (index % 2)
        write_video(folder / f"{index}.mp4", frames.astype(np.uint8))
        lines.append(f"{index}.mp4,{('dark', 'bright')[index % 2]}")
    (folder / "clips.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def in_shell(warm_server: WarmServer, tmp_path_factory: pytest.TempPathFactory) -> InShell:
    """Run a script of examples/ in a folder, with commands that need not import everything again."""
    stand_ins = warm_server.write_stand_ins(tmp_path_factory.mktemp("commands") / "bin")
    path = os.pathsep.join([str(stand_ins), str(Path(sys.executable).parent), os.environ["PATH"]])

    def run(script: str, folder: Path, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", str(EXAMPLES / script), *map(str, arguments)]
        environment = {**os.environ, "PATH": path, **variables}
        return subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=HANG_S
        )

    return run


def test_slurm_script_is_sound(shellcheck: str) -> None:
    done = subprocess.run([shellcheck, EXAMPLES / "slurm.sh"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_slurm_jobs_share_the_videos(tmp_path: Path, clips: Path, tiny_folder: Path, in_shell: InShell) -> None:
    usual = ("--model", tiny_folder, "--device", "cpu")
    for part in ("1", "2"):
        done = in_shell(
            "slurm.sh",
            tmp_path,
            *usual,
            VIDEOS=str(clips),
            DUMP="dump",
            SLURM_ARRAY_TASK_ID=part,
            SLURM_ARRAY_TASK_COUNT="2",
            SLURM_CPUS_PER_TASK="2",
        )
        assert done.returncode == 0, done.stderr
    shards = [f"features-{part}-of-2-00001.parquet" for part in (1, 2)]
    assert sorted(path.name for path in (tmp_path / "dump").glob("*.parquet")) == shards
    dump = FeatureDump(tmp_path / "dump")
    assert sorted(dump) == [str(index) for index in range(10)]
    again = in_shell("slurm.sh", tmp_path, *usual, VIDEOS=str(clips), DUMP="dump", SLURM_ARRAY_TASK_ID="2", PARTS="2")
    assert again.returncode == 0, again.stderr
    assert "done before" in again.stderr


def test_slurm_script_without_an_array_says_what_to_do(tmp_path: Path, in_shell: InShell) -> None:
    done = in_shell("slurm.sh", tmp_path, VIDEOS="videos", DUMP="dump")
    assert done.returncode != 0
    assert "run it with sbatch --array=1-16" in done.stderr


def test_a_probe_trained_on_a_dump_tells_dark_from_bright(tmp_path: Path, clips: Path, command: Command) -> None:
    made = command("--table", clips / "clips.csv", "-o", tmp_path / "dump", "--format", "parquet")
    assert made.returncode == 0, made.stderr
    done = run("train_on_dump.py", tmp_path / "dump", "--label", "mood", "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "2 classes, 8 videos to train on, 2 of 2 others right"


def test_loop_of_ones_own_trains_the_encoder_and_saves_it(tmp_path: Path, tiny: Marlin, tiny_folder: Path) -> None:
    table, faces = labelled_clips(tmp_path / "clips")
    settings = ("--label", "mood", "--model", tiny_folder, "--epochs", "6", "--lr", "0.003")
    done = run("finetune_loop.py", table, faces, *settings, "-o", tmp_path / "tuned")
    assert done.returncode == 0, done.stderr
    *losses, result = done.stdout.splitlines()
    assert len(losses) == 6
    assert result == f"{tmp_path / 'tuned'}: 16 of 16 windows of the test clips right"
    tuned = Marlin.from_pretrained(tmp_path / "tuned", device="cpu", detector="lbp")
    clip = noise(16, 32, 32)
    assert not np.allclose(tuned.extract_clip(clip), tiny.extract_clip(clip), atol=1e-3)


def test_ray_example_makes_a_dump_of_a_table(tmp_path: Path, clips: Path, tiny_folder: Path) -> None:
    table = tmp_path / "clips.csv"
    table.write_text("path,mood\n" + "".join(f"{clips / f'{index}.mp4'},calm\n" for index in range(3)))
    done = subprocess.run(
        [sys.executable, EXAMPLES / "ray_dump.py", table, "dump", "--model", tiny_folder, "--actors", "1"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONWARNINGS": "default", "RAY_USAGE_STATS_ENABLED": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=HANG_S,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "3 videos with features in dump"
    assert [FeatureDump(tmp_path / "dump").labels(id) for id in "012"] == [{"mood": "calm"}] * 3
