"""Pools from a video to a dump and back: the same numbers everywhere, each with its own identity."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.making import TINY, ColouredFaces, noise, write_video
from tests.unit.batch.engines import assert_alike

from marlin_sdk import (
    ConfigError,
    ExtractionConfig,
    FeatureDump,
    Marlin,
    ModelConfig,
    WindowDataset,
    load_features,
    pad_collate,
)
from marlin_sdk.batch.local import LocalEngine
from marlin_sdk.batch.recipe import Recipe
from marlin_sdk.batch.run import RunSummary, make_dump
from marlin_sdk.batch.workers import WorkerLimits
from marlin_sdk.clips.cut import Clip
from marlin_sdk.config import Pool
from marlin_sdk.dump.plan import DumpPlan
from marlin_sdk.inputs.videos import find_videos
from marlin_sdk.report.page import write_report
from marlin_sdk.video.reader import open_video

MODEL = ModelConfig(**{**TINY.to_dict(), "patch_size": 4})  # 8 x 8 tokens a slice
POOLS: tuple[Pool, ...] = ("mean", "time", "regions")
RECIPE = Recipe(model=MODEL, untrained=True, detector=ColouredFaces(), settings=ExtractionConfig(sample_rate=1))


@pytest.fixture(scope="module")
def model() -> Marlin:
    return RECIPE.load_model("cpu")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A red face that moves, and what is behind it: two windows and a half."""
    frames = noise(40, 96, 128) // 8 + 80
    for index in range(40):
        frames[index, 20:60, 20 + index : 60 + index] = (255, 0, 0)
        frames[index, 40:44, 40 + index] = index * 6  # so that frames of the face differ
    return write_video(tmp_path_factory.mktemp("in") / "talk.mp4", frames, codec="ffv1", pix_fmt="bgr0")


def cut(model: Marlin, video: Path, settings: ExtractionConfig) -> list[Clip]:
    with open_video(video) as reader:
        return [clip for one in model._cutter.cut(reader, settings) if isinstance(one, list) for clip in one]


def by_hand(tokens: NDArray[np.float32], pool: Pool, clips: list[Clip]) -> NDArray[np.float32]:
    if pool == "time":
        return np.asarray(tokens.reshape(len(tokens), 8, 64, -1).mean(axis=2))
    rows = []
    for own, clip in zip(tokens, clips, strict=True):
        assert clip.regions is not None
        flat = clip.regions.reshape(-1)
        rows.append([own[(flat & (1 << bit)) != 0].mean(axis=0) for bit in range(4)])
    return np.array(rows, dtype=np.float32)


@pytest.mark.parametrize("runtime", ["torch", "onnx", "openvino"])
@pytest.mark.parametrize("pool", ["time", "regions"])
def test_vectors_are_means_of_the_tokens_of_keep_seq(video: Path, runtime: Any, pool: Pool) -> None:
    model = replace(RECIPE, runtime=runtime).load_model("cpu")
    settings = replace(RECIPE.settings, pool=pool)
    tokens = model.extract(video, sample_rate=1, keep_seq=True).features
    got = model.extract(video, sample_rate=1, pool=pool)
    expected = by_hand(tokens, pool, cut(model, video, settings))
    assert got.features.shape == (3, 8 if pool == "time" else 4, 32)
    np.testing.assert_allclose(got.features, expected, atol=1e-5)
    parts = got.features.transpose(1, 0, 2)
    assert min(np.abs(one - two).max() for index, one in enumerate(parts) for two in parts[:index]) > 1e-3
    assert torch.equal(model.extract_video(video, sample_rate=1, pool=pool), torch.from_numpy(got.features))
    streamed = [row.feature for row in model.stream(video, sample_rate=1, pool=pool)]
    np.testing.assert_allclose(streamed, got.features, atol=1e-5)


def test_mean_is_that_of_the_encoder_to_the_bit(model: Marlin, video: Path) -> None:
    clips = cut(model, video, RECIPE.settings)
    pixels = torch.from_numpy(np.stack([clip.pixels for clip in clips]))
    got = model.extract(video, sample_rate=1)
    assert np.array_equal(got.features, model._runtime.encode(pixels).numpy())
    assert all(clip.regions is None for clip in clips)
    assert np.array_equal(got.features, model.extract(video, sample_rate=1, pool="mean").features)


def test_metadata_names_the_pool_and_who_found_the_landmarks(model: Marlin, video: Path) -> None:
    for pool in POOLS:
        result = model.extract(video, sample_rate=1, pool=pool)
        assert result.meta["settings"]["pool"] == result.pool == pool
        assert ("region_detector" in result.meta) == (pool == "regions")
    cropped = np.full((16, 32, 32, 3), 90, dtype=np.uint8)
    cropped[:, 4:28, 4:28] = (255, 0, 0)
    result = model.extract(cropped, source_fps=25.0, pool="regions")
    assert (result.meta["detector"], result.meta["region_detector"]) == (None, {"name": "coloured"})


def fill(folder: Path, video: Path, pool: Pool, format: str = "npz") -> RunSummary:
    recipe = replace(RECIPE, settings=replace(RECIPE.settings, pool=pool))
    model = recipe.load_model("cpu")
    engine = LocalEngine(recipe, [model], workers=1, limits=WorkerLimits())
    return make_dump(find_videos([str(video)]), engine, DumpPlan(folder, format), recipe.identity(model))


@pytest.mark.parametrize("pool", ["time", "regions"])
@pytest.mark.parametrize("format", ["npz", "npy", "safetensors", "parquet", "webdataset"])
def test_dump_of_every_format_gives_back_what_the_model_extracts(
    tmp_path: Path, model: Marlin, video: Path, format: str, pool: Pool
) -> None:
    assert fill(tmp_path, video, pool, format).counts["ok"] == 1
    expected = model.extract(video, sample_rate=1, pool=pool)
    dump = load_features(tmp_path)
    assert isinstance(dump, FeatureDump)
    assert dump.settings is not None
    assert dump.settings["identity"]["settings"]["pool"] == pool
    assert_alike(dump["talk"], expected)
    assert dump["talk"].pool == pool
    assert pad_collate([dump["talk"], dump["talk"][:1]])["features"].shape == (2, 3, *expected.features.shape[1:])
    if pool == "time":
        np.testing.assert_array_equal(dump["talk"].by_time().start_s, expected.by_time().start_s)
    if format == "parquet":
        rows = list(WindowDataset(tmp_path))
        np.testing.assert_allclose([row["feature"].numpy() for row in rows], expected.features, atol=1e-5)
    assert write_report(tmp_path, tmp_path / "report.html") == 1


@pytest.mark.parametrize(("before", "after"), [("mean", "time"), ("time", "regions"), ("regions", "mean")])
def test_folder_of_another_pool_is_refused(tmp_path: Path, video: Path, before: Pool, after: Pool) -> None:
    fill(tmp_path, video, before)
    kept = FeatureDump(tmp_path)["talk"].features
    was, is_ = ("None" if pool == "mean" else repr(pool) for pool in (before, after))
    with pytest.raises(ConfigError, match=rf"made with other settings:\n  settings.pool: {was} there, {is_} requested"):
        fill(tmp_path, video, after)
    assert fill(tmp_path, video, before).done_before == 1
    np.testing.assert_array_equal(FeatureDump(tmp_path)["talk"].features, kept)
