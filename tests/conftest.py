"""What every test may use: a home of its own, the shared reference data, a tiny model, the example video."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import torch
from tests.making import TINY

from marlin_sdk import Marlin

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("MARLIN_SHARED", ROOT.parent / "shared"))

# An example may take as long as a busy machine needs.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

# Every reason for which a test may be skipped; tests/integration/test_skips.py reads the list.
ALLOWED_SKIPS = {
    "reference data": "needs the reference data of ../shared (MARLIN_SHARED)",
    "gpu": "needs a CUDA device",
    "browser": "needs a Chromium browser (chromium or google-chrome on the PATH)",
    "shellcheck": "needs shellcheck on the PATH",
}


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the caches of the person who runs it."""
    monkeypatch.setenv("MARLIN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data."""
    if not SHARED.is_dir():
        pytest.skip(ALLOWED_SKIPS["reference data"])
    return SHARED


def program(reason: str, *names: str) -> str:
    """The first of these programs that is installed."""
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip(ALLOWED_SKIPS[reason])
    return path


@pytest.fixture(scope="session")
def chromium() -> str:
    """A browser's program."""
    return program("browser", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def shellcheck() -> str:
    """The linter of shell scripts."""
    return program("shellcheck", "shellcheck")


@pytest.fixture(scope="session")
def tiny() -> Marlin:
    """A model of 32 dims and 2 blocks on 32x32 frames, random weights, that finds faces with the cascade."""
    return Marlin.untrained(TINY, device="cpu", detector="lbp", decoder=True)


@pytest.fixture(scope="session")
def astronaut() -> Path:
    """The video that comes with the examples: one real face, 480x360, 4 s of 25 fps."""
    return ROOT / "examples" / "astronaut.mp4"


@pytest.fixture
def _small_heap() -> Iterator[None]:
    """`gc.collect` looks only at what the test makes, not at the million objects of torch and its friends."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _two_threads() -> None:
    torch.set_num_threads(2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`shared` and `gpu` tests say what they need by their marker, and are skipped by name without it."""
    without = {
        "shared": (not SHARED.is_dir(), ALLOWED_SKIPS["reference data"]),
        "gpu": (not torch.cuda.is_available(), ALLOWED_SKIPS["gpu"]),
    }
    for item in items:
        for marker, (missing, reason) in without.items():
            if missing and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))
