"""The yardstick: turns, ratios, the report, and both workers' protocol. The reference itself is not run here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks.__main__ import main
from benchmarks.contest import REFERENCE, Contestant, UnavailableError, Worker, compare, take_turns
from benchmarks.gpu import dtypes_of, measure_encoder
from benchmarks.inputs import hour_video, make_checkpoint, resized_copy
from benchmarks.machine import GFLOP_PER_CLIP, SHAPES, clip_gflop, describe_machine, measure_gemm
from benchmarks.report import draw, write_table
from benchmarks.rows import ROWS
from matplotlib.image import imread
from tests.conftest import ROOT
from tests.patience import HANG_S

from marlin_sdk import Marlin
from marlin_sdk.config import PRESETS
from marlin_sdk.video.reader import open_video

SMALL = "marlin_vit_small_ytf"


def quietly(_: str) -> None:
    """Say nothing."""


def contestant(label: str, seconds: list[float], log: list[str], features: Path | None = None) -> Contestant:
    turns = iter(seconds)

    def measure() -> dict[str, Any]:
        log.append(label)
        return {"seconds": next(turns), "count": 2}

    def prepare() -> None:
        log.append(f"{label} ready")

    return Contestant(label, measure, goal=(1.5, 3.0), features=features, prepare=prepare)


def run(*arguments: str | Path, module: str = "benchmarks") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=HANG_S)


def test_all_get_ready_and_then_take_turns() -> None:
    log: list[str] = []
    sides = [contestant("a", [1, 2], log), contestant("b", [3, 4], log)]
    answers = take_turns(sides, 2, quietly)
    assert log == ["a ready", "b ready", *["a", "b"] * 2]
    assert [answer["seconds"] for answer in answers["b"]] == [3, 4]


def test_ratio_is_taken_within_each_round() -> None:
    log: list[str] = []
    sides = [contestant(REFERENCE, [4, 40, 6], log), contestant("ours", [2, 10, 1], log)]
    results = compare(sides, take_turns(sides, 3, quietly))
    assert results["ours"]["ratios"] == [2, 4, 6]
    assert results["ours"]["ratio"] == 4
    assert results[REFERENCE]["median_s"] == 6
    assert "ratio" not in results[REFERENCE]


def test_side_that_fails_is_named_and_the_others_go_on() -> None:
    def fail() -> dict[str, Any]:
        raise UnavailableError("no such runtime")

    log: list[str] = []
    sides = [Contestant("broken", fail), contestant("ours", [1, 1], log), Contestant("absent", fail, prepare=fail)]
    results = compare(sides, take_turns(sides, 2, quietly))
    assert results["broken"] == results["absent"] == {"error": "no such runtime"}
    assert results["ours"]["seconds"] == [1, 1]


def test_features_are_compared_with_the_reference(tmp_path: Path) -> None:
    theirs, ours = tmp_path / "theirs.npy", tmp_path / "ours.npy"
    np.save(theirs, np.array([[1.0, 0.0], [0.0, 2.0]]))
    np.save(ours, np.array([[1.0, 0.0], [1.0, 1.0]]))
    log: list[str] = []
    sides = [contestant(REFERENCE, [1], log, theirs), contestant("ours", [1], log, ours)]
    results = compare(sides, take_turns(sides, 1, quietly))
    assert results["ours"]["cosine"] == pytest.approx(0.5**0.5)
    assert results["ours"]["r2_within"] == pytest.approx(0.6)
    assert results["ours"]["max_difference"] == 1
    np.save(ours, np.zeros((3, 2)))
    assert compare(sides, take_turns([], 0, quietly) | {side.label: [{"seconds": 1}] for side in sides})["ours"][
        "features"
    ].startswith("(3, 2)")


def test_worker_answers_and_names_what_it_cannot_do(tmp_path: Path) -> None:
    worker = Worker(Path(sys.executable), "benchmarks.sdk_worker", [ROOT / "src", ROOT], 2, tmp_path / "log")
    try:
        given = {"checkpoint": "no/such.encoder.pt", "threads": 2, "detector": "lbp", "options": {}}
        with pytest.raises(UnavailableError, match=r"no/such\.encoder\.pt"):
            worker.ask("open", **given)
        weights = make_checkpoint(SMALL, tmp_path)
        assert worker.ask("open", **{**given, "checkpoint": str(weights)}) == {}
        clips, saved = tmp_path / "clips.npy", tmp_path / "features.npy"
        np.save(clips, np.random.default_rng(0).integers(0, 256, (1, 16, 224, 224, 3), dtype=np.uint8))
        answer = worker.ask("encode", clips=str(clips), save_to=str(saved))
        assert answer["count"] == 1
        assert answer["seconds"] > 0
        model = Marlin.from_pretrained(weights, device="cpu")
        np.testing.assert_allclose(np.load(saved), model.extract_clip(np.load(clips)).numpy(), atol=1e-5)
    finally:
        worker.close()


@pytest.mark.shared
def test_checkpoint_is_the_recipe_of_the_reference_data(tmp_path: Path, shared: Path) -> None:
    model = Marlin.from_pretrained(make_checkpoint(SMALL, tmp_path), device="cpu")
    clip = np.random.default_rng(0).random((1, 3, 16, 224, 224), dtype=np.float32)
    with np.load(shared / f"golden/{SMALL}.expected.npz") as expected:
        np.testing.assert_allclose(model.extract_clip(clip).numpy(), expected["pooled"], atol=1e-5)


def test_resized_copy_has_the_size_and_the_frames(tmp_path: Path, astronaut: Path) -> None:
    copy = resized_copy(astronaut, 320, 180, 130, tmp_path)  # longer than the example, which starts again
    with open_video(copy) as reader:
        frames = list(reader)
    assert len(frames) == 130
    assert frames[-1].rgb.shape == (180, 320, 3)
    assert np.abs(frames[0].rgb.astype(int) - frames[100].rgb).mean() < 6
    assert resized_copy(astronaut, 320, 180, 130, tmp_path) == copy


def test_long_video_is_the_example_again_and_again(tmp_path: Path, astronaut: Path) -> None:
    with open_video(hour_video(tmp_path, 20)) as reader, open_video(astronaut) as example:
        frames = list(reader)
        first = next(iter(example)).rgb
    assert len(frames) == 500
    assert reader.warnings == []
    assert frames[-1].time_s == pytest.approx(19.96)
    np.testing.assert_array_equal(frames[400].rgb, first)


@pytest.mark.parametrize("name", GFLOP_PER_CLIP)
def test_operations_of_a_clip_add_up(name: str) -> None:
    config = PRESETS[name]
    counted = clip_gflop(config.encoder_embed_dim, config.encoder_depth, config.num_tokens, config.patch_dim)
    assert sum(counted.values()) == pytest.approx(GFLOP_PER_CLIP[name], rel=0.01)


def test_matrices_are_multiplied_at_a_rate_that_can_be() -> None:
    rate = measure_gemm(torch.float32, least_s=0.05, shapes=SHAPES[:1])
    cores = describe_machine(2)["cores"]
    assert 0.1 < rate < 500 * cores


def test_command_measures_a_row_and_goes_on_where_it_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("--quick", "--without-peer", "--rows", "import", "--out", tmp_path)
    done = run(*asked)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "cpu.json").read_text())
    assert results["quick"]
    assert results["notes"] == ["the reference was not run (--without-peer)"]
    row = results["rows"]["import"]["contestants"]["import marlin_sdk"]
    assert len(row["seconds"]) == 2
    assert 0 < row["median_s"] < 30
    table = (tmp_path / "cpu.md").read_text()
    assert "--quick: no result" in table
    assert "| import, and --help | marlin-extract --help |" in table
    assert imread(tmp_path / "cpu.png").std() > 0.01
    main(list(map(str, asked)))
    assert "--again measures it anew" in capsys.readouterr().err
    assert json.loads((tmp_path / "cpu.json").read_text())["rows"] == results["rows"]
    with pytest.raises(SystemExit, match="another rounds"):
        main([*map(str, asked), "--rounds", "3"])


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [(("--rounds", "4"), "at least 5"), (("--rows", "import,nothing"), "no such row: nothing")],
)
def test_command_refuses_what_makes_no_result(
    arguments: tuple[str, ...], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refusal:
        main([*arguments, "--without-peer", "--out", str(tmp_path)])
    assert refusal.value.code == 2
    assert reason in capsys.readouterr().err


def test_report_names_goals_floor_memory_and_failures(tmp_path: Path) -> None:
    ours = {"seconds": [2.0], "median_s": 2.0, "count": 2, "ratios": [1.7], "ratio": 1.7, "goal": [1.6, 1.8]}
    theirs = {"seconds": [3.4], "median_s": 3.4, "count": 2}
    sides = {
        REFERENCE: theirs,
        "torch fp32": {**ours, "cosine": 0.99995, "r2_within": 0.97},
        "openvino int8": {"error": "no | VNNI"},
    }
    memory = {"torch fp32": {"video": "hour.mp4", "peak_mb": 210.4, "peaks_mb": [200.0, 210.4]}}
    results = {
        "machine": {"cpu": "Some CPU", "threads": 2, "flags": ["avx2"], "cores": 2, "memory_gb": 8, "system": "Linux"},
        "versions": {"marlin-sdk": {"torch": "2"}, "marlin-pytorch": None},
        "quick": False,
        "rounds": 5,
        "notes": ["a note"],
        "rows": {
            "gemm": {"title": "g", "contestants": {}, "gflops": {"fp32": 722.0, "bf16": 1.0, "int8": 1.0}},
            "encoder-base": {"title": "B", "unit": "clip", "model": "marlin_vit_base_ytf", "contestants": sides},
            "memory": {"title": "M", "unit": "MB", "contestants": memory},
        },
    }
    write_table(results, tmp_path / "table.md")
    table = (tmp_path / "table.md").read_text()
    assert "| B | torch fp32 | 1 a clip | **1.7** (1.7 to 1.7) | 1.6, 1.8: reached | 0.9700 | 0.999950 |" in table
    assert "| B | openvino int8 | not measured: no / VNNI |" in table
    assert "| B | torch fp32 | 361 | 0.5 | 1 | 50% |" in table
    assert "| torch fp32 | hour.mp4 | 210 | 200 210 |" in table
    draw(results, tmp_path / "plot.png")
    assert imread(tmp_path / "plot.png").std() > 0.01


def test_every_kind_of_row_of_the_plan_is_there() -> None:
    kinds = "gemm check encoder-small encoder-base encoder-large cropped-base wild-240p wild-360p wild-720p-small "
    kinds += "wild-720p-base wild-1080p-base import first memory pieces"
    assert set(kinds.split()) <= set(ROWS)


def test_gpu_encoder_numbers_fit_together() -> None:
    measured = measure_encoder("cpu", quick=True)
    assert tuple(measured["gemm_gflops"]) == dtypes_of("cpu")
    assert {row["dtype"] for row in measured["encoder"]} == set(dtypes_of("cpu"))
    for row in measured["encoder"]:
        peak = measured["gemm_gflops"][row["dtype"]]
        assert row["share_of_peak"] == pytest.approx(row["clips_per_s"] * 114 / peak)
        assert row["clips_per_s"] > 0


@pytest.mark.shared
@pytest.mark.long
def test_gpu_command_runs_on_the_cpu(tmp_path: Path) -> None:
    done = run("--device", "cpu", "--quick", "--without-peer", "--out", tmp_path, module="benchmarks.gpu")
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "gpu.json").read_text())
    wild = results["pipeline"][f"{SMALL}, 360p"]
    assert set(wild["parts_per_s"]) >= {"decode", "convert", "detect", "crop", "encode"}
    assert wild["windows_per_s"] < wild["parts_per_s"]["crop"]
    for dtype in dtypes_of("cpu"):
        assert f"| marlin_vit_small_ytf | {dtype} | 1 |" in (tmp_path / "gpu.md").read_text()


def test_a_cpu_is_not_measured_in_a_dtype_that_it_emulates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.gpu.cpu_flags", lambda: frozenset({"avx2"}))
    assert dtypes_of("cpu") == ("float32",)
    monkeypatch.setattr("benchmarks.gpu.cpu_flags", lambda: frozenset({"avx2", "amx_bf16"}))
    assert dtypes_of("cpu") == ("float32", "bfloat16")
    assert dtypes_of("cuda") == ("float32", "bfloat16", "float16")


def test_gpu_command_without_that_device_says_so(tmp_path: Path) -> None:
    done = run("--device", "cuda:63", "--without-peer", "--out", tmp_path, module="benchmarks.gpu")
    assert done.returncode == 2
    assert "--device cpu --quick" in done.stderr


def test_nothing_of_the_reference_is_in_the_package() -> None:
    for path in (ROOT / "src").rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        assert "import marlin_pytorch" not in source
        assert "from marlin_pytorch" not in source
        assert "benchmarks" not in source
