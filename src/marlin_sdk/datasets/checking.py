"""Check the files of a table, and count its labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from marlin_sdk.datasets.table import Clip, Label, Table
from marlin_sdk.errors import MarlinError

__all__ = ["SLACK_S", "Count", "check", "count"]

SLACK_S = 0.25
"""How far the end of a part may lie behind that of its video: times of lists are rounded."""

_MAX_CLASSES = 60


def check(table: Table, duration_of: Callable[[Path], float | None], *, on_file: Callable[[], object]) -> Table:
    """Leave out clips whose files cannot be opened, or whose part lies outside the video.

    Args:
        table: its clips; those of one file lie together or not.
        duration_of: seconds of a video, None if it declares none; raises `MarlinError` for a file that is no video.
        on_file: called after each file.
    Returns:
        The table, with what is left out in `dropped` by reason. Parts of a video without a duration stay, with a note.
    Raises:
        ConfigError: no clip is left.
    """
    durations: dict[Path, float | MarlinError | None] = {}
    for path in dict.fromkeys(clip.path for clip in table.clips):
        try:
            durations[path] = duration_of(path)
        except MarlinError as error:
            durations[path] = error
        on_file()
    kept, dropped, notes = list[Clip](), {key: list(names) for key, names in table.dropped.items()}, list(table.notes)
    for clip in table.clips:
        reason = _problem(clip, durations[clip.path])
        if reason is None:
            kept.append(clip)
        else:
            dropped.setdefault(reason, []).append(clip.id)
    unknown = sum(duration is None for duration in durations.values())
    if unknown:
        notes.append(f"{unknown:,} files declare no duration: the ends of their parts are not checked.")
    return replace(table, clips=tuple(kept), dropped=dropped, notes=notes)


def _problem(clip: Clip, duration_s: float | MarlinError | None) -> str | None:
    if isinstance(duration_s, MarlinError):
        return "the file cannot be opened as a video"
    if duration_s is None:
        return None
    if (clip.start_s or 0) >= duration_s or (clip.end_s or 0) > duration_s + SLACK_S:
        return "the part lies outside the video"
    return None


@dataclass(frozen=True)
class Count:
    """How often a label has a value.

    Attributes:
        label: its name.
        value: the value; for a number with many values, its range.
        clips: number of clips by split, in the order of `Table.splits`.
    """

    label: str
    value: str
    clips: Sequence[int]


def count(table: Table) -> Iterator[Count]:
    """Count the values of each label by split; of a label that is true or false, those where it is true."""
    for label in table.labels:
        values: Counter[tuple[Label, str]] = Counter((clip.labels.get(label), clip.split) for clip in table.clips)
        kinds: set[Label] = {value for value, _ in values if value is not None}
        classes: set[Label] = {True} if kinds <= {True, False} and _is_bool(kinds) else kinds
        if len(classes) > _MAX_CLASSES or any(isinstance(value, float) for value in classes):
            known: Counter[str] = Counter()
            for (value, split), number in values.items():
                known[split] += 0 if value is None else number
            yield Count(label, _range(kinds), [known[split] for split in table.splits])
            continue
        for value in sorted(classes, key=lambda value: (isinstance(value, str), value)):
            yield Count(label, _shown(value), [values[value, split] for split in table.splits])


def _is_bool(kinds: set[Label]) -> bool:
    return all(isinstance(value, bool) for value in kinds)


def _shown(value: Label) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _range(kinds: set[Label]) -> str:
    numbers = [float(value) for value in kinds if isinstance(value, int | float)]
    return f"{min(numbers):g} to {max(numbers):g}" if len(numbers) == len(kinds) else f"{len(kinds):,} values"
