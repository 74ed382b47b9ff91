"""Files of absurdly many tensors are refused by what they declare, before their content is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from marlin_sdk import WeightsError
from marlin_sdk.weights import tensors
from marlin_sdk.weights.tensors import read_tensors

MANY = 20_001


def save_shared(state: dict[str, Any], path: Path) -> None:
    """A pickle of many names for one tensor: the zip has few members."""
    torch.save(dict.fromkeys(state, torch.zeros(1)), path)


@pytest.mark.parametrize(
    ("suffix", "save"), [(".safetensors", save_file), (".pt", torch.save), (".shared.pt", save_shared)]
)
def test_too_many_tensors_are_refused(tmp_path: Path, suffix: str, save: Callable[..., None]) -> None:
    path = tmp_path / f"many{suffix}"
    save({f"encoder.{index}": torch.zeros(1) for index in range(MANY)}, path)
    with pytest.raises(WeightsError, match=r"many.* is refused: it holds 200\d\d tensors; a model has at most 20000"):
        read_tensors(path)


@pytest.mark.parametrize("count", [3, 300, 70_000])
def test_members_of_a_zip_are_counted_without_reading_their_names(tmp_path: Path, count: int) -> None:
    import zipfile

    path = tmp_path / "any.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(count):
            archive.writestr(str(index), b"")
    assert tensors._num_members(path) == count
