"""`-o -`: what is not asked for again with each video."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.making import noise, write_video

from marlin_sdk import DownloadError, Marlin
from marlin_sdk.batch.recipe import Recipe
from marlin_sdk.cli.json_lines import print_videos
from marlin_sdk.cli.output import Console
from marlin_sdk.face.detectors import FaceDetector
from marlin_sdk.inputs.videos import VideoInput


@dataclass(frozen=True, kw_only=True)
class WithoutNetwork(Recipe):
    """A recipe whose detector cannot be had, and that counts who asks."""

    ready: Marlin
    asked: list[str] = field(default_factory=list)

    def load_model(self, device: str = "auto") -> Marlin:
        return self.ready.with_detector(self._fetch)

    def _fetch(self) -> FaceDetector:
        self.asked.append("once more")
        raise DownloadError("the network is down")


def test_a_detector_that_cannot_be_had_is_asked_for_once(
    tmp_path: Path, tiny: Marlin, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("a", "b", "c")
    videos = [VideoInput(name, str(write_video(tmp_path / f"{name}.mp4", noise(4, 48, 48)))) for name in names]
    recipe = WithoutNetwork(ready=tiny)
    assert print_videos(recipe, videos, "cpu", Console(quiet=False, debug=False)) == 3
    assert recipe.asked == ["once more"]
    told = capsys.readouterr().err
    assert told.count("the network is down") == 4  # of each video, and of all
    assert "no video could be embedded, because the detector is unavailable" in told


def test_another_detector_leaves_the_first_model_as_it_is(tiny: Marlin) -> None:
    before = tiny.detector
    other = tiny.with_detector(lambda: before)
    assert other is not tiny
    assert other.encoder is tiny.encoder
    assert (other.detector, tiny.detector) == (before, before)


def test_names_of_files_do_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    say = Console(quiet=False, debug=False)
    say.note("skipped: a\x1b[2J.mp4")
    say.failure("b\x07.mp4", None)
    assert capsys.readouterr().err == "skipped: a\\x1b[2J.mp4\nfailed: b\\x07.mp4\n"
