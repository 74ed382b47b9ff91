"""A picture of a score: the curve of each face, and the offset over time."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from marlin_sdk.atomic import atomic_path
from marlin_sdk.errors import FeatureFileError, MissingExtraError
from marlin_sdk.sync.curve import SHIFTS
from marlin_sdk.sync.result import SyncScore

__all__ = ["draw_score"]

_MAX_FACES = 6
_FRAME_MS = 40
_FIRST, _OTHERS = "#0072b2", "#999999"


def draw_score(score: SyncScore, path: Path) -> None:
    """Draw a score, best face in colour, as .png or .svg.

    Args:
        score: of a video.
        path: written atomically.
    Raises:
        MissingExtraError: matplotlib is not installed.
        FeatureFileError: the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("A picture of a score", "report") from error
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    curves, times = figure.subplots(1, 2)
    best = score.best
    heard = sorted((track for track in score.tracks if track.reading), key=lambda track: track is best)
    shown = heard[-_MAX_FACES:]
    shifts_ms = np.array(SHIFTS) * _FRAME_MS
    for track in shown:
        assert track.reading is not None
        colour, width = (_FIRST, 2.0) if track is best else (_OTHERS, 1.0)
        curves.plot(shifts_ms, track.reading.curve, color=colour, linewidth=width, label=f"face {track.track_id}")
        curves.axvline(track.reading.offset_ms, color=colour, linewidth=0.8, linestyle=":")
        middles_s = [(part.start_s + part.end_s) / 2 for part in track.parts]
        sure = [score.is_sure(part) for part in track.parts]
        times.plot(middles_s, [part.offset_ms for part in track.parts], color=colour, linewidth=width / 2)
        for part, at_s, is_sure in zip(track.parts, middles_s, sure, strict=True):
            face = colour if is_sure else "white"
            times.plot([at_s], [part.offset_ms], marker="o", color=colour, markerfacecolor=face, markersize=5)
    if score.max_distance is not None:
        limit = score.max_distance
        curves.axhline(limit, color="#cccccc", linewidth=0.8, zorder=0)
        curves.annotate("sure below", (shifts_ms[0] + 15, limit), va="top", fontsize=8, color="#666666")
    curves.set(xlabel="shift of the sound, ms", ylabel="distance", title="Distance of lips and sound")
    curves.set_xlim(shifts_ms[0], shifts_ms[-1])
    times.set(xlabel="time, s", ylabel="sound is late by, ms", title="Offset over time (hollow: not sure)")
    times.set_ylim(shifts_ms[0] - 20, shifts_ms[-1] + 20)
    times.axhline(0, color="#cccccc", linewidth=0.8, zorder=0)
    if len(shown) > 1:
        curves.legend(frameon=False, fontsize=8)
    more = f" ({len(shown)} of {len(heard)} faces)" if len(shown) < len(heard) else ""
    figure.suptitle(score.verdict() + more, fontsize=10)
    try:
        with atomic_path(path) as written:
            figure.savefig(written, dpi=110, format=path.suffix.lstrip(".").lower())
    except OSError as error:
        raise FeatureFileError(f"cannot write {path}: {error.strerror or error}") from error
