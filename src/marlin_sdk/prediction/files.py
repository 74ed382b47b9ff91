"""Predictions of many videos in one file, written as they come: JSON, CSV, or JSON lines."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from marlin_sdk.atomic import atomic_path
from marlin_sdk.errors import FeatureFileError
from marlin_sdk.evaluation.probe.head_file import FittedHeads
from marlin_sdk.prediction.result import VideoPrediction

__all__ = ["Write", "csv_file", "json_file"]

Write = Callable[[str, VideoPrediction], None]
"""Writes what is said of a video, with its id."""

_COLUMNS = ("id", "source", "window", "track_id", "start_s", "end_s", "label", "predicted")


@contextmanager
def json_file(path: Path) -> Iterator[Write]:
    """A list with an object for each video, see `VideoPrediction.to_dict`; written atomically.

    Raises:
        FeatureFileError: it cannot be written.
    """
    with _written(path) as part, part.open("w", encoding="utf-8") as file:
        file.write("[")
        before = "\n"

        def write(id: str, prediction: VideoPrediction) -> None:
            nonlocal before
            file.write(before + json.dumps({"id": id, **prediction.to_dict()}))
            before = ",\n"

        yield write
        file.write("\n]\n")


@contextmanager
def csv_file(path: Path, heads: FittedHeads) -> Iterator[Write]:
    """A row for each video, face and window, and label, see `VideoPrediction.rows`; written atomically.

    Raises:
        FeatureFileError: it cannot be written.
    """
    classes = (name for head in heads.heads.values() for name in head.classes or ("value",))
    scores = [f"score_{name}" for name in dict.fromkeys(classes)]
    with _written(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, [*_COLUMNS, *scores], restval="")
        table.writeheader()

        def write(id: str, prediction: VideoPrediction) -> None:
            table.writerows({"id": id, "source": prediction.source, **row} for row in prediction.rows())

        yield write


@contextmanager
def _written(path: Path) -> Iterator[Path]:
    try:
        with atomic_path(path) as part:
            yield part
    except OSError as error:
        raise FeatureFileError(f"cannot write {path}: {error.strerror or error}") from error
