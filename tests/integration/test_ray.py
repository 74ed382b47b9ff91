"""The command on a Ray cluster of this machine. What happens to actors that die is in tests/long/test_ray.py."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import ROOT
from tests.making import noise, write_video
from tests.patience import HANG_S

from marlin_sdk.batch import ray
from marlin_sdk.batch.ray import plan_actors
from marlin_sdk.dump.reading import FeatureDump
from marlin_sdk.errors import ConfigError


def ray_environment() -> dict[str, str]:
    """Ray's own code warns, and its processes must find the tests."""
    inherited = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**inherited, "PYTHONPATH": path, "PYTHONWARNINGS": "default", "RAY_USAGE_STATS_ENABLED": "0"}


def test_the_command_starts_a_cluster_of_its_own(tmp_path: Path, tiny_folder: Path) -> None:
    for index in range(4):
        write_video(tmp_path / f"{index:02d}.mp4", noise(30 + 15 * index, 32, 32, seed=index))
    videos = [f"{index:02d}.mp4" for index in range(4)]
    command = [sys.executable, "-m", "marlin_sdk.cli", *videos, "-o", "by-command", "--model", str(tiny_folder)]
    done = subprocess.run(
        [*command, "--engine", "ray", "--workers", "1", "--format", "parquet", "--detector", "lbp", "--log-json"],
        env=ray_environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=HANG_S,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert len(FeatureDump(tmp_path / "by-command")) == 4
    assert '"event": "end", ' in done.stderr


class Rows:
    """What a Ray dataset of a table gives."""

    def iter_rows(self) -> Iterator[dict[str, object]]:
        yield {"path": "a.mp4", "start_s": 0.5, "track": 1.0, "age": np.int64(31), "fake": True, "mood": "sad"}
        yield {"path": "b.mp4", "start_s": math.nan, "track": None, "age": 7, "fake": None, "mood": None}


def test_columns_of_a_dataset_are_typed_as_those_of_a_table() -> None:
    one, other = ray._videos_of(Rows(), {})
    assert (one.start_s, one.track, other.start_s, other.track) == (0.5, 1, None, None)
    assert (one.labels, other.labels) == (
        {"age": 31, "fake": True, "mood": "sad"},
        {"age": 7, "fake": None, "mood": None},
    )


@pytest.mark.parametrize(
    ("nodes", "actors", "device", "plan"),
    [
        ([{"CPU": 2}], None, "auto", (1, 2, 0)),
        ([{"CPU": 2}], 2, "auto", (2, 1, 0)),
        ([{"CPU": 2}], 8, "cpu", (8, 1, 0)),
        ([{"CPU": 64}], None, "cpu", (16, 4, 0)),
        ([{"CPU": 9}, {"CPU": 3}], None, "cpu", (2, 4, 0)),
        ([{"CPU": 4}, {"CPU": 64, "GPU": 8}, {"CPU": 48, "GPU": 8}], None, "auto", (16, 6, 1)),
        ([{"CPU": 64, "GPU": 8}], 3, "cuda", (3, 8, 1)),
        ([{"CPU": 64, "GPU": 8}], None, "cpu", (16, 4, 0)),
        ([{"CPU": 1, "GPU": 2}], None, "auto", (2, 1, 1)),
    ],
)
def test_actors_fit_on_the_nodes(
    nodes: list[dict[str, float]], actors: int | None, device: str, plan: tuple[int, int, float]
) -> None:
    made = plan_actors(nodes, actors=actors, device=device)
    assert (made.actors, made.cpus, made.gpus) == plan
    assert made.workers == (made.cpus if made.gpus else max(1, made.cpus // 2))


@pytest.mark.parametrize(
    ("actors", "device", "said"),
    [(0, "auto", "actors is 0"), (None, "cuda:1", "Ray assigns the GPUs"), (None, "cuda", "no node .* has a GPU")],
)
def test_actors_that_cannot_be_are_refused(actors: int | None, device: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        plan_actors([{"CPU": 4}], actors=actors, device=device)
