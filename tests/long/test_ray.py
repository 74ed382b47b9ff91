"""The engine on a real Ray cluster of this machine: the same features as the local engine, and nothing lost."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.integration.test_ray import ray_environment
from tests.long import on_ray
from tests.making import noise, write_video
from tests.patience import HANG_S

from marlin_sdk.batch.local import LocalEngine
from marlin_sdk.batch.run import make_dump
from marlin_sdk.batch.workers import WorkerLimits
from marlin_sdk.dump.lock import Shard
from marlin_sdk.dump.manifest import manifests
from marlin_sdk.dump.plan import DumpPlan
from marlin_sdk.dump.reading import FeatureDump
from marlin_sdk.inputs.videos import find_videos

VIDEOS = 50


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifty small videos, cropped already, of one to four windows, a broken one, and one that needs a detector."""
    folder = tmp_path_factory.mktemp("ray")
    (folder / "videos").mkdir()
    for index in range(VIDEOS):
        write_video(folder / "videos" / f"{index:02d}.mp4", noise(30 + 15 * (index % 5), 32, 32, seed=index))
    (folder / "videos" / "broken.mp4").write_bytes(b"no video at all")
    write_video(folder / "wide.mp4", noise(40, 48, 64))
    return folder


@pytest.fixture(scope="module")
def told(folder: Path) -> Mapping[str, Any]:
    """What the runs on the cluster say of themselves."""
    done = subprocess.run(
        [sys.executable, on_ray.__file__, folder],
        env=ray_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=HANG_S,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    told: dict[str, Any] = json.loads((folder / "told.json").read_text())
    return told


@pytest.fixture(scope="module")
def local(folder: Path) -> FeatureDump:
    """The same videos through the engine of one machine."""
    recipe = on_ray.RECIPE
    model = recipe.load_model("cpu")
    engine = LocalEngine(recipe, [model], workers=1, limits=WorkerLimits())
    plan = DumpPlan(folder / "local", "parquet", Shard(1, 1))
    make_dump(find_videos([str(folder / "videos")]), engine, plan, recipe.identity(model))
    return FeatureDump(plan.folder)


def assert_same(dump: FeatureDump, local: FeatureDump) -> None:
    assert len(local) == VIDEOS
    assert set(dump) == set(local)
    assert sum(entry.rows for entry in dump.entries.values()) == sum(entry.rows for entry in local.entries.values())
    for id in local:
        ours, theirs = dump[id], local[id]
        np.testing.assert_allclose(ours.features, theirs.features, atol=2e-5)
        np.testing.assert_array_equal(ours.frame_index, theirs.frame_index)
        np.testing.assert_array_equal(ours.start_s, theirs.start_s)


def manifest_ids(folder: Path) -> list[str]:
    return [json.loads(line)["id"] for path in manifests(folder) for line in path.read_text().splitlines()]


def test_an_actor_killed_in_mid_run_loses_nothing(folder: Path, told: Mapping[str, Any], local: FeatureDump) -> None:
    assert told["killed"] == {"counts": {"ok": VIDEOS, "failed": 1}, "left": 0, "before": 0, "actors": 1}
    dump = FeatureDump(folder / "killed")
    assert_same(dump, local)
    assert {entry.file for entry in dump.entries.values() if entry.rows} == {"features-00001.parquet"}
    broken = dump.entries["broken"]
    assert (broken.status, broken.error) == ("failed", "VideoDecodeError")
    ids = manifest_ids(folder / "killed")
    assert len(ids) == len(set(ids)) == VIDEOS + 1


def test_fifty_videos_in_two_runs_give_the_features_of_the_local_engine(
    folder: Path, told: Mapping[str, Any], local: FeatureDump
) -> None:
    done = sum(told["drained"]["counts"].values())
    assert 4 <= done < VIDEOS
    assert told["drained"]["left"] == VIDEOS + 1 - done
    resumed = told["resumed"]
    assert resumed["left"] == 0
    assert sum(resumed["counts"].values()) + resumed["before"] == VIDEOS + 1
    dump = FeatureDump(folder / "drained")
    assert_same(dump, local)
    assert dump.settings["settings_hash"] == local.settings["settings_hash"]
    ids = [id for id in manifest_ids(folder / "drained") if id != "broken"]
    assert len(set(ids)) == VIDEOS
    assert len(ids) <= VIDEOS + 1  # the resumed run had a label for one video, and records it anew if it was done


def test_other_columns_of_a_dataset_are_labels(folder: Path, told: Mapping[str, Any]) -> None:
    dump = FeatureDump(folder / "drained")
    assert [dump.labels(id)["mood"] for id in ("47", "48")] == ["", "calm"]


def test_a_video_that_takes_its_actor_down_again_and_again_is_recorded_as_failed(
    folder: Path, told: Mapping[str, Any]
) -> None:
    assert told["lost"]["counts"] == {"failed": 1}
    entry = FeatureDump(folder / "lost").entries["wide"]
    assert (entry.status, entry.error) == ("failed", "ActorLostError")
    assert "died 3 times" in str(entry.message)
