"""`marlin-extract` in this process: arguments, exit codes, what is said."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from tests.making import lay, noise, write_checkpoint, write_video

from marlin_sdk import ExtractionConfig, Marlin, VideoFeatures, __version__
from marlin_sdk.cli.extract import main
from marlin_sdk.dump.reading import FeatureDump


@dataclass(frozen=True)
class Result:
    """How the command ended, and what it printed."""

    exit_code: int
    stdout: str
    stderr: str


Run = Callable[..., Result]
OUT = Path("out")


@pytest.fixture(scope="module")
def tiny_folder(tiny: Marlin, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("tiny"), tiny)


@pytest.fixture
def run(tiny_folder: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command with the tiny model, unless the arguments say otherwise; what it raises, a test sees."""

    def run_it(*arguments: str | Path) -> Result:
        usual = ["--model", str(tiny_folder), "--detector", "lbp", "--device", "cpu"]
        with pytest.raises(SystemExit) as ended:
            main([*usual, *map(str, arguments)], prog_name="marlin-extract")
        assert isinstance(ended.value.code, int)
        return Result(ended.value.code, *capsys.readouterr())

    return run_it


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """60 frames of 32x32."""
    folder = lay(tmp_path / "in" / "notes.txt", b"no video").parent
    return write_video(folder / "small.mp4", noise(60, 32, 32))


def files(folder: Path = OUT) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def features(folder: Path = OUT) -> list[str]:
    """All but what a dump tells of itself."""
    own = ("manifest.jsonl", "settings.json", "_manifest.jsonl", "_settings.json")
    return [name for name in files(folder) if name not in own and not name.startswith(".locks/")]


def test_columns_of_a_table_may_have_other_names_and_labels_are_typed(run: Run, small: Path) -> None:
    table = lay(small.with_name("clips.csv"), b"video,begin,stop,age,fake\nsmall.mp4,0,1,31,true\n")
    refused = run("--table", table, "-o", OUT)
    assert refused.exit_code == 2
    assert "column 'video'; if 'path' is meant, rename it or add --column video=path" in refused.stderr
    names = [word for pair in ("video=path", "begin=start_s", "stop=end_s") for word in ("--column", pair)]
    done = run("--table", table, *names, "-o", "-")
    assert (done.exit_code, json.loads(done.stdout.splitlines()[0])["labels"]) == (0, {"age": 31, "fake": True})
    assert run("--table", table, *names, "-o", OUT, "--format", "parquet").exit_code == 0
    dump = FeatureDump(OUT)
    (entry,) = dump.entries.values()
    assert (entry.id, entry.part, entry.labels) == ("small@0.00-1.00", (0, 1, None), {"age": 31, "fake": True})


def test_one_file_a_video_and_a_summary(run: Run, small: Path, tiny: Marlin) -> None:
    write_video(small.with_name("other.mkv"), noise(10, 32, 32))
    done = run(small.parent, "-o", OUT)
    assert (done.exit_code, done.stdout) == (0, "")
    assert features() == ["other.npz", "small.npz"]
    result = VideoFeatures.load(OUT / "small.npz")
    np.testing.assert_allclose(result.features, tiny.extract(small).features, atol=1e-6)
    assert result.meta["source"] == str(small)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("2 of 2 videos done: 3 rows, 0 windows skipped, 0 failed, ")


def test_folders_are_mirrored_and_names_never_clash(run: Run, small: Path) -> None:
    for name in ("a/talk.mp4", "b/talk.mp4", "b/talk.mkv"):
        lay(small.parent / name, small.read_bytes())
    more = lay(Path("more/talk.mp4"), small.read_bytes())
    done = run(small.parent, more, f"{small.parent}/a/../b/talk.mkv", "-o", OUT)
    assert done.exit_code == 0, done.stderr
    assert features() == ["a/talk.npz", "b/talk.mkv.npz", "b/talk.mp4.npz", "small.npz", "talk.npz"]
    sources = {VideoFeatures.load(OUT / name).meta["source"] for name in features()}
    assert len(sources) == 5


@pytest.mark.parametrize("suffix", ["npz", "npy", "safetensors"])
def test_formats(run: Run, small: Path, suffix: str) -> None:
    assert run(small, "-o", OUT, "--format", suffix).exit_code == 0
    assert features() == (["small.npy", "small.npy.json"] if suffix == "npy" else [f"small.{suffix}"])
    assert VideoFeatures.load(OUT / f"small.{suffix}").features.shape == (2, 32)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--stride 8 --sample-rate 1 --tail drop --batch-size 3", {"stride": 8, "sample_rate": 1, "tail": "drop"}),
        ("--fps 12.5", {"fps": 12.5}),
        ("--reduction max", {"reduction": "max"}),
        ("--keep-seq", {"keep_seq": True}),
        ("--pool time", {"pool": "time"}),
        ("--pool time --reduction max", {"pool": "time", "reduction": "max"}),
        ("--crop-face no", {"crop_face": False}),
        ("--faces all --detect-every 2 --no-smooth", {"faces": "all", "detect_every": 2, "smooth": False}),
        ("--compat marlin_pytorch", {"compat": "marlin_pytorch"}),
    ],
)
def test_options_reach_the_extraction(run: Run, small: Path, options: str, expected: dict[str, Any]) -> None:
    done = run(small, "-o", OUT, *options.split())
    assert done.exit_code == 0, done.stderr
    saved = VideoFeatures.load(OUT / "small.npz").meta["settings"]
    assert saved == {**ExtractionConfig().to_dict(), "batch_size": saved["batch_size"], **expected}
    assert saved["batch_size"] == (3 if "--batch-size" in options else 8)


def test_slices_are_printed_as_lists_and_resumed_only_as_slices(run: Run, small: Path) -> None:
    done = run(small, "-o", "-", "--pool", "time")
    assert done.exit_code == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [np.shape(line["feature"]) for line in lines] == [(8, 32)] * 2
    assert {np.shape(line["frame_index"]) for line in lines} == {(16,)}
    assert run(small, "-o", OUT, "--pool", "time").exit_code == 0
    assert VideoFeatures.load(OUT / "small.npz").by_time().features.shape == (15, 32)
    refused = run(small, "-o", OUT)
    assert (refused.exit_code, "settings.pool: 'time' there, None requested" in refused.stderr) == (2, True)
    assert "1 done before" in run(small, "-o", OUT, "--pool", "time").stderr


def test_every_setting_has_an_option_with_the_same_default() -> None:
    parsed = main.make_context("marlin-extract", ["in.mp4", "-o", "out"]).params
    defaults = ExtractionConfig().to_dict()
    of_a_table = {"start_s", "end_s", "track"}  # each video has its own
    assert defaults.keys() - parsed.keys() == of_a_table
    assert {name: parsed[name] for name in defaults.keys() - of_a_table} == {
        name: value for name, value in defaults.items() if name not in of_a_table
    }


def test_dtype_and_device_reach_the_model(run: Run, small: Path) -> None:
    assert run(small, "-o", OUT, "--dtype", "bfloat16").exit_code == 0
    meta = VideoFeatures.load(OUT / "small.npz").meta
    assert (meta["dtype"], meta["device"]) == ("bfloat16", "cpu")


def test_bad_video_costs_the_others_nothing(run: Run, small: Path) -> None:
    lay(small.with_name("broken.mp4"), b"no video at all")
    write_video(small.with_name("zebra.mp4"), noise(10, 32, 32))
    done = run(small.parent, "missing.mp4", "-o", OUT)
    assert done.exit_code == 1
    assert features() == ["small.npz", "zebra.npz"]
    failed = [line for line in done.stderr.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 2
    assert "broken.mp4" in failed[0]
    assert "no such video: missing.mp4 (VideoNotFoundError)" in failed[1]
    assert done.stderr.splitlines()[-1].startswith("2 of 4 videos done: 3 rows, 0 windows skipped, 2 failed, ")
    assert "Traceback" not in done.stdout + done.stderr


def test_setting_that_one_video_cannot_have_costs_the_others_nothing(run: Run, small: Path) -> None:
    write_video(small.with_name("brief.mp4"), noise(10, 32, 32))
    done = run(small.parent, "-o", OUT, "--reduction", "mean", "--tail", "drop")
    assert (done.exit_code, features()) == (1, ["small.npz"])
    assert "no full window to reduce" in done.stderr


def test_file_that_cannot_be_written_costs_the_others_nothing(run: Run, small: Path) -> None:
    write_video(small.with_name("zebra.mp4"), noise(10, 32, 32))
    (OUT / "small.npz").mkdir(parents=True)
    done = run(small.parent, "-o", OUT)
    assert (done.exit_code, features()) == (1, ["zebra.npz"])
    assert "cannot write out/small.npz" in done.stderr


def test_full_disk_stops_at_once_with_a_summary(run: Run, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(small.with_name("zebra.mp4"), noise(10, 32, 32))
    sync = os.fsync

    def full(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().suffix == ".npz":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        done = run(small.parent, "-o", OUT)
    assert (done.exit_code, features()) == (1, [])
    assert done.stderr.count("failed: stopped: the disk is full: out/small.npz was not written") == 1
    assert "0 of 2 videos done: 0 rows, 0 windows skipped, 0 failed, 2 not done" in done.stderr
    assert run(small.parent, "-o", OUT).exit_code == 0
    assert features() == ["small.npz", "zebra.npz"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-o", "out"], "no INPUT; give a video"),
        (["small.mp4"], "Missing option '-o'"),
        (["", "-o", "out"], "an INPUT is empty"),
        (["small.mp4", "-o", ""], "-o is empty"),
        (["small.mp4", "-o", "out", "--model", "marlin_vit_huge"], "unknown model 'marlin_vit_huge'"),
        (["small.mp4", "-o", "out", "--model", "./none.pt"], "no such file or folder: ./none.pt"),
        (["small.mp4", "-o", "out", "--model", "x.pt", "--untrained"], "unknown model 'x.pt'"),
        (["small.mp4", "-o", "out", "--detector", "viola"], "unknown detector 'viola'"),
        (["small.mp4", "-o", "out", "--detector", "none.onnx"], "no such detector file: none.onnx"),
        (["small.mp4", "-o", "out", "--recogniser", "none.onnx"], "no such recogniser file: none.onnx"),
        (["small.mp4", "-o", "out", "--identify", "--detector", "lbp"], "detector 'lbp' finds no landmarks"),
        (["small.mp4", "-o", "-", "--identify", "--detector", "yunet"], "--identify needs -o DIR"),
        (["small.mp4", "-o", "out", "--dtype", "int8"], "unknown dtype 'int8'"),
        (["small.mp4", "-o", "out", "--device", "tpu"], "device 'tpu'"),
        (["small.mp4", "-o", "out", "--device", "cuda:99"], "'cuda:99' is not available"),
        (["small.mp4", "-o", "out", "--stride", "0"], "stride is 0"),
        (["small.mp4", "-o", "out", "--stride", "many"], "'many' is not a valid integer"),
        (["small.mp4", "-o", "out", "--format", "csv"], "'csv' is not one of"),
        (["small.mp4", "-o", "out", "--fps", "5", "--sample-rate", "3"], "fps and sample_rate"),
        (["small.mp4", "-o", "out", "--keep-seq", "--reduction", "mean"], "keep_seq=True"),
        (["small.mp4", "-o", "out", "--keep-seq", "--pool", "time"], "keep_seq=True"),
        (["small.mp4", "-o", "out", "--pool", "regions"], "detector 'lbp' finds no landmarks"),
        (["small.mp4", "-o", "out", "--pool", "frames"], "'frames' is not one of"),
        (["small.mp4", "-o", "out", "--strid", "3"], "No such option"),
        (["small.mp4", "-o", "small.mp4"], "cannot write to small.mp4"),
        (["small.mp4", "-o", "small.mp4/deep"], "cannot write to small.mp4/deep"),
        (["small.mp4", "-o", "/proc/none"], "cannot write to /proc/none"),
        (["small.mp4", "-o", "out", "--shard", "4/3"], "expected K/N with 1 <= K <= N"),
        (["small.mp4", "-o", "out", "--shard-size", "0"], "shard-size is 0"),
        (["small.mp4", "-o", "out", "--workers", "0"], "workers is 0; expected at least 1"),
        (["small.mp4", "-o", "out", "--timeout", "0"], "timeout is 0"),
        (["small.mp4", "-o", "out", "--device", "cpu,tpu"], "device 'tpu'"),
        (["small.mp4", "-o", "out", "--format", "parquet", "--reduction", "mean"], "use --format npz"),
        (["--list", "none.txt", "-o", "out"], "list none.txt cannot be read"),
        (["--table", "none.csv", "-o", "out"], "table none.csv cannot be read"),
        (["a.mp4", "-o", "out", "--column", "start=start_s"], "--column start=start_s is for a table"),
        (["--table", "none.csv", "-o", "out", "--column", "start"], "--column start: expected FOUND=KNOWN"),
        (["small.mp4", "-o", "-", "--dry-run"], "need -o DIR"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_unusable_command(run: Run, tmp_path: Path, arguments: list[str], said: str) -> None:
    write_video(tmp_path / "small.mp4", noise(20, 32, 32))
    done = run(*arguments)
    assert done.exit_code == 2
    assert said in done.stderr
    assert done.stderr.startswith("Usage: ")
    assert "Traceback" not in done.stdout + done.stderr
    assert (files() if OUT.exists() else []) == []


@pytest.mark.parametrize("output", ["out", "-"])
def test_detector_that_cannot_be_had_stops_only_videos_that_need_it(run: Run, small: Path, output: str) -> None:
    write_video(small.with_name("larger.mp4"), noise(20, 64, 64))
    fake = lay(Path("fake.onnx"), b"no network")
    done = run(small.parent, "-o", output, "--detector", fake)
    assert done.exit_code == 1
    assert features() == (["small.npz"] if output == "out" else [])
    (failed,) = [line for line in done.stderr.splitlines() if line.startswith("failed: ")]
    assert "larger.mp4" in failed
    assert "fake.onnx" in failed
    assert "1 of 2 videos done: 2 rows" in done.stderr


@pytest.mark.parametrize("output", ["out", "-"])
def test_download_that_fails_for_every_video_is_said_once_more(run: Run, small: Path, output: str) -> None:
    write_video(small.with_name("zebra.mp4"), noise(20, 32, 32))
    options = ("-o", output, "--crop-face", "yes", "--detector", "yunet", "--offline")
    done = run(small.parent, *options)
    assert (done.exit_code, features(), done.stdout) == (1, [], "")
    told = [line for line in done.stderr.splitlines() if line.startswith("failed: ")]
    assert ["small.mp4" in told[0], "zebra.mp4" in told[1]] == [True, True]
    assert "no video could be embedded, because the detector is unavailable" in told[2]
    assert all("downloads are off" in line and "face_detection_yunet_2023mar.onnx" in line for line in told)
    assert len(told) == 3
    assert "0 of 2 videos done: 0 rows, 0 windows skipped, 2 failed" in done.stderr


def test_debug_shows_the_traceback(run: Run, small: Path) -> None:
    plain = run("missing.mp4", "-o", OUT)
    shown = run("missing.mp4", "-o", OUT, "--debug")
    assert "Traceback" not in plain.stderr
    assert "Traceback" in shown.stderr
    assert "VideoNotFoundError" in shown.stderr
    usage = run(small, "-o", OUT, "--dtype", "int8", "--debug")
    assert "Traceback" in usage.stderr
    assert usage.exit_code == 2


def test_quiet_prints_failures_only(run: Run, small: Path) -> None:
    done = run(small, "missing.mp4", "-o", OUT, "--quiet")
    assert done.exit_code == 1
    assert len(done.stderr.splitlines()) == 1
    assert "missing.mp4" in done.stderr


def test_untrained_is_said_and_marked(run: Run, small: Path) -> None:
    done = run(small, "-o", OUT, "--untrained", "--model", "marlin_vit_small_ytf", "--crop-face", "yes")
    assert "these features mean nothing" in done.stderr
    assert done.exit_code == 1  # a small picture of noise shows no face
    assert "NoFaceError" in done.stderr


def lines(done: Result) -> list[dict[str, Any]]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return [json.loads(line, parse_constant=refuse) for line in done.stdout.splitlines()]


def test_dash_prints_json_lines(run: Run, small: Path, tiny: Marlin) -> None:
    done = run(small, "-o", "-")
    assert done.exit_code == 0
    result = tiny.extract(small)
    first, second = lines(done)
    assert set(first) == {
        *("id", "source", "model", "untrained", "start_s", "end_s", "track_id"),
        *("frame_index", "frame_valid", "boxes", "face_score", "feature"),
    }
    assert first["face_score"] == [None] * 16  # nothing was sought, which is NaN in an array
    np.testing.assert_allclose([first["feature"], second["feature"]], result.features, atol=1e-6)
    assert [first["frame_index"], second["frame_index"]] == result.frame_index.tolist()
    assert [first["start_s"], second["start_s"]] == result.start_s.tolist()
    assert (first["id"], first["source"], first["untrained"]) == ("small", str(small), False)
    assert not OUT.exists()
    assert "1 of 1 videos done: 2 rows" in done.stderr


def test_dash_with_a_reduction_or_tokens(run: Run, small: Path) -> None:
    (mean,) = lines(run(small, "-o", "-", "--reduction", "mean"))
    assert (np.shape(mean["feature"]), mean["rows"]) == ((32,), 2)
    tokens = lines(run(small, "-o", "-", "--keep-seq"))
    assert [np.shape(line["feature"]) for line in tokens] == [(32, 32)] * 2


@pytest.mark.parametrize("output", ["-", "out"])
def test_features_that_overflow_are_refused(run: Run, small: Path, tiny: Marlin, tmp_path: Path, output: str) -> None:
    wild = Marlin.untrained(tiny.config, device="cpu", detector="lbp")
    wild.encoder.norm.weight.data.fill_(1e38)
    folder = write_checkpoint(tmp_path / "wild", wild)
    done = run(small, small, "-o", output, "--model", folder, "--dtype", "float16")
    assert done.exit_code == (1 if output == "-" else 2)
    assert done.stdout == ""
    assert "features that are NaN or infinite in float16; use dtype='float32'" in done.stderr
    assert "detector" not in done.stderr


def test_dash_reports_what_it_skipped(run: Run, astronaut: Path, tmp_path: Path) -> None:
    import av

    with av.open(str(astronaut)) as container:
        stills = [frame.to_ndarray(format="rgb24")[::2, ::2] for frame in container.decode(video=0)][:33]
    grey = [np.full_like(stills[0], 90)] * 64
    video = write_video(tmp_path / "gone.mp4", [*stills[:32], *grey])
    printed, saved = run(video, "-o", "-"), run(video, "-o", OUT)
    assert (printed.exit_code, saved.exit_code) == (0, 0)
    skipped = len(VideoFeatures.load(OUT / "gone.npz").skipped)
    assert skipped == 2
    for done in (printed, saved):
        assert "1 of 1 videos done: 1 rows, 2 windows skipped, 0 failed" in done.stderr
    assert printed.stderr.count("no face") == 2


def test_dash_takes_its_shard(run: Run, small: Path) -> None:
    for name in "abc":
        lay(small.with_name(f"{name}.mp4"), small.read_bytes())
    parts = [{line["id"] for line in lines(run(small.parent, "-o", "-", "--shard", f"{k}/2"))} for k in (1, 2)]
    assert parts[0] | parts[1] == {"a", "b", "c", "small"}
    assert parts[0] & parts[1] == set()


def test_log_json_is_json_whatever_happens(run: Run, small: Path) -> None:
    videos = lay(Path("videos/broken.mp4"), b"no video at all").parent
    small = small.rename(videos / small.name)
    for arguments, status, events in (
        ((videos, "-o", OUT), 1, ["start", "video", "video", "note", "end", "note"]),
        ((videos, "-o", OUT, "--stride", "8"), 2, ["failure"]),
        ((videos, "-o", "-", "--untrained", "--model", "marlin_vit_small_ytf"), 1, ["note", "failure"]),
    ):
        done = run(*arguments, "--log-json", "--crop-face", "no")
        told = [json.loads(line) for line in done.stderr.splitlines()]
        assert (done.exit_code, [line["event"] for line in told][: len(events)]) == (status, events)
        assert all(line["time"] > 1.7e9 for line in told)
    assert (
        json.loads(run(small, "-o", OUT, "--stride", "8", "--log-json").stderr)["text"].count("stride: 16 there") == 1
    )


def test_credentials_in_a_url_are_not_told(run: Run) -> None:
    url = "http://me:word@127.0.0.1:9/talk.mp4?key=secret"
    for output in ("out", "-"):
        done = run(url, "-o", output, "--debug")
        assert done.exit_code == 1
        assert "http://127.0.0.1:9/talk.mp4?..." in done.stderr
        assert "word" not in done.stdout + done.stderr
        assert "secret" not in done.stdout + done.stderr
    assert "secret" not in (OUT / "manifest.jsonl").read_text()


@pytest.mark.parametrize("way", ["list", "stdin"])
def test_a_listed_file_may_have_a_name_that_is_no_text(
    run: Run, small: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    odd = small.rename(os.fsdecode(b"odd\xff.mp4"))
    listed = lay(Path("list.txt"), b"\xef\xbb\xbf" + os.fsencode(odd) + b"\r\n")
    with listed.open(encoding="utf-8") as file:  # strict, as in most locales
        monkeypatch.setattr("sys.stdin", file)
        done = run(*(("--list", listed) if way == "list" else ("-",)), "-o", OUT, "--quiet")
    assert (done.exit_code, features()) == (0, [os.fsdecode(b"odd\xff.npz")]), done.stderr


def test_dry_run_lists_and_writes_nothing(run: Run, small: Path) -> None:
    write_video(small.with_name("long.mp4"), noise(200, 32, 32))
    done = run(small.parent, "-o", OUT, "--dry-run")
    assert done.exit_code == 0
    told = done.stdout.splitlines()
    assert told[0].endswith("in/long.mp4 -> long  7 windows")
    assert told[1].endswith("in/small.mp4 -> small  2 windows")
    assert told[2] == "2 videos to do, 0 done before"
    assert re.fullmatch(r"9 windows; time: about \d+ s", told[3])
    assert not OUT.exists()
    run(small, "-o", OUT)
    assert "1 videos to do, 1 done before" in run(small.parent, "-o", OUT, "--dry-run").stdout


@pytest.mark.parametrize("width", [80, 110])
def test_help_reads_well(width: int) -> None:
    shown = main.make_context("marlin-extract", ["in", "-o", "out"], terminal_width=width).get_help()
    assert max(map(len, shown.splitlines())) <= width
    for parameter in main.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
            assert parameter.opts[-1] in shown


def test_help_and_version_end_well(run: Run) -> None:
    assert run("--version") == Result(0, f"marlin-extract, version {__version__}\n", "")
    assert run("-h") == run("--help")
    assert run("-h").exit_code == 0
