"""From a folder of raw videos to a model that `marlin-extract` uses, in three commands; and what each refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from tests.conftest import ROOT
from tests.generated_clips import GeneratedClips
from tests.integration.loopback import COMMIT, Loopback, Repo
from tests.making import TINY, lay, write_video
from tests.patience import HANG_S
from tests.unit.training.preparing import write_data

from marlin_sdk import Marlin, VideoFeatures
from marlin_sdk.cli.reconstruct import command as reconstruct_command
from marlin_sdk.cli.training.pretrain import command as pretrain_command
from marlin_sdk.training.pretrain.config import PretrainConfig
from marlin_sdk.training.pretrain.run import Run, pretrain
from marlin_sdk.video.reader import open_video
from marlin_sdk.weights.hub import MODEL_FILES
from marlin_sdk.weights.integrity import CHECKSUMS
from marlin_sdk.weights.upload import push_to_hub

SIZES = "\n".join(f"  {key}: {value}" for key, value in TINY.to_dict().items())
CONFIG = f"model:\n{SIZES}\nmax_steps: 4\nbatch_size: 1\nnum_workers: 1\naccelerator: cpu\nval_clips: 2\n"


def command(name: str, *arguments: str | Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"from marlin_sdk.cli.{name} import command; command()", *map(str, arguments)],
        env={**os.environ, **environment, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=HANG_S,
    )


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the tiny model."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    config = PretrainConfig(model=TINY, max_steps=2, batch_size=4, num_workers=0, accelerator="cpu")
    pretrain(config, folder, train=GeneratedClips(), run=Run(name="lab/tiny", data="Generated clips."))
    return folder


def three_commands(folder: Path, detector: str | Path, no_network: Mapping[str, str]) -> VideoFeatures:
    config = lay(folder / "tiny.yaml", CONFIG.encode())
    sizes = ("--size", "32", "--patch-size", "16", "--val-share", "0.3", "--workers", "1")
    done = command(
        "training.prepare",
        folder / "videos",
        "-o",
        folder / "data",
        "--detector",
        detector,
        *sizes,
        environment=no_network,
    )
    assert done.returncode == 0, done.stderr
    done = command(
        "training.pretrain", "--data", folder / "data", "--config", config, "-o", folder / "run", environment=no_network
    )
    assert done.returncode == 0, done.stderr
    assert "4 steps done, loss 0." in done.stderr
    assert "on held-out clips" in done.stderr
    video = sorted((folder / "videos").iterdir())[0]
    extract = [sys.executable, "-m", "marlin_sdk.cli", str(video), "-o", str(folder / "features")]
    done = subprocess.run(
        [*extract, "--model", str(folder / "run"), "--detector", str(detector)],
        env={**no_network, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=HANG_S,
    )
    assert done.returncode == 0, done.stderr
    return VideoFeatures.load(folder / "features" / f"{video.stem}.npz")


def test_three_commands_lead_from_videos_to_features(
    tmp_path: Path, astronaut: Path, no_network: Mapping[str, str]
) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    with open_video(astronaut) as reader:
        frames = np.stack([frame.rgb for frame in reader])
    lossless = {"qp": "0"}  # libx264 of some builds gives another file each time, and the cascade finds other faces
    write_video(videos / "one.mp4", frames[:60], options=lossless)
    write_video(videos / "two.mp4", frames[:60, :, 8:-8], options=lossless)
    features = three_commands(tmp_path, "lbp", no_network)
    assert features.features.shape == (2, 32)
    assert features.meta["model"] == str(tmp_path / "run")
    card = (tmp_path / "run" / "README.md").read_text()
    assert "2 identities from 2 videos" in " ".join(card.split())


@pytest.mark.shared
@pytest.mark.long
def test_three_commands_on_the_real_media(tmp_path: Path, shared: Path, no_network: Mapping[str, str]) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in ("video01.mp4", "video03.mp4", "cropped01.mp4"):
        (videos / name).write_bytes((shared / "media" / name).read_bytes())
    features = three_commands(tmp_path, shared / "weights" / "face_detection_yunet_2023mar.onnx", no_network)
    assert features.features.shape[1] == 32
    assert len(features) >= 4
    assert np.isfinite(features.features).all()


def test_pretraining_without_data_is_a_usage_error(tmp_path: Path) -> None:
    done = CliRunner().invoke(pretrain_command, ["--data", str(tmp_path / "none"), "-o", str(tmp_path / "run")])
    assert done.exit_code == 2
    assert str(tmp_path / "none") in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--mask-ratio", "1.5"), "mask_ratio is 1.5"),
        (("--model", "marlin_vit_huge"), "unknown model 'marlin_vit_huge'"),
        (("--resume",), "holds no run to resume"),
        (("--config", "none.yaml"), "none.yaml cannot be read"),
    ],
)
def test_setting_that_cannot_be_used_is_a_usage_error(tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    done = CliRunner().invoke(pretrain_command, ["--data", str(tmp_path), "-o", str(tmp_path / "run"), *options])
    assert done.exit_code == 2
    assert said in done.stderr


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"), dict.fromkeys("abcd", 40))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--config", "other.yaml"), "batch_size 4 then, 2 now"),
        (("--preset", "videomae"), "masking 'fasking' then, 'tube' now"),
        (("--init", "marlin_vit_small_ytf"), "--init starts a new run"),
    ],
)
def test_nothing_asked_of_a_run_that_goes_on_is_passed_over(
    tmp_path: Path, data: Path, tiny_run: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    lay(tmp_path / "other.yaml", b"batch_size: 2\n")
    done = CliRunner().invoke(pretrain_command, ["--data", str(data), "-o", str(tiny_run), "--resume", *options])
    assert done.exit_code == 2
    assert said in " ".join(done.stderr.split())


def test_folder_that_cannot_be_written_is_told_without_a_traceback(tmp_path: Path, data: Path) -> None:
    config = lay(tmp_path / "tiny.yaml", CONFIG.encode())
    lay(tmp_path / "file", b"no folder")
    arguments = ["--data", str(data), "--config", str(config), "-o", str(tmp_path / "file" / "run")]
    done = CliRunner().invoke(pretrain_command, arguments)
    assert done.exit_code == 1
    assert "cannot be written" in done.stderr


def test_reconstruct_writes_a_video_and_a_sheet(
    tmp_path: Path, tiny_run: Path, small_video: Path, no_network: Mapping[str, str]
) -> None:
    """60 frames, every second one: two windows, the second with 14 real frames."""
    out = tmp_path / "out.mp4"
    done = command(
        "reconstruct", small_video, "-o", out, "--model", tiny_run, "--detector", "lbp", environment=no_network
    )
    assert done.returncode == 0, done.stderr
    assert "2 windows, 30 frames, mean squared error 0." in done.stderr
    with open_video(out) as reader:
        frames = [frame.rgb for frame in reader]
        assert reader.fps == pytest.approx(12.5)
    assert len(frames) == 30
    assert frames[0].shape == (4 + 32, 4 * 32 + 3 * 4, 3)
    with open_video(small_video) as reader:
        first = next(iter(reader)).rgb
    assert np.abs(frames[0][4:, :32].astype(int) - first).mean() < 10
    assert np.abs(frames[0][4:, 36:68].astype(int) - 128).min() < 3  # something is hidden
    sheet = cv2.imread(str(tmp_path / "out.png"))
    assert sheet is not None
    assert sheet.shape == (4 + 2 * 4 + 6 * 32 + 7 * 4, 4 * 32 + 3 * 4, 3)  # a title above each window


def test_reconstruct_needs_a_decoder(
    tmp_path: Path, tiny_folder: Path, small_video: Path, no_network: Mapping[str, str]
) -> None:
    done = command(
        "reconstruct", small_video, "-o", tmp_path / "out.mp4", "--model", tiny_folder, environment=no_network
    )
    assert done.returncode == 2
    assert "holds no decoder" in done.stderr
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize("options", [("-o", "talk.mp4"), ("-o", "out.mp4", "--sheet", "./out.mp4")])
def test_reconstruct_writes_over_nothing_of_its_own(
    tmp_path: Path, tiny_run: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    video = lay(tmp_path / "talk.mp4", b"a video")
    done = CliRunner().invoke(reconstruct_command, ["talk.mp4", "--model", str(tiny_run), *options])
    assert done.exit_code == 2
    assert "must be different files" in done.stderr
    assert video.read_bytes() == b"a video"


@pytest.mark.parametrize(
    ("target", "options", "said"),
    [
        ("true", [], "was trained on normalised tubelets (pretrain.yaml); add --normalised"),
        ("false", ["--normalised"], "was not trained on normalised tubelets (pretrain.yaml); remove --normalised"),
    ],
)
def test_reconstruct_shows_what_a_run_was_trained_to_rebuild(
    target: str, options: list[str], said: str, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/pretrain.yaml").write_text(f"normalise_target: {target}\n")
    given = ["talk.mp4", "-o", "out.mp4", "--model", str(tmp_path / "run"), *options]
    done = CliRunner().invoke(reconstruct_command, given)
    assert done.exit_code == 2
    assert said in " ".join(done.output.split())


def test_reconstruct_of_a_video_that_is_none_fails(
    tmp_path: Path, tiny_run: Path, no_network: Mapping[str, str]
) -> None:
    junk = lay(tmp_path / "junk.mp4", b"no video")
    done = command("reconstruct", junk, "-o", tmp_path / "out.mp4", "--model", tiny_run, environment=no_network)
    assert done.returncode == 1
    assert "junk.mp4" in done.stderr
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # huggingface_hub's own way to send files
def test_push_uploads_the_files_of_a_run_and_nothing_else(tiny_run: Path, server: Loopback) -> None:
    server.may_write = "hf_test"
    address = push_to_hub(tiny_run, "lab/tiny", token="hf_test")
    repo = server.repos["lab/tiny"]
    commit = repo.branches["main"]
    assert address.endswith(f"/lab/tiny/commit/{commit}")
    assert repo.commits[commit] == {name: (tiny_run / name).read_bytes() for name in (*MODEL_FILES, CHECKSUMS)}


def test_hub_folder_of_a_run_comes_back_from_the_hub(tiny_run: Path, server: Loopback, tmp_path: Path) -> None:
    files = {name: (tiny_run / name).read_bytes() for name in MODEL_FILES}
    server.repos["lab/tiny"] = Repo(commits={COMMIT: files}, branches={"main": COMMIT})
    model = Marlin.from_pretrained("lab/tiny", decoder=True, device="cpu", cache_dir=tmp_path / "cache")
    clip = np.zeros((16, 32, 32, 3), dtype=np.uint8)
    here = Marlin.from_pretrained(tiny_run, decoder=True, device="cpu")
    assert np.array_equal(model.extract_clip(clip).numpy(), here.extract_clip(clip).numpy())
    assert json.loads(files["config.json"])["decoder_depth"] == 1


def test_a_probe_on_labelled_windows_is_logged_and_changes_nothing_else(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", {"a": 40, "b": 40}, {f"held{number}": 60 for number in range(4)})
    rows = [
        f"held{number}.mp4,{start},{start + 4},{label},{'train' if number % 2 else 'test'}"
        for number in range(4)
        for start, label in ((14, "early"), (40, "late"))
    ]
    labels = lay(tmp_path / "labels.csv", "\n".join(["source,start_frame,end_frame,label,part", *rows]).encode())
    config = lay(tmp_path / "tiny.yaml", CONFIG.encode())
    arguments = ["--data", str(data), "--config", str(config), "--num-workers", "0", "--masking", "random"]
    runs = {
        "probed": ["--probe", str(labels), "--probe-every", "2"],
        "plain": [],
    }
    for name, more in runs.items():
        done = CliRunner().invoke(pretrain_command, [*arguments, *more, "-o", str(tmp_path / name)])
        assert done.exit_code == 0, done.output
    logged = [json.loads(line) for line in (tmp_path / "probed" / "metrics.jsonl").read_text().splitlines()]
    probes = {line["step"]: line for line in logged if "probe/mean" in line}
    assert list(probes) == [0, 2, 4]
    assert {line["probe/majority"] for line in probes.values()} == {0.5}
    assert all(0 <= line[f"probe/{pool}"] <= 1 for line in probes.values() for pool in ("mean", "time"))
    content = [(tmp_path / name / "model.safetensors").read_bytes() for name in runs]
    assert content[0] == content[1]

    trained = lay(tmp_path / "trained.csv", labels.read_bytes() + b"\na.mp4,14,18,early,test")
    refused = CliRunner().invoke(
        pretrain_command, [*arguments, "--probe", str(trained), "-o", str(tmp_path / "refused")]
    )
    assert refused.exit_code == 2
    assert "source 'a.mp4' is in the test part, and the encoder is trained on it" in refused.output
    assert not (tmp_path / "refused").exists()
