"""Dry run: what a run would do, and how long it would take, measured on its first readable video."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from marlin_sdk.batch.progress import escape_controls
from marlin_sdk.batch.recipe import Recipe
from marlin_sdk.clips.cut import Clip
from marlin_sdk.clips.windows import count_windows, window_plan
from marlin_sdk.config import ExtractionConfig
from marlin_sdk.dump.manifest import ManifestEntry
from marlin_sdk.dump.plan import DumpPlan
from marlin_sdk.errors import MarlinError
from marlin_sdk.inputs.videos import VideoInput, select
from marlin_sdk.video.reader import VideoReader, display_name, open_video

if TYPE_CHECKING:
    from marlin_sdk.marlin import Marlin

__all__ = ["RunEstimate", "estimate_run"]

_SAMPLE_WINDOWS = 4  # more than one, because the first includes warm-up
_MAX_TRIED = 5  # unreadable videos before giving up on a measurement
_MAX_OPENED, _SAMPLE = 2000, 500  # of more videos, a random sample is opened


@dataclass(frozen=True)
class RunEstimate:
    """What a run would do.

    Attributes:
        todo: videos to embed.
        counts: number of windows by index in `todo`, of those that were opened: all of them, or of more than 2,000 a
            random sample of 500; None if it is unknown without decoding.
        done_before: number of videos that earlier runs finished.
        cut_s: measured seconds to decode and cut one window; None if no video could be read.
        embed_s: measured seconds to embed one window.
        workers: number of worker processes.
        shares_cores: whether cutting and embedding share the same cores.
        error: why nothing could be measured; None if something was.
    """

    todo: Sequence[VideoInput]
    counts: Mapping[int, int | None]
    done_before: int
    cut_s: float | None
    embed_s: float | None
    workers: int
    shares_cores: bool
    error: str | None = None

    @property
    def is_sampled(self) -> bool:
        """Whether only some of the videos were opened."""
        return len(self.counts) < len(self.todo)

    @property
    def windows(self) -> int:
        """Total over the videos whose number of windows is known; of a sample, scaled to all videos."""
        known = [count for count in self.counts.values() if count is not None]
        return round(sum(known) * len(self.todo) / len(known)) if self.is_sampled and known else sum(known)

    @property
    def seconds(self) -> float | None:
        """Estimated duration of the run; None if nothing could be measured."""
        if self.cut_s is None or self.embed_s is None:
            return None
        cutting, embedding = self.windows * self.cut_s / self.workers, self.windows * self.embed_s
        return cutting + embedding if self.shares_cores else max(cutting, embedding)

    def show(self) -> None:
        """Print one line per video, then the totals."""
        for index, video in enumerate(self.todo):
            count = self.counts.get(index)
            shown = f"  {'?' if count is None else count} windows" if index in self.counts else ""
            _print(f"{display_name(video.source)} -> {video.id}{shown}")
        known = "" if None not in self.counts.values() else " (not counting videos of unknown length)"
        if self.is_sampled:
            opened = sum(count is not None for count in self.counts.values())
            known = f" (estimated from {opened} videos, drawn at random; {_SAMPLE - opened} could not be counted)"
        time_needed = "unknown" if self.seconds is None else f"about {_duration(self.seconds)}"
        _print(f"{len(self.todo)} videos to do, {self.done_before} done before")
        _print(f"{self.windows} windows{known}; time: {time_needed}")
        if self.cut_s is not None and self.embed_s is not None:
            _print(
                f"measured: {1000 * self.cut_s:.0f} ms per window to decode and find faces ({self.workers} workers), "
                f"{1000 * self.embed_s:.0f} ms to embed"
            )
        if self.error is not None:
            _print(f"nothing could be measured: {self.error}")
        sys.stdout.flush()


def estimate_run(
    recipe: Recipe,
    model: Marlin,
    plan: DumpPlan,
    videos: Sequence[VideoInput],
    entries: Mapping[str, ManifestEntry],
    *,
    workers: int,
) -> RunEstimate:
    """Open each video to embed without decoding it, and measure the first readable one.

    Args:
        recipe: model, detector and settings.
        model: the model that would embed.
        plan: layout of the dump.
        videos: all videos of the dump, with unique ids.
        entries: manifest entries of earlier runs.
        workers: number of worker processes.
    """
    selected = select(videos, lambda video: plan.shard.takes(video.id))
    todo = select(selected, lambda video: plan.is_missing(entries.get(video.id)))
    cut_s = embed_s = reason = None
    for video in todo[:_MAX_TRIED]:
        try:
            cut_s, embed_s = _measure(recipe, model, video)
            reason = None
            break
        except (MarlinError, OSError) as error:
            reason = str(error)
    opened = range(len(todo)) if len(todo) <= _MAX_OPENED else random.Random(0).sample(range(len(todo)), _SAMPLE)
    counts = {index: _count(recipe.settings_for(todo[index]), todo[index], model.config.n_frames) for index in opened}
    done_before = len(selected) - len(todo)
    return RunEstimate(todo, counts, done_before, cut_s, embed_s, workers, model.device.type == "cpu", reason)


def _count(config: ExtractionConfig, video: VideoInput, clip_steps: int) -> int | None:
    try:
        with open_video(video.source, source_fps=config.source_fps) as reader:
            return _count_in(config, reader, clip_steps)
    except (MarlinError, OSError):
        return None


def _count_in(config: ExtractionConfig, reader: VideoReader, clip_steps: int) -> int | None:
    if config.start_s is None and config.end_s is None and not config.fps and reader.num_frames:
        return count_windows(reader.num_frames, config, clip_steps)
    rate = config.fps or reader.fps
    if rate is None or reader.duration_s is None:
        return None
    part_s = min(reader.duration_s, config.end_s or reader.duration_s) - (config.start_s or 0)
    frames = max(0, round(part_s * rate))
    return window_plan(config, clip_steps).count(frames) if config.fps else count_windows(frames, config, clip_steps)


def _measure(recipe: Recipe, model: Marlin, video: VideoInput) -> tuple[float, float]:
    """Seconds to cut one window, and to embed one."""
    config = recipe.settings_for(video)
    cutter = recipe.load_cutter(model.config)
    with open_video(video.source, source_fps=config.source_fps) as reader:
        started_s = time.perf_counter()
        cuts = list(islice(cutter.cut(reader, config), _SAMPLE_WINDOWS))
        cut_s = (time.perf_counter() - started_s) / max(len(cuts), 1)
    clips: list[Clip] = [clip for cut in cuts if isinstance(cut, list) for clip in cut][: config.batch_size]
    if not clips:
        return cut_s, 0.0
    model.embed_clips(clips[:1])  # warm-up
    started_s = time.perf_counter()
    model.embed_clips(clips)
    return cut_s, (time.perf_counter() - started_s) / len(clips)


def _print(text: str) -> None:
    """Print a line; escape control characters, and what the locale cannot encode."""
    encoding = sys.stdout.encoding or "utf-8"
    print(escape_controls(text).encode(encoding, "backslashreplace").decode(encoding))  # noqa: T201


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"
