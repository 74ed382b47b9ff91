"""What a run would do: the windows that it then makes, and a time that was measured."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from tests.making import lay
from tests.unit.batch.engines import SETTINGS, engine, recipe, video, watched

from marlin_sdk.batch.estimate import RunEstimate, estimate_run
from marlin_sdk.batch.recipe import Recipe
from marlin_sdk.config import ExtractionConfig
from marlin_sdk.dump.lock import Shard
from marlin_sdk.dump.manifest import ManifestEntry
from marlin_sdk.dump.plan import DumpPlan
from marlin_sdk.inputs.videos import VideoInput


def estimate(how: Recipe, videos: list[VideoInput], plan: DumpPlan, **entries: ManifestEntry) -> RunEstimate:
    return estimate_run(how, watched(), plan, videos, entries, workers=2)


@pytest.mark.parametrize(
    "settings",
    [SETTINGS, replace(SETTINGS, stride=5, tail="drop"), ExtractionConfig(fps=10), ExtractionConfig(sample_rate=3)],
    ids=["plain", "overlapping", "fps", "every third"],
)
def test_windows_are_those_that_a_run_makes(tmp_path: Path, settings: ExtractionConfig) -> None:
    videos = [video(tmp_path / f"{frames}.mp4", frames, size_px=32) for frames in (10, 40, 75, 128)]
    videos.append(VideoInput("part", videos[-1].source, 1.0, 3.0))
    how = recipe(tmp_path, settings=settings)
    told = estimate(how, videos, DumpPlan(tmp_path / "out"))
    made = {result.video.id: len(result.features or ()) for result in engine(how).run(videos)}
    assert {each.id: told.counts[index] for index, each in enumerate(told.todo)} == made
    assert told.windows == sum(made.values())
    assert told.error is None
    assert told.cut_s is not None
    assert told.embed_s is not None
    assert told.seconds == pytest.approx(told.windows * (told.cut_s / 2 + told.embed_s))  # on the same cores
    assert told.cut_s > 0
    assert not (tmp_path / "out").exists()


def test_what_is_done_or_of_another_shard_is_left_out(tmp_path: Path) -> None:
    videos = [video(tmp_path / f"{name}.mp4", size_px=32) for name in "abcd"]
    done = {
        "a": ManifestEntry(id="a", source="a.mp4", status="ok"),
        "b": ManifestEntry(id="b", source="b.mp4", status="failed"),
    }
    plan = DumpPlan(tmp_path / "out")
    expected = [
        (plan, ["b", "c", "d"]),
        (replace(plan, retry_failed=False), ["c", "d"]),
        (replace(plan, overwrite=True), ["a", "b", "c", "d"]),
        (replace(plan, shard=Shard(1, 2)), [id for id in "bcd" if Shard(1, 2).takes(id)]),
    ]
    for asked, ids in expected:
        assert [each.id for each in estimate(recipe(tmp_path), videos, asked, **done).todo] == ids


def test_what_cannot_be_read_has_no_number_and_no_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    videos = [VideoInput("text", str(lay(tmp_path / "text.mp4", b"Dear video"))), VideoInput("gone", "gone.mp4")]
    told = estimate(recipe(tmp_path), videos, DumpPlan(tmp_path / "out"))
    assert (list(told.counts.values()), told.seconds) == ([None, None], None)
    told.show()
    shown = capsys.readouterr().out
    assert "gone.mp4 -> gone  ? windows" in shown
    assert "2 videos to do, 0 done before" in shown
    assert "0 windows (not counting videos of unknown length); time: unknown" in shown
    assert "nothing could be measured: " in shown


def test_any_name_is_shown_in_any_locale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["\u00fc", "\udcff", "\x1b[2J"]
    told = estimate(recipe(tmp_path), [VideoInput(name, f"{name}.mp4") for name in names], DumpPlan(tmp_path / "out"))
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii", errors="strict"))
    told.show()
    assert raw.getvalue().splitlines()[:3] == [
        rb"\xfc.mp4 -> \xfc  ? windows",
        rb"\udcff.mp4 -> \udcff  ? windows",
        rb"\x1b[2J.mp4 -> \x1b[2J  ? windows",
    ]


def test_first_readable_video_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    videos = [VideoInput("gone", "https://me:word@127.0.0.1:1/gone.mp4?key=1"), video(tmp_path / "good.mp4", 64)]
    told = estimate(recipe(tmp_path), videos, DumpPlan(tmp_path / "out"))
    told.show()
    shown = capsys.readouterr().out
    assert "https://127.0.0.1:1/gone.mp4?... -> " in shown
    assert "word" not in shown
    assert "good  4 windows" in shown
    assert "ms per window to decode and find faces (2 workers)" in shown
    assert "nothing could be measured" not in shown


def test_of_many_videos_a_sample_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("marlin_sdk.batch.estimate._MAX_OPENED", 20)
    monkeypatch.setattr("marlin_sdk.batch.estimate._SAMPLE", 10)
    source = video(tmp_path / "good.mp4", 64).source
    told = estimate(recipe(tmp_path), [VideoInput(f"{i:02d}", source) for i in range(30)], DumpPlan(tmp_path / "out"))
    assert len(told.counts) == 10
    assert told.is_sampled
    assert told.windows == 30 * 4
    told.show()
    shown = capsys.readouterr().out.splitlines()
    assert sum("windows" in line for line in shown[:30]) == 10
    assert shown[30:32] == ["30 videos to do, 0 done before", shown[31]]
    assert shown[31].startswith(
        "120 windows (estimated from 10 videos, drawn at random; 0 could not be counted); time: about "
    )
