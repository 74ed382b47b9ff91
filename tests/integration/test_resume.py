"""Killed at twenty random moments, a run ends with what an undisturbed one makes."""

from __future__ import annotations

import json
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.integration.warm import WarmCommand
from tests.making import lay, noise, write_video
from tests.patience import wait_for
from tests.unit.batch.engines import assert_alike

from marlin_sdk.dump.manifest import ManifestEntry, manifests, read_manifest
from marlin_sdk.dump.reading import FeatureDump

BOUNDED = """
import time
from pathlib import Path
own = marlin_sdk.marlin.Marlin.embed_clips
def embed_clips(self, clips, **options):
    time.sleep(0.05)
    while sum(path.read_bytes().count(10) for path in Path("out").glob("*manifest.jsonl")) >= {lines}:
        time.sleep(0.02)  # or all would be done before the last kill
    return own(self, clips, **options)
marlin_sdk.marlin.Marlin.embed_clips = embed_clips
"""
"""A model that embeds nothing more once the manifest has so many lines."""
KILLS = 20
VIDEOS = 50


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty-nine that differ, of one to four windows, in three folders; and one that is none."""
    folder = tmp_path_factory.mktemp("videos")
    lay(folder / "speaker0" / "broken.mp4", b"no video at all")
    for index in range(VIDEOS - 1):
        place = folder / f"speaker{index % 3}"
        place.mkdir(exist_ok=True)
        write_video(place / f"clip{index:02d}.mp4", noise(20 + 27 * (index % 5), 32, 32, seed=index))
    return folder


def lines(folder: Path) -> list[str]:
    return [line for path in manifests(folder) for line in path.read_text(errors="replace").split("\n")[:-1]]


def rows_by_id(folder: Path) -> Counter[str]:
    """As the shards hold them, whatever the manifest says."""
    rows: Counter[str] = Counter()
    for shard in folder.glob("features-*.parquet"):
        rows.update(pq.read_table(shard, columns=["id"]).column("id").to_pylist())
    return rows


def lasting(entry: ManifestEntry) -> tuple[object, ...]:
    """What does not depend on when it was done, or with which others."""
    return entry.id, entry.source, entry.status, entry.rows, entry.duration_s, entry.error, entry.settings_hash


@pytest.mark.long
@pytest.mark.parametrize("format", ["npz", "parquet"])
def test_kill_at_twenty_random_moments(warm: WarmCommand, videos: Path, format: str) -> None:
    kill_and_resume(warm, videos, format)


def kill_and_resume(warm: WarmCommand, videos: Path, format: str, seed: int = 0) -> None:
    """Kill a run at twenty moments, and compare what it ends with."""
    options = (videos, "--format", format, "--shard-size", "5", "--batch-size", "3")
    assert warm.run(*options, "-o", "calm")[0] == 1  # one is broken
    calm, out = FeatureDump(Path("calm")), Path("out")
    assert len(calm) == VIDEOS - 1
    rng = random.Random(f"{format}{seed or ''}")
    begun: list[int] = []
    for kill in range(KILLS):
        before = len(lines(out))
        goal = before + 1 + rng.randrange(3)  # the first line is of the broken one
        workers = "1" if kill % 4 else "2"
        run = warm.start(*options, "-o", out, "--workers", workers, before=BOUNDED.format(lines=goal + 1))
        if kill % 5:
            wait_for(lambda goal=goal: len(lines(out)) >= goal)  # type: ignore[misc]
            time.sleep(rng.uniform(0, 0.05))
        else:
            time.sleep(rng.uniform(0, 0.6))  # also while it starts
        run.send(signal.SIGKILL)
        assert run.wait() == -signal.SIGKILL, run.said
        done = {id for id, entry in read_manifest(out).items() if entry.is_final}
        begun.append(len(done))
        if manifests(out):
            dump = FeatureDump(out)
            assert {id: len(dump[id]) for id in dump} == {id: len(calm[id]) for id in done}
    assert begun[KILLS // 2] < VIDEOS - 1, "the kills came too late to prove anything"
    code, said = warm.run(*options, "-o", out)
    assert code == 1, said
    assert said.count("failed: ") == 1

    dump = FeatureDump(out)
    assert sorted(dump) == sorted(calm)
    for id in calm:
        assert_alike(dump[id], calm[id])
        assert dump[id].meta == calm[id].meta
    entries = read_manifest(out)
    assert {lasting(entry) for entry in entries.values()} == {
        lasting(entry) for entry in read_manifest(Path("calm")).values()
    }
    told = Counter(json.loads(line)["id"] for line in lines(out))
    assert {id for id, count in told.items() if count > 1} <= {"speaker0/broken"}, "a video was embedded twice"
    assert [path for path in out.rglob("*") if ".part." in path.name] == []
    if format == "npz":
        assert {path.relative_to(out) for path in out.rglob("*.npz")} == {
            path.relative_to("calm") for path in Path("calm").rglob("*.npz")
        }
    else:
        assert rows_by_id(out) == Counter({id: len(calm[id]) for id in calm})
    assert "0 of 1 videos done" in warm.run(*options, "-o", out)[1]  # the broken one is tried again, nothing else
