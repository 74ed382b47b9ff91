"""`marlin-extract -o -`: rows as JSON lines on stdout, each as soon as it is embedded."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from marlin_sdk.batch.recipe import LoadOnce
from marlin_sdk.cli.output import UNTRAINED, Console, Stop, numbers, print_json
from marlin_sdk.errors import MarlinError, WeightsError
from marlin_sdk.video.reader import display_name

if TYPE_CHECKING:
    from marlin_sdk.batch.recipe import Recipe
    from marlin_sdk.features import SkippedWindow
    from marlin_sdk.inputs.videos import VideoInput
    from marlin_sdk.marlin import Marlin

__all__ = ["print_videos"]


def print_videos(recipe: Recipe, videos: list[VideoInput], device: str, console: Console) -> int:
    """Embed videos one after another, in this process, so that a live one is printed as it is read.

    Returns:
        Number of videos that failed.
    """
    loaded = recipe.load_model(device)
    detector = LoadOnce(lambda: loaded.detector)
    model = loaded.with_detector(detector)
    if recipe.untrained:
        console.note(UNTRAINED)
    done = failed = rows = skipped = 0
    detector_errors: list[MarlinError] = []  # the detector is loaded on first use
    started_s = time.perf_counter()
    try:
        for video in videos:
            try:
                counts = _print_rows(model, recipe, video, console)
            except (BrokenPipeError, Stop):
                raise
            except Exception as error:  # one bad video must not stop the others
                if isinstance(error, WeightsError) and error is not detector.error:
                    raise Stop(error) from error  # of the model: every video would fail
                failed += 1
                console.failure(display_name(video.source), error)
                if isinstance(error, MarlinError) and error is detector.error:
                    detector_errors.append(error)
                continue
            done, rows, skipped = done + 1, rows + counts[0], skipped + counts[1]
    finally:
        if detector_errors and len(detector_errors) == len(videos):
            console.failure("no video could be embedded, because the detector is unavailable", detector_errors[0])
        left = len(videos) - done - failed
        console.note(
            f"{done} of {len(videos)} videos done: {rows} rows, {skipped} windows skipped, {failed} failed, "
            + f"{left} not done, " * bool(left)
            + f"{time.perf_counter() - started_s:.1f} s"
        )
    return failed


def _print_rows(model: Marlin, recipe: Recipe, video: VideoInput, console: Console) -> tuple[int, int]:
    """Print the rows of a video; return the number of rows, and of windows skipped."""
    config = recipe.settings_for(video)
    settings = config.to_dict()
    common = {
        "id": video.id,
        "source": display_name(video.source),
        "model": model.name,
        "untrained": model.is_untrained,
    }
    if video.labels:
        common["labels"] = {name: value for name, value in video.labels.items() if value is not None}
    if config.reduction != "none":
        result = model.extract(video.source, progress=console.bars, **settings)
        for warning in result.warnings:
            console.note(f"warning: {display_name(video.source)}: {warning}")
        print_json({**common, "rows": len(result), "feature": numbers(result.features)})
        return len(result), len(result.skipped)
    skipped: list[SkippedWindow] = []
    count = 0
    for row in model.stream(video.source, on_skip=skipped.append, progress=console.bars, **settings):
        arrays = {name: numbers(value) for name, value in vars(row).items() if hasattr(value, "tolist")}
        print_json({**common, "start_s": row.start_s, "end_s": row.end_s, "track_id": row.track_id, **arrays})
        count += 1
    for window in skipped:
        console.note(
            f"skipped: {display_name(video.source)}: {window.start_s:.2f} - {window.end_s:.2f} s: {window.reason}"
        )
    return count, len(skipped)
