"""Dumps that nobody made by accident: typed errors, whatever is done with them."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.dump.example_dumps import random_features, write_dump

from marlin_sdk import FeatureDump, FeatureFileError, ShapeError, load_features
from marlin_sdk.report.page import ReportOptions, write_report


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    folder = tmp_path / "dump"
    folder.mkdir()
    write_dump(folder, {name: random_features(3, seed=len(name)) for name in ("a", "bb")}, "npz")
    return folder


def use(folder: Path) -> None:
    """Open, read and report."""
    dump = FeatureDump(folder)
    for id in dump:
        dump[id].to_dataframe()
    write_report(folder, folder.parent / "report.html", ReportOptions(crops=0))


def put(path: Path, make: Callable[[Path], Any]) -> None:
    path.unlink()
    make(path)


THINGS: dict[str, Callable[[Path], Any]] = {
    "folder": Path.mkdir,
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "circle": lambda path: path.symlink_to(path.name),
    "pipe": os.mkfifo,
}


@pytest.mark.parametrize("thing", THINGS)
@pytest.mark.parametrize("name", ["manifest.jsonl", "a.npz"])
def test_things_that_are_no_files(dump: Path, thing: str, name: str) -> None:
    put(dump / name, THINGS[thing])
    with pytest.raises(FeatureFileError, match=name):
        use(dump)


@pytest.mark.parametrize("key", ["rows", "skipped_windows", "seconds", "finished_at", "duration_s"])
@pytest.mark.parametrize("value", [10**400, -(10**400), 1e300, math.inf, math.nan, [1], "1"], ids=str)
def test_numbers_that_count_nothing(dump: Path, key: str, value: Any) -> None:
    manifest = dump / "manifest.jsonl"
    first, *others = map(json.loads, manifest.read_text().splitlines())
    manifest.write_text("".join(f"{json.dumps(line)}\n" for line in ({**first, key: value}, *others)))
    with pytest.raises(FeatureFileError, match=rf"manifest\.jsonl, line 1, is not a manifest entry: {key} is"):
        load_features(dump)


def test_windows_without_frames(dump: Path) -> None:
    arrays = dict(np.load(dump / "a.npz", allow_pickle=False))
    notes = json.loads(str(arrays["notes"]))
    del notes["sha256"]
    flat = {name: arrays[name][:, :0] for name in ("frame_index", "frame_valid", "boxes", "face_score")}
    np.savez(dump / "a.npz", **{**arrays, **flat, "notes": np.array(json.dumps(notes))})
    with pytest.raises(FeatureFileError, match=r"frame_index has shape \(3, 0\): its windows have no frames"):
        use(dump)
    with pytest.raises(ShapeError, match="no frames"):
        random_features(3, seed=0).__class__(**{**vars(random_features(3, seed=0)), **flat})
