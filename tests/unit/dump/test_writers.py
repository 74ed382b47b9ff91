from __future__ import annotations

import errno
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.dump.example_dumps import (
    FORMATS,
    SHARDED,
    assert_same,
    closing,
    entry,
    random_features,
    run_python,
    without_file,
    write_dump,
)

from marlin_sdk import ConfigError, FeatureFileError, MissingExtraError, VideoFeatures
from marlin_sdk.dump.manifest import ManifestEntry
from marlin_sdk.dump.reading import FeatureDump
from marlin_sdk.dump.writers import open_writer

VIDEOS = {
    "speaker.1/talk one.v2": random_features(5, seed=1),
    "speaker.1/日本": random_features(1, seed=2),
    "_private_/__x__": random_features(0, seed=3),
    "100%/a@12.00-15.50+track1": random_features(40, seed=4),
}


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("format", FORMATS)
def test_every_field_of_every_video_comes_back_unchanged(tmp_path: Path, format: str) -> None:
    labels = {id: {"emotion": f"joy {index}", "split": ""} for index, id in enumerate(VIDEOS)}
    kept = write_dump(tmp_path, VIDEOS, format, labels=labels)
    assert {id: without_file(one) for id, one in kept.items()} == {
        id: entry(id, features, labels[id]) for id, features in VIDEOS.items()
    }
    dump = FeatureDump(tmp_path)
    assert list(dump) == list(VIDEOS)
    for id, features in VIDEOS.items():
        assert_same(dump[id], features)
        assert dump.labels(id) == {"emotion": labels[id]["emotion"]}  # an empty text is no label


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("shape", [(20, 4), (8, 4), (4, 8)])
def test_rows_of_several_vectors_come_back_unchanged(tmp_path: Path, format: str, shape: tuple[int, ...]) -> None:
    videos = {"a": random_features(3, shape=shape), "none": random_features(0, shape=shape)}
    write_dump(tmp_path, videos, format)
    for id, features in videos.items():
        assert_same(FeatureDump(tmp_path)[id], features)


@pytest.mark.parametrize("format", SHARDED)
def test_shards_take_no_reduced_slices(tmp_path: Path, format: str) -> None:
    features = random_features(8, shape=(4,))  # as many rows as slices: by its shape alone, a table
    features.meta["settings"].update(pool="time", reduction="mean")
    with (
        closing(open_writer(tmp_path, format)) as writer,
        pytest.raises(ConfigError, match="a reduction left one vector"),
    ):
        writer.write(entry("a", features), features)


@pytest.mark.parametrize("format", SHARDED)
def test_a_shard_is_sealed_by_the_video_that_reaches_its_rows(tmp_path: Path, format: str) -> None:
    suffix = {"parquet": "parquet", "webdataset": "tar"}[format]
    with closing(open_writer(tmp_path, format, shard_rows=10)) as writer:
        answers = [
            [(one.id, one.file) for one in writer.write(entry(f"v{index}", features), features)]
            for index, features in enumerate(random_features(4, seed=seed) for seed in range(4))
        ]
        first = f"features-00001.{suffix}"
        assert answers == [[], [], [("v0", first), ("v1", first), ("v2", first)], []]
        assert [name for name in files(tmp_path) if not name.startswith(".")] == [first]
        second = f"features-00002.{suffix}"
        assert [(one.id, one.file) for one in writer.close()] == [("v3", second)]
        assert writer.close() == []
    assert files(tmp_path) == [first, second]


@pytest.mark.parametrize("format", SHARDED)
def test_an_old_shard_is_sealed_by_the_next_video(tmp_path: Path, format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 50.0
    monkeypatch.setattr("time.monotonic", lambda: now_s)
    features = random_features(2)
    with closing(open_writer(tmp_path, format)) as writer:
        assert writer.write(entry("a", features), features) == []
        now_s += 599
        assert writer.write(entry("b", features), features) == []
        now_s += 1
        assert [one.id for one in writer.write(entry("c", features), features)] == ["a", "b", "c"]
        assert writer.write(entry("d", features), features) == []


@pytest.mark.parametrize("format", SHARDED)
def test_numbers_go_on_where_an_earlier_run_stopped_and_shards_of_others_do_not_count(
    tmp_path: Path, format: str
) -> None:
    features = random_features(1)
    for suffix, expected in (
        ("", "-00001"),
        ("-03-of-16", "-03-of-16-00001"),
        ("", "-00002"),
        ("-03-of-16", "-03-of-16-00002"),
    ):
        with closing(open_writer(tmp_path, format, suffix=suffix)) as writer:
            writer.write(entry("a", features), features)
            (kept,) = writer.close()
        assert Path(kept.file or "").stem == f"features{expected}"


@pytest.mark.parametrize("format", SHARDED)
def test_discard_leaves_nothing_of_an_open_shard_and_all_of_the_sealed(tmp_path: Path, format: str) -> None:
    writer = open_writer(tmp_path, format, shard_rows=3)
    features = random_features(2)
    writer.write(entry("a", features), features)
    writer.write(entry("b", features), features)
    sealed = files(tmp_path)
    writer.write(entry("c", features), features)
    assert len(files(tmp_path)) == len(sealed) + 1
    writer.discard()
    writer.discard()
    assert files(tmp_path) == sealed
    assert writer.close() == []
    assert files(tmp_path) == sealed


@pytest.mark.parametrize("format", SHARDED)
def test_a_reduced_vector_is_refused_and_the_videos_before_it_are_kept(tmp_path: Path, format: str) -> None:
    features = random_features(3)
    reduced = replace(features, features=features.features.mean(axis=0))
    with closing(open_writer(tmp_path, format)) as writer:
        with pytest.raises(ConfigError, match=r"b: a reduction left one vector.*format npz"):
            writer.write(entry("b", reduced), reduced)
        writer.write(entry("a", features), features)
        with pytest.raises(ConfigError, match="npz"):
            writer.write(entry("b", reduced), reduced)
        assert [one.id for one in writer.close()] == ["a"]
    with closing(open_writer(tmp_path, "npz")) as writer:
        (kept,) = writer.write(entry("b", reduced), reduced)
    assert_same(VideoFeatures.load(tmp_path / (kept.file or "")), reduced)


@pytest.mark.parametrize("format", SHARDED)
def test_metadata_that_is_no_json_is_refused_and_the_videos_before_it_are_kept(tmp_path: Path, format: str) -> None:
    features = random_features(3)
    odd = replace(features, meta={"model": object()})
    with closing(open_writer(tmp_path, format)) as writer:
        writer.write(entry("a", features), features)
        with pytest.raises(FeatureFileError, match="b: its metadata is not plain JSON"):
            writer.write(entry("b", odd), odd)
        assert [one.id for one in writer.close()] == ["a"]
    assert_same(FeatureDump(next(tmp_path.iterdir()))["a"], features)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A folder that takes a megabyte, and its error: a tmpfs, or a limit of files where none may be mounted."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode == 0:
        yield folder, errno.ENOSPC
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    yield folder, errno.EFBIG
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("format", FORMATS)
def test_a_full_disk_is_one_clear_error_and_leaves_no_partial_file(small_disk: tuple[Path, int], format: str) -> None:
    folder, number = small_disk
    little, much = random_features(4, seed=1), random_features(400, shape=(1024,), seed=2)
    full = "the disk is full: .*free some space and run again"
    message = full if number == errno.ENOSPC else f"{full}|cannot write .*large"
    with closing(open_writer(folder, format, shard_rows=4)) as writer:
        (kept,) = writer.write(entry("a", little), little)
        before = files(folder)
        with pytest.raises(FeatureFileError, match=message):
            writer.write(entry("b", much), much)
        assert files(folder) == before
        assert writer.close() == []
        (again,) = writer.write(entry("c", little), little)
    for one in (kept, again):
        path = folder / (one.file or "")
        assert_same(VideoFeatures.load(path) if format not in SHARDED else FeatureDump(path)[one.id], little)


@pytest.mark.parametrize("format", SHARDED)
def test_a_disk_that_fills_up_before_the_end_of_a_shard_loses_no_sealed_one(
    small_disk: tuple[Path, int], format: str
) -> None:
    folder, _ = small_disk
    videos = {f"v{index}": random_features(8, shape=(512,), seed=index) for index in range(80)}
    kept: list[ManifestEntry] = []
    with closing(open_writer(folder, format, shard_rows=30)) as writer:

        def fill() -> None:
            for number in range(20):
                for id, features in videos.items():
                    kept.extend(writer.write(entry(f"{id}-{number}", features), features))
            # reached only where the limit is on each file, not on the disk
            writer.write(entry("big", big := random_features(900, shape=(512,))), big)

        with pytest.raises(FeatureFileError):
            fill()
    assert kept
    assert sorted({one.file or "" for one in kept}) == files(folder)
    for file in files(folder):
        dump = FeatureDump(folder / file)
        assert [one.id for one in kept if one.file == file] == list(dump)
        for id in dump:
            assert_same(dump[id], videos[id.partition("-")[0]])


@pytest.mark.parametrize(("format", "package"), [("parquet", "pyarrow"), ("webdataset", "webdataset")])
def test_a_missing_extra_is_named_with_its_pip_line(
    tmp_path: Path, format: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"format {format}.*pip install 'marlin-sdk\[{format}\]'"):
        open_writer(tmp_path, format)


def test_what_no_writer_can_be_made_of_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'csv'; expected one of npz, npy, safetensors, parquet, webdataset"):
        open_writer(tmp_path, "csv")
    with pytest.raises(ConfigError, match="0 rows; expected at least 1"):
        open_writer(tmp_path, "parquet", shard_rows=0)


def test_memory_stays_flat_while_a_large_shard_is_written(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from tests.unit.dump.example_dumps import entry, random_features, resident_mb
from marlin_sdk.dump.writers import open_writer

writer = open_writer(Path(sys.argv[1]), "parquet")
features = random_features(250, shape=(1024,))
peaks = []
for part in range(10):
    peak = 0
    for index in range(7):
        writer.write(entry(f"{part}-{index}", features), features)
        peak = max(peak, resident_mb())
    peaks.append(peak)
writer.close()
print(peaks[1], peaks[-1])
"""
    second, last = map(float, run_python(script, str(tmp_path)).split())
    assert files(tmp_path) == ["features-00001.parquet"]
    assert (tmp_path / files(tmp_path)[0]).stat().st_size > 70e6
    assert last < second + 15
