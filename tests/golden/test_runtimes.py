"""Each fast path against torch's float32, with ViT-S on real faces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from tests.making import recipe_weights
from torch import Tensor

from marlin_sdk import Marlin
from marlin_sdk.config import PRESETS
from marlin_sdk.evaluation.fidelity import fidelity
from marlin_sdk.model.positions import sinusoid_positions
from marlin_sdk.runtime.cpu import cpu_flags, describe_missing_features

pytestmark = pytest.mark.shared

NAME = "marlin_vit_small_ytf"
BF16_PATHS = [("torch", "bfloat16", 0.4), ("openvino", "bfloat16", 0.95)]  # cosines are 0.99998 and 0.99999
HAS_BF16 = cpu_flags() is not None and describe_missing_features("bfloat16", cpu_flags()) is None
PATHS: list[Any] = [
    ("openvino", "float32", 0.9999),
    ("onnx", "float32", 0.9999),
    pytest.param("openvino", "int8", 0.85, marks=pytest.mark.long),
    *(BF16_PATHS if HAS_BF16 else ()),
]


@pytest.fixture(scope="module")
def checkpoint(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    shapes = json.loads((shared / "golden" / f"{NAME}.keys.json").read_text())
    shapes = {key: shape for key, shape in shapes.items() if key.startswith("encoder.")}
    weights = recipe_weights(shapes, {"encoder.pos_embedding.emb": sinusoid_positions(1568, 384)})
    path = tmp_path_factory.mktemp("recipe") / "small.safetensors"
    save_file(weights, path)
    return path


@pytest.fixture(scope="module")
def clips(shared: Path) -> NDArray[np.uint8]:
    """A clip from the beginning of each pre-cropped video, and two from further on."""
    found = []
    for name, first in (("cropped01", 0), ("cropped01", 45), ("cropped01", 90), ("cropped05", 0)):
        with av.open(str(shared / "media" / f"{name}.mp4")) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        found.append(np.stack([frames[min(first + 2 * step, len(frames) - 1)] for step in range(16)]))
    return np.stack(found)


def kept_within(features: Tensor, exact: Tensor) -> float:
    """R2 of what differs between the windows of the first video; cosine would hide its loss."""
    found = fidelity(features[:3].numpy(), exact[:3].numpy()).r2_within
    assert found is not None
    return found


def _load(checkpoint: Path, **settings: Any) -> Marlin:
    return Marlin.from_pretrained(checkpoint, config=PRESETS[NAME].without_decoder(), device="cpu", **settings)


@pytest.fixture(scope="module")
def exact(checkpoint: Path, clips: NDArray[np.uint8]) -> Tensor:
    return _load(checkpoint).extract_clip(clips)


@pytest.mark.parametrize(("runtime", "dtype", "least"), PATHS)
def test_fast_path_agrees_on_real_faces(
    checkpoint: Path, clips: NDArray[np.uint8], exact: Tensor, runtime: str, dtype: str, least: float
) -> None:
    features = _load(checkpoint, runtime=runtime, dtype=dtype).extract_clip(clips)
    assert kept_within(features, exact) > least
    assert not torch.equal(features, exact)
    if dtype == "float32":
        assert (features - exact).abs().max() < 2e-4


@pytest.mark.long
def test_quantised_by_the_users_own_clips_it_agrees_too(
    checkpoint: Path, clips: NDArray[np.uint8], exact: Tensor
) -> None:
    model = _load(checkpoint, runtime="openvino", dtype="int8", calibration=clips[::2])
    assert kept_within(model.extract_clip(clips), exact) > 0.85
