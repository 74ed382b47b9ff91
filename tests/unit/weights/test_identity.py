"""The provenance of features."""

from __future__ import annotations

import hashlib
import json
import platform
from pathlib import Path

import cv2
import numpy as np
import torch
from tests.making import TINY

from marlin_sdk import __version__
from marlin_sdk.weights.identity import describe_untrained, describe_weights, file_sha256, versions


def test_local_weights_are_identified_by_their_checksum(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000  # more than one block
    (tmp_path / "own.pt").write_bytes(content)
    sha256 = file_sha256(tmp_path / "own.pt")
    assert sha256 == hashlib.sha256(content).hexdigest()
    assert describe_weights("./own.pt", None, sha256) == {
        "model": "./own.pt",
        "commit": None,
        "untrained": False,
        "weights_sha256": sha256,
    }


def test_hub_weights_are_identified_by_their_commit() -> None:
    identity = describe_weights("owner/name", "a" * 40, "b" * 64)
    assert (identity["commit"], "weights_sha256" in identity) == ("a" * 40, False)


def test_untrained_weights_are_marked() -> None:
    identity = describe_untrained("marlin_vit_small_ytf", 3, TINY)
    assert (identity["untrained"], identity["seed"], identity["commit"]) == (True, 3, None)


def test_versions_are_those_installed() -> None:
    found = versions()
    assert (found["marlin-sdk"], found["python"]) == (__version__, platform.python_version())
    assert (found["numpy"], found["opencv"]) == (np.__version__, cv2.__version__)
    assert torch.__version__.startswith(found["torch"].partition("+")[0])
    assert {"av", "face-alignment"} <= found.keys()
    assert json.loads(json.dumps(found)) == found
