"""The files of a head that somebody else may have made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from marlin_sdk.errors import FeatureFileError
from marlin_sdk.evaluation.probe.head_file import FittedHeads, load_heads, save_heads
from marlin_sdk.evaluation.probe.heads import LinearHead, NeighbourHead
from marlin_sdk.evaluation.probe.samples import pool_rows
from marlin_sdk.features import VideoFeatures

DIM = 4
HEAD = LinearHead(("a", "b", "c"), np.zeros(DIM), np.ones(DIM), np.eye(3, DIM), np.zeros(3), 1.0)


def features_with(rows: NDArray[np.float32]) -> VideoFeatures:
    count = len(rows)
    return VideoFeatures(
        features=rows,
        start_s=np.arange(count, dtype=np.float64),
        end_s=np.arange(1, count + 1, dtype=np.float64),
        frame_index=np.zeros((count, 16), np.int64),
        frame_valid=np.ones((count, 16), np.bool_),
        boxes=np.zeros((count, 16, 4), np.float32),
        face_score=np.ones((count, 16), np.float32),
        track_id=np.zeros(count, np.int64),
    )


def test_scores_of_several_videos_are_those_of_each() -> None:
    random = np.random.default_rng(0)
    known = random.standard_normal((30, 2 * DIM)).astype(np.float32)
    near = NeighbourHead((), np.zeros(2 * DIM), np.ones(2 * DIM), known, random.standard_normal(30))
    heads = FittedHeads({"x": near}, "knn", "mean+std", DIM, "w")
    videos = [features_with(random.standard_normal((rows, DIM)).astype(np.float32)) for rows in (1, 5, 2)]
    together = heads.scores_of(videos)["x"]
    assert together.shape == (3, 1)
    for video, scores in zip(videos, together, strict=True):
        np.testing.assert_allclose(heads.scores(video)["x"], scores, atol=1e-5)
        rows = np.atleast_2d(pool_rows(video, "mean+std"))
        np.testing.assert_allclose(near.scores(rows, np.empty(0, np.int64))[0], scores, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pooling": "median"}, "pooling 'median'"),
        ({"width": "4"}, "width '4'"),
        ({"width": 5}, "cannot be read"),
        ({"width": -1}, "malformed"),
        ({"width": 1 << 40}, "malformed"),
        ({"identity": []}, "identity are malformed"),
        ({"labels": []}, "there is no label"),
        ({"labels": [{"label": "x", "classes": ["a", "b"], "settings": {"penalty": 1, "notes": []}}]}, "head of 'x'"),
        ({"labels": [{"label": "x", "classes": "abcd", "settings": {"penalty": 1, "notes": []}}]}, "head of 'x'"),
        ({"labels": [{"label": "x"}]}, "cannot be read"),
        ({"labels": 3}, "cannot be read"),
        ({"head": "os.system"}, "cannot be read"),
        ({"head": "attentive"}, "cannot be read"),
    ],
)
def test_head_whose_parts_do_not_fit_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    save_heads(tmp_path, FittedHeads({"x": HEAD}, "logistic", "mean", DIM, "w"))
    values = json.loads((tmp_path / "head.json").read_text())
    (tmp_path / "head.json").write_text(json.dumps({**values, **changes}))
    with pytest.raises(FeatureFileError, match=message):
        load_heads(tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_head_with_weights_that_are_no_numbers_is_refused(value: float, tmp_path: Path) -> None:
    save_heads(tmp_path, FittedHeads({"x": HEAD}, "logistic", "mean", DIM, "w"))
    tensors = load_file(tmp_path / "head.safetensors")
    tensors["0.bias"][1] = value
    save_file(tensors, tmp_path / "head.safetensors")
    with pytest.raises(FeatureFileError, match=r"head that cannot be used: the head of 'x' holds NaN"):
        load_heads(tmp_path)


def test_folder_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    save_heads(tmp_path, FittedHeads({"x": HEAD}, "logistic", "mean", DIM, "w"))
    (tmp_path / "head.json").unlink()
    (tmp_path / "head.json").mkdir()
    with pytest.raises(FeatureFileError, match="cannot be read"):
        load_heads(tmp_path)
