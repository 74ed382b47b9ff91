"""The provenance of features: weights and software versions."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from marlin_sdk._version import __version__
from marlin_sdk.config import ModelConfig

__all__ = ["describe_untrained", "describe_weights", "file_sha256", "versions"]


def describe_weights(name: str, commit: str | None, sha256: str) -> dict[str, Any]:
    """The identity of trained weights: the Hub commit, or the file's sha256 if there is none."""
    identity: dict[str, Any] = {"model": name, "commit": commit, "untrained": False}
    if commit is None:
        identity["weights_sha256"] = sha256
    return identity


def describe_untrained(name: str, seed: int, config: ModelConfig) -> dict[str, Any]:
    """The identity of random weights: their seed."""
    return {"model": name, "commit": None, "config": config.to_dict(), "untrained": True, "seed": seed}


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def versions() -> Mapping[str, str]:
    """The versions of the software that determines the features."""
    packages = {package: version(package) for package in ("torch", "av", "numpy", "face-alignment")}
    return {"marlin-sdk": __version__, "python": platform.python_version(), **packages, "opencv": _opencv()}


def _opencv() -> str:
    import cv2

    return str(cv2.__version__)
