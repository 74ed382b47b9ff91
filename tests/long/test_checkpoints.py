"""500 damaged checkpoints and configs: refused with a typed error, or loaded with the features of the good ones."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.long.mutation import mutate
from tests.making import TINY, noise, write_checkpoint

from marlin_sdk import Marlin, MarlinError
from marlin_sdk.weights.checkpoints import to_published_keys
from marlin_sdk.weights.integrity import write_checksums

COUNT = int(os.environ.get("MARLIN_FUZZ_CHECKPOINTS", "500"))
SETTINGS = {"device": "cpu", "detector": "lbp"}


@pytest.fixture(scope="module")
def model() -> Marlin:
    return Marlin.untrained(TINY, device="cpu", detector="lbp")


def load(path: Path) -> np.ndarray | None:
    """The features of a clip by these weights; None where they are refused."""
    try:
        return Marlin.from_pretrained(path, device="cpu", detector="lbp").extract_clip(noise(16, 32, 32)).numpy()
    except MarlinError:
        return None


def published(model: Marlin) -> dict[str, torch.Tensor]:
    return to_published_keys({f"encoder.{key}": value for key, value in model.encoder.state_dict().items()})


@pytest.mark.parametrize("damaged", ["model.safetensors", "config.json", "SHA256SUMS"])
def test_published_folders(model: Marlin, tmp_path: Path, damaged: str) -> None:
    """With checksums: whatever differs is refused, or was no change of a weight."""
    folder = write_checkpoint(tmp_path / "good", model)
    write_checksums(folder, [folder / "config.json", folder / "model.safetensors"])
    good, content = load(folder), (folder / damaged).read_bytes()
    assert good is not None
    for seed in range(COUNT // 5):
        (folder / damaged).write_bytes(mutate(content, seed))
        features = load(folder)
        if damaged != "SHA256SUMS":
            assert features is None or (folder / damaged).read_bytes() == content, seed
        elif features is not None:
            np.testing.assert_array_equal(features, good, err_msg=str(seed))


@pytest.mark.parametrize("legacy", [False, True])
def test_pickles(model: Marlin, tmp_path: Path, legacy: bool) -> None:
    """A zip has checksums of its own; the old format has none, and only must not do harm."""
    config = tmp_path / "config.json"
    path = tmp_path / "tiny.encoder.pt"
    torch.save(published(model), path, _use_new_zipfile_serialization=not legacy)
    good, content = load_with(path), path.read_bytes()
    assert good is not None
    for seed in range(COUNT // 5):
        path.write_bytes(mutate(content, seed))
        features = load_with(path)
        if features is not None and not legacy:
            np.testing.assert_array_equal(features, good, err_msg=str(seed))
    assert not config.exists()


def load_with(path: Path) -> np.ndarray | None:
    try:
        loaded = Marlin.from_pretrained(path, device="cpu", detector="lbp", config=TINY.without_decoder())
        return loaded.extract_clip(noise(16, 32, 32)).numpy()
    except MarlinError:
        return None


def test_configs_of_any_values(model: Marlin, tmp_path: Path) -> None:
    """Valid JSON with values that no model has."""
    folder = write_checkpoint(tmp_path / "good", model)
    values = json.loads((folder / "config.json").read_text())
    odd: tuple[object, ...] = (0, -1, 1.5, 10**400, 2**31, "32", None, [], {}, True, float("nan"), "x" * 100_000)
    for key in values:
        for value in odd:
            (folder / "config.json").write_text(json.dumps({**values, key: value}))
            features = load(folder)
            assert features is None or np.isfinite(features).all(), (key, value)
