"""200 kills at random moments: each run ends with what an undisturbed one makes, exactly once."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.integration.conftest import *  # noqa: F403 - its fixtures
from tests.integration.test_resume import kill_and_resume, videos
from tests.integration.warm import WarmCommand

__all__ = ["videos"]


@pytest.mark.parametrize("format", ["npz", "parquet"])
@pytest.mark.parametrize("seed", range(1, 6))
def test_twenty_kills(warm: WarmCommand, videos: Path, format: str, seed: int) -> None:
    kill_and_resume(warm, videos, format, seed)
