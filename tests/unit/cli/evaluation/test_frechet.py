"""`marlin-sdk frechet`: dumps, videos, the page, exit statuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.making import noise, write_video
from tests.unit.evaluation.probe.probing import two_classes, write_labelled
from tests.unit.inception.weights import write_weights

from marlin_sdk.cli.evaluation.frechet import command


@dataclass(frozen=True)
class Result:
    """What a call leaves."""

    exit_code: int
    stdout: str
    stderr: str


Run = Callable[..., Result]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> Result:
        with pytest.raises(SystemExit) as left:
            command([str(argument) for argument in arguments], prog_name="marlin-sdk frechet")
        out, err = capsys.readouterr()
        return Result(int(left.value.code or 0), out, err)

    return call


@pytest.fixture
def dumps(tmp_path: Path) -> tuple[Path, Path]:
    """Two dumps of 60 videos of 20 people, one of them moved."""
    labels, signal = two_classes()
    a = write_labelled(tmp_path / "real", labels)
    others = [{**own, "group": f"other-{own['group']}"} for own in labels]
    return a, write_labelled(tmp_path / "fake", others, signal=abs(signal), seed=1)


def test_two_dumps_as_a_table_and_a_page(run: Run, dumps: tuple[Path, Path], tmp_path: Path) -> None:
    done = run(*dumps, "--draws", 100, "-o", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    assert "A                            180 windows of 20 groups" in done.stdout
    assert "above the floor" in done.stdout
    assert "frechet.html: the page" in done.stderr
    values = json.loads((tmp_path / "out" / "frechet.json").read_text())
    assert values["floor"]["above_low"] > 0
    assert (values["inception"], values["unit"], values["a"]["rows"]) == (None, "windows", 180)
    page = (tmp_path / "out" / "frechet.html").read_text()
    assert "<svg" in page
    assert "20 groups are few" in page


def test_json_and_a_label_to_group_by(run: Run, dumps: tuple[Path, Path]) -> None:
    done = run(*dumps, "--draws", 100, "--json", "--group", "split")
    assert json.loads(done.stdout)["a"]["groups"] == 3
    assert run(*dumps, "--draws", 100, "-q").stdout == ""


def test_two_videos_with_weights_of_ones_own(run: Run, tmp_path: Path) -> None:
    """The real network, with random weights."""
    weights = write_weights(tmp_path / "inception.pth")
    videos = [write_video(tmp_path / f"{seed}.mp4", noise(10, 32, 32, seed=seed)) for seed in range(2)]
    done = run(*videos, "--inception", weights, "--draws", 100, "--json", "--device", "cpu")
    assert done.exit_code == 0, done.stderr
    values = json.loads(done.stdout)
    assert (values["unit"], values["width"], values["a"]["rows"]) == ("frames", 2048, 10)
    assert len(values["inception"]["sha256"]) == 64
    assert values["value"] > 0
    assert any("at most 9 of 2,048 directions" in note for note in values["notes"])


def test_dumps_that_cannot_be_compared_end_with_2(run: Run, dumps: tuple[Path, Path], tmp_path: Path) -> None:
    labels, _ = two_classes()
    other = write_labelled(tmp_path / "other", labels, weights="untrained:7")
    done = run(dumps[0], other)
    assert done.exit_code == 2
    assert "weights: untrained:0 there, untrained:7 here" in done.stderr


def test_what_is_misused_ends_with_2_and_what_is_broken_with_1(
    run: Run, dumps: tuple[Path, Path], tmp_path: Path
) -> None:
    video = write_video(tmp_path / "a.mp4", noise(3, 32, 32))
    weights = tmp_path / "w.pth"
    weights.write_bytes(b"no weights")
    for arguments, said in (
        ((video, video), "a.mp4 is no dump"),
        ((*dumps, "--every", 2), "--every and --device are for frames"),
        ((*dumps, "--inception", weights, "--group", "person"), "--group is a label of dumps"),
        ((*dumps, "--draws", 9), "9 draws are too few"),
        ((video, video, "--inception", weights), "w.pth is refused"),
    ):
        done = run(*arguments)
        assert (done.exit_code, said in " ".join(done.stderr.split())) == (2, True), done.stderr
    (tmp_path / "empty").mkdir()
    done = run(tmp_path / "empty", dumps[0])
    assert done.exit_code == 1
    assert "FeatureFileError" in done.stderr
