"""Dumps, runs and prepared data that version 0.1.0 wrote, before the package was rearranged: read, and gone on with."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.generated_clips import GeneratedClips
from tests.making import noise, write_video

from marlin_sdk import ExtractionConfig, FeatureDump, Marlin, ModelConfig
from marlin_sdk.batch.local import LocalEngine
from marlin_sdk.batch.recipe import Recipe
from marlin_sdk.batch.run import make_dump
from marlin_sdk.batch.workers import WorkerLimits
from marlin_sdk.dump.manifest import read_manifest
from marlin_sdk.dump.plan import DumpPlan
from marlin_sdk.inputs.videos import VideoInput
from marlin_sdk.training.pretrain.config import PretrainConfig
from marlin_sdk.training.pretrain.data import ClipDataset
from marlin_sdk.training.pretrain.run import Run, pretrain, run_folder

EARLIER = Path(__file__).parents[1] / "fixtures" / "version-0.1.0"
MODEL = ModelConfig(
    encoder_embed_dim=8,
    encoder_depth=1,
    encoder_num_heads=2,
    decoder_embed_dim=4,
    decoder_depth=1,
    decoder_num_heads=2,
    img_size=32,
    patch_size=8,
)
RECIPE = Recipe(model=MODEL, untrained=True, detector="lbp", settings=ExtractionConfig(sample_rate=1, batch_size=4))


def copied(name: str, tmp_path: Path) -> Path:
    """A copy that a test may write to."""
    return Path(shutil.copytree(EARLIER / name, tmp_path / name))


@pytest.mark.parametrize("format", ["npz", "parquet"])
def test_dump_is_read(format: str, tmp_path: Path) -> None:
    dump = FeatureDump(copied(f"dump-{format}", tmp_path))
    assert set(dump) == {"first", "second"}
    assert dump.labels("first") == {"word": "first"}
    assert dump.entries["third"].error == "VideoNotFoundError"
    made_now = RECIPE.load_model("cpu").extract(noise(40, 32, 32, seed=0) // 8 + 90, sample_rate=1, source_fps=25)
    assert dump["first"].features.shape == made_now.features.shape == (3, 8)
    np.testing.assert_array_equal(dump["first"].frame_index, made_now.frame_index)
    assert dump["first"].meta["versions"]["marlin-sdk"] == "0.1.0"


@pytest.mark.parametrize("format", ["npz", "parquet"])
def test_dump_goes_on_with_what_is_missing(format: str, tmp_path: Path) -> None:
    folder = copied(f"dump-{format}", tmp_path)
    before = {id: features.features for id, features in FeatureDump(folder).items()}
    write_video(tmp_path / "third.mp4", noise(40, 32, 32, seed=2) // 8 + 90)
    videos = [
        VideoInput(name, str(tmp_path / f"{name}.mp4"), labels={"word": name}) for name in ("first", "second", "third")
    ]
    model = RECIPE.load_model("cpu")
    engine = LocalEngine(RECIPE, [model], workers=1, limits=WorkerLimits())
    summary = make_dump(videos, engine, DumpPlan(folder, format=format), RECIPE.identity(model))
    assert (summary.done_before, summary.counts) == (2, {"ok": 1})
    dump = FeatureDump(folder)
    assert set(dump) == {"first", "second", "third"}
    for id, features in before.items():
        np.testing.assert_array_equal(dump[id].features, features)
    assert len({entry.settings_hash for entry in read_manifest(folder).values()}) == 1


def test_run_gives_its_model_and_goes_on(tmp_path: Path) -> None:
    folder = copied("run", tmp_path)
    model = Marlin.from_pretrained(folder, decoder=True, detector="lbp", device="cpu")
    assert model.config == MODEL
    settings = run_folder(folder).saved_settings()
    assert (settings["max_steps"], settings["seed"]) == (4, 3)
    config = PretrainConfig.from_dict({**settings, "max_steps": 6})
    torch.set_num_threads(1)
    result = pretrain(config, folder, train=GeneratedClips(), val=GeneratedClips(4, seed=1), run=Run(resume=True))
    assert result.step == 6
    steps = [line.split(",")[0] for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert steps == ['{"step": 2', '{"step": 4', '{"step": 4', '{"step": 6', '{"step": 6']


def test_prepared_data_is_read(tmp_path: Path) -> None:
    clips = ClipDataset(copied("data", tmp_path), "train", clip_frames=16, sample_rate=2)
    assert {str(item["identity"]) for item in clips} == {"ann", "bob"}
