"""Read the tensors of a checkpoint file without running its code, within limits of size."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marlin_sdk.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["read_tensors"]

_MAX_TENSORS = 20_000  # a model of 256 blocks, with decoder and discriminator, has a third of it


def read_tensors(path: Path, *, under: Sequence[str] = ("state_dict",)) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the flat state dict of a file, its keys unchanged, and the hyper-parameters of a Lightning file.

    Args:
        path: see `read_checkpoint`.
        under: entries that may hold the tensors; the first one present is used, otherwise the file is a flat state
            dict.
    Raises:
        WeightsError: the file is not a checkpoint, or is not safe to open.
    """
    if not path.is_file():
        raise WeightsError(f"no such checkpoint: {path}")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    hyper_parameters = content.get("hyper_parameters")
    state = next((content[key] for key in under if key in content), content)
    if not isinstance(state, dict) or not all(isinstance(key, str) and _is_tensor(state[key]) for key in state):
        raise WeightsError(f"{path} is not a state dict: expected a flat mapping of names to tensors")
    _check_count(path, len(state))
    return state, hyper_parameters if isinstance(hyper_parameters, dict) else {}


def _read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    try:
        with safe_open(path, framework="pt") as file:
            _check_count(path, len(file.keys()))
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path} is not a safetensors file, or is truncated: {error}") from error


def _read_pickle(path: Path) -> dict[str, Any]:
    import pickle

    import torch

    try:
        _check_zip(path)
        with _namespace_allowed():
            content = torch.load(path, map_location="cpu", weights_only=True)
    except WeightsError:
        raise
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} is refused: it is not a plain checkpoint of tensors, and opening it could run code. "
            "If you trust it, save its state dict alone (torch.save(model.state_dict(), ...)) or as .safetensors. "
            f"({str(error).partition(chr(10))[0]})"
        ) from error
    except Exception as error:  # for a broken or malicious file, pickle, zip and torch raise many types of error
        raise WeightsError(f"{path} is not a torch checkpoint, or is truncated: {error!r}") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path} holds a {type(content).__name__}; expected a state dict")
    return content


def _namespace_allowed() -> AbstractContextManager[object]:
    """Allow `argparse.Namespace`, plain values without code: VideoMAE's checkpoints store the run's options in one."""
    import argparse

    import torch

    safe_globals = getattr(torch.serialization, "safe_globals", None)  # since torch 2.5
    return nullcontext() if safe_globals is None else safe_globals([argparse.Namespace])


def _check_zip(path: Path) -> None:
    """Reject a zip that unpacks to more than its size (torch.save does not compress), or whose checksums do not match.

    torch itself does not compare the members' CRC-32.
    """
    if not zipfile.is_zipfile(path):
        return
    _check_count(path, _num_members(path))
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > path.stat().st_size:
        raise WeightsError(f"{path} is refused: it has {path.stat().st_size} bytes and would unpack to {unpacked}")
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise WeightsError(f"{path} is damaged: {damaged} in it does not match its checksum; download or save it again")


def _check_count(path: Path, count: int) -> None:
    if count > _MAX_TENSORS:
        raise WeightsError(f"{path} is refused: it holds {count} tensors; a model has at most {_MAX_TENSORS}")


def _num_members(path: Path) -> int:
    """How many members a zip declares (APPNOTE 4.3.14 to 4.3.16), before zipfile reads the names of all of them."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - (1 << 17)))
        end = file.read()
    large, plain = end.rfind(b"PK\x06\x06"), end.rfind(b"PK\x05\x06")
    at, size = (large + 32, 8) if large >= 0 else (plain + 10, 2)
    return int.from_bytes(end[at : at + size], "little")


def _is_tensor(value: object) -> bool:
    import torch

    return isinstance(value, torch.Tensor)
