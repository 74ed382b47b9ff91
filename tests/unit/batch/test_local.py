"""Many videos through worker processes and models: right, bounded, and going on whatever one of them does."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.making import TINY, lay
from tests.patience import HANG_S
from tests.unit.batch.engines import SETTINGS, Watched, assert_alike, engine, recipe, video, watched
from tests.unit.batch.trouble import Harmful

from marlin_sdk import ConfigError, Marlin, VideoFeatures, WindowFeatures
from marlin_sdk.batch import local
from marlin_sdk.batch.local import LocalEngine
from marlin_sdk.batch.results import VideoResult
from marlin_sdk.batch.workers import WorkerLimits
from marlin_sdk.clips.cut import Clip
from marlin_sdk.inputs.videos import VideoInput


def by_id(results: list[VideoResult]) -> dict[str, VideoResult]:
    """No video twice."""
    assert len({result.video.id for result in results}) == len(results)
    return {result.video.id: result for result in results}


def rows(result: VideoResult) -> VideoFeatures:
    assert result.failure is None, result.failure
    assert result.features is not None
    return result.features


def workers_left() -> list[str]:
    return [process.name for process in multiprocessing.active_children() if process.name == "marlin-worker"]


def test_results_are_those_of_extract(tmp_path: Path) -> None:
    videos = [video(tmp_path / f"{name}.mp4", 20 + 9 * index, seed=index) for index, name in enumerate("abcde")]
    videos += [video(tmp_path / "whole.mp4", 50, size_px=32), video(tmp_path / "long.mp4", 200, seed=9)]
    long = videos[-1].source
    videos += [VideoInput("part", long, 1.2, 4.4), VideoInput("tail", long, 6.0), VideoInput("own", long, track=0)]
    model = Marlin.untrained(watched().config, device="cpu", detector=Harmful(tmp_path))
    models = [watched(), watched()]
    results = by_id(list(engine(recipe(tmp_path), models, workers=2).run(videos)))
    assert sorted(results) == sorted(each.id for each in videos)
    for each in videos:
        settings = SETTINGS.to_dict() | {"start_s": each.start_s, "end_s": each.end_s, "track": each.track}
        expected = model.extract(each.source, **settings)
        assert_alike(rows(results[each.id]), expected)
        assert rows(results[each.id]).meta == expected.meta
    assert rows(results["part"]).start_s[0] >= 1.2
    assert len(rows(results["tail"])) == 4
    assert workers_left() == []


def test_batches_are_filled_across_videos_on_every_device(tmp_path: Path) -> None:
    first = video(tmp_path / "a.mp4", 16, size_px=32)
    videos = [replace(first, id=f"{index:02d}") for index in range(60)]
    models = [watched(0.15), watched(0.15)]  # slower than the worker, as a real model is
    told: list[int] = []
    results = by_id(list(engine(recipe(tmp_path), models).run(videos, on_rows=told.append)))
    assert all(len(rows(result)) == 1 for result in results.values())
    batches = [size for model in models for size in model.batches]
    assert sum(batches) == sum(told) == 60
    assert min(len(model.batches) for model in models) >= 4
    assert max(batches) == 4
    assert len(batches) <= 21, batches  # 15 full ones at best; 60 if each video had its own


@pytest.mark.parametrize(
    ("harm", "limits", "error", "said", "tries"),
    [
        ("abort", {}, "WorkerLostError", r"died \(signal SIGABRT\); tried 2 times", 2),
        ("hang", {"timeout_s": 8}, "WorkerLostError", "no heartbeat for 8 s and was stopped; tried 2 times", 2),
        ("eat", {"max_memory_mb": 400}, "WorkerLostError", "MB of memory; the limit is 400 MB.*; tried 2 times", 2),
        ("reset", {}, "ConnectionResetError", "the camera has hung up", 1),
    ],
)
def test_harm_in_a_worker_costs_one_video(
    tmp_path: Path, harm: str, limits: dict[str, Any], error: str, said: str, tries: int
) -> None:
    videos = [video(tmp_path / f"{name}.mp4", seed=ord(name)) for name in "abd"]
    videos.insert(1, video(tmp_path / "bad.mp4", 60, harm_at=40))
    results = by_id(list(engine(recipe(tmp_path, harm), workers=1, **limits).run(videos)))
    failure = results.pop("bad").failure
    assert failure is not None
    assert failure.error == error
    assert re.search(said, failure.message)
    assert (tmp_path / "tries").stat().st_size == tries
    assert {id: len(rows(result)) for id, result in results.items()} == {"a": 3, "b": 3, "d": 3}
    assert workers_left() == []


def test_what_succeeds_at_the_second_try_has_no_row_twice(tmp_path: Path) -> None:
    videos = [video(tmp_path / "bad.mp4", 150, harm_at=120), video(tmp_path / "good.mp4", seed=3)]
    results = by_id(list(engine(recipe(tmp_path, "abort once"), workers=2).run(videos)))
    assert (tmp_path / "tries").stat().st_size > 1
    calm = by_id(list(engine(recipe(tmp_path)).run(videos)))
    for id, result in results.items():
        assert_alike(rows(result), rows(calm[id]))
    assert len(rows(results["bad"])) == 10


def test_workers_wait_for_a_slow_model(tmp_path: Path) -> None:
    long = video(tmp_path / "long.mp4", 3200, size_px=48)
    let_on, at_work = threading.Event(), threading.Event()
    results: list[VideoResult] = []

    def hold(_: int) -> None:
        at_work.set()
        let_on.wait()

    def consume() -> None:
        one_look_a_frame = replace(SETTINGS, detect_every=1)
        results.extend(engine(recipe(tmp_path, settings=one_look_a_frame)).run([long], on_rows=hold))

    consumer = threading.Thread(target=consume)
    consumer.start()
    assert at_work.wait(HANG_S)
    looks, before = (tmp_path / "looks").stat().st_size, -1
    while looks != before:
        time.sleep(1.0)
        before, looks = looks, (tmp_path / "looks").stat().st_size
    let_on.set()
    consumer.join()
    assert looks < 1600, "the worker read on, though nobody took its clips"
    assert len(rows(results[0])) == 200


def test_memory_is_flat_in_the_number_of_videos(tmp_path: Path) -> None:
    first = video(tmp_path / "a.mp4", 16, size_px=32)
    videos = (replace(first, id=str(index)) for index in range(300))
    resident = []
    for result in engine(recipe(tmp_path)).run(videos):
        assert len(rows(result)) == 1
        resident.append(int(Path("/proc/self/statm").read_text().split()[1]) * 4)  # kB
    assert len(resident) == 300
    assert resident[-1] - resident[60] < 10_000


def test_free_memory_is_given_back_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times: list[float] = []
    monkeypatch.setattr(local, "release_free_memory", lambda: times.append(time.monotonic()))
    monkeypatch.setattr(local, "_TRIM_S", 0.5)
    run = LocalEngine(recipe(tmp_path), [watched(0.2)], workers=1, limits=WorkerLimits())
    results = list(run.run([video(tmp_path / "a.mp4", 320, size_px=32)]))
    assert len(rows(results[0])) == 20
    assert times
    assert all(later - earlier >= 0.5 for earlier, later in pairwise(times))


def test_drain_finishes_what_is_in_flight_and_begins_nothing(tmp_path: Path) -> None:
    first = video(tmp_path / "a.mp4", 400)
    drain = threading.Event()
    results = []
    run = engine(recipe(tmp_path), workers=2).run((replace(first, id=str(index)) for index in range(40)), drain=drain)
    for result in run:
        results.append(result)
        drain.set()
    assert 1 <= len(results) <= 4
    assert all(len(rows(result)) == 25 for result in by_id(results).values())


@pytest.mark.parametrize("moment", ["before", "amid"])
def test_closing_stops_at_once(tmp_path: Path, moment: str) -> None:
    videos = [video(tmp_path / "a.mp4"), video(tmp_path / "bad.mp4", harm_at=0)]
    run = engine(recipe(tmp_path, "hang"), workers=2).run(videos)
    if moment == "amid":
        assert next(run).video.id == "a"
    run.close()  # does not wait for what hangs for ever
    assert workers_left() == []


class HeldUp(Watched):
    """A model that embeds nothing until it is let."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.at_work, self.let = threading.Event(), threading.Event()

    def embed_clips(self, clips: Sequence[Clip], **options: Any) -> list[WindowFeatures]:
        self.at_work.set()
        self.let.wait()
        return super().embed_clips(clips, **options)


def test_stop_at_once_does_not_wait_for_a_slow_model(tmp_path: Path) -> None:
    model = HeldUp.untrained(TINY, device="cpu", detector="lbp")
    assert isinstance(model, HeldUp)

    def stop() -> None:
        model.at_work.wait()
        os.kill(os.getpid(), signal.SIGINT)

    own = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Thread(target=stop).start()
        with pytest.raises(KeyboardInterrupt):
            list(engine(recipe(tmp_path), [model]).run([video(tmp_path / "a.mp4", 200)]))
    finally:
        signal.signal(signal.SIGINT, own)
        model.let.set()
    assert workers_left() == []


def test_detector_that_cannot_be_had_stops_only_videos_that_need_it(tmp_path: Path) -> None:
    fake = lay(tmp_path / "fake.onnx", b"no network")
    videos = [video(tmp_path / "a.mp4"), video(tmp_path / "fits.mp4", size_px=32), video(tmp_path / "b.mp4")]
    results = by_id(list(engine(recipe(tmp_path, detector=fake)).run(videos)))
    assert len(rows(results["fits"])) == 3
    for id in "ab":
        failure = results[id].failure
        assert failure is not None
        assert (failure.error, failure.is_detector_error) == ("WeightsError", True)
        assert "fake.onnx" in failure.message


def test_bad_videos_and_bad_settings_cost_the_others_nothing(tmp_path: Path) -> None:
    videos = [
        VideoInput("text", str(lay(tmp_path / "text.mp4", b"Dear video,\n" * 99))),
        VideoInput("gone", str(tmp_path / "gone.mp4")),
        video(tmp_path / "brief.mp4", 5, size_px=32),
        video(tmp_path / "good.mp4", 32, size_px=32),
        VideoInput("late", str(tmp_path / "good.mp4"), start_s=50),
    ]
    settings = replace(SETTINGS, tail="drop", reduction="mean")
    results = by_id(list(engine(recipe(tmp_path, settings=settings), workers=2).run(videos)))
    assert {id: result.failure and result.failure.error for id, result in results.items()} == {
        "text": "VideoDecodeError",
        "gone": "VideoNotFoundError",
        "brief": "ConfigError",
        "late": "VideoDecodeError",
        "good": None,
    }
    assert all(result.failure.is_known for result in results.values() if result.failure)


class Unsendable(Harmful):
    """Its lock stays where it is."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.lock = threading.Lock()


@pytest.mark.parametrize(
    ("options", "limits", "said"),
    [
        ({"detector": Unsendable(Path())}, {}, "cannot be sent to a worker process.*pickle"),
        ({}, {"max_memory_mb": 20}, "max-worker-memory is 20 MB; a worker takes .* MB before its first video"),
    ],
)
def test_what_no_worker_can_have_is_an_error(
    tmp_path: Path, options: dict[str, Any], limits: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        list(engine(recipe(tmp_path, **options), **limits).run([video(tmp_path / "a.mp4")]))
    assert workers_left() == []


def test_number_of_workers(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="workers is 0; expected at least 1"):
        engine(recipe(tmp_path), workers=0)


def test_nothing_to_do_starts_nothing(tmp_path: Path) -> None:
    assert list(engine(recipe(tmp_path), workers=2).run([])) == []
