from __future__ import annotations

import io
import json
import os
import pickle
import tarfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.unit.dump.example_dumps import FORMATS, SHARDED, assert_same, random_features, write_dump

from marlin_sdk import FeatureFileError, VideoFeatures
from marlin_sdk.dump.manifest import Manifest, ManifestEntry
from marlin_sdk.dump.reading import FeatureDump, load_features

SHARD = {"parquet": "features-00001.parquet", "webdataset": "features-00001.tar"}


class Trap:
    """A pickle of it leaves a file behind when it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("sprung"),)


def manifest(folder: Path, *lines: Any) -> Path:
    text = "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)
    (folder / "manifest.jsonl").write_text(text, encoding="utf-8")
    return folder


def line(**values: Any) -> dict[str, Any]:
    return {"id": "a", "source": "a.mp4", "status": "ok", "rows": 1, **values}


@pytest.mark.parametrize("format", ["npz", "npy", "safetensors"])
def test_a_file_of_one_video_is_its_features(tmp_path: Path, format: str) -> None:
    features = random_features()
    got = load_features(str(features.save(tmp_path / f"a.{format}")))
    assert isinstance(got, VideoFeatures)
    assert_same(got, features)


@pytest.mark.parametrize("format", SHARDED)
def test_a_shard_is_a_dump_of_its_videos(tmp_path: Path, format: str) -> None:
    videos = {"b/x.y": random_features(3, seed=1), "a": random_features(2, seed=2), "none": random_features(0)}
    write_dump(tmp_path, videos, format, labels={"a": {}, "b/x.y": {}, "none": {}})
    dump = load_features(tmp_path / SHARD[format])
    assert isinstance(dump, FeatureDump)
    assert sorted(dump) == sorted(videos)
    for id, features in videos.items():
        assert_same(dump[id], features)
        assert dump.entries[id].file == SHARD[format]


def test_a_dump_is_a_mapping_in_the_order_of_its_manifest_with_the_failed_beside(tmp_path: Path) -> None:
    videos = {id: random_features(seed=index) for index, id in enumerate(["z", "b/c", "a"])}
    kept = write_dump(tmp_path, videos, "npz", labels={"z": {"emotion": "joy"}})
    with Manifest(tmp_path / "manifest.jsonl") as lines:
        lines.append([ManifestEntry(id="bad", source="bad.mp4", status="failed", error="X", message="no moov atom")])
    (tmp_path / "settings.json").write_text('{"settings_hash": "12ab", "format": "npz"}', encoding="utf-8")
    dump = load_features(tmp_path)
    assert isinstance(dump, FeatureDump)
    assert (list(dump), len(dump)) == (["z", "b/c", "a"], 3)
    assert ("b/c" in dump, "bad" in dump, "other" in dump) == (True, False, False)
    assert dump.entries["z"] == kept["z"]
    assert (dump.labels("z"), dump.labels("a")) == ({"emotion": "joy"}, {})
    assert dump.settings == {"settings_hash": "12ab", "format": "npz"}
    assert dump.get("other") is None
    with pytest.raises(KeyError, match="bad: failed, no moov atom"):
        dump["bad"]
    for (id, got), features in zip(dump.items(), videos.values(), strict=True):
        assert_same(got, features)
        assert id in repr(list(dump))


@pytest.mark.parametrize("format", SHARDED)
def test_the_newest_rows_of_a_video_count_and_dumps_cross_to_other_processes(tmp_path: Path, format: str) -> None:
    write_dump(tmp_path, {id: random_features(3, seed=1) for id in ("a", "b")}, format, at=1.0)
    write_dump(tmp_path, {"a": random_features(4, seed=2)}, format, at=2.0)
    dump = FeatureDump(tmp_path)
    assert_same(dump["a"], random_features(4, seed=2))
    copy = pickle.loads(pickle.dumps(dump))
    assert list(copy) == ["a", "b"]
    assert_same(copy["b"], random_features(3, seed=1))


@pytest.mark.parametrize("format", SHARDED)
def test_videos_are_read_from_more_shards_than_stay_open_and_across_row_groups(tmp_path: Path, format: str) -> None:
    videos = {f"v{index}": random_features(3 if index else 2500, seed=index) for index in range(24)}
    write_dump(tmp_path, videos, format, shard_rows=6)
    assert len(list(tmp_path.glob("features-*"))) == 13
    dump = FeatureDump(tmp_path)
    for id in [*videos, *reversed(videos)]:
        assert_same(dump[id], videos[id])


def test_a_video_in_the_middle_of_large_row_groups_is_cut_out_exactly(tmp_path: Path) -> None:
    videos = {f"v{index}": random_features(300, seed=index) for index in range(12)}
    write_dump(tmp_path, videos, "parquet")
    rows = [group.num_rows for group in groups(tmp_path / "features-00001.parquet")]
    assert rows == [1024, 1024, 1024, 528]
    dump = FeatureDump(tmp_path)
    for id in ("v11", "v3", "v0", "v6"):
        assert_same(dump[id], videos[id])


def groups(path: Path) -> list[Any]:
    with pq.ParquetFile(path) as file:
        return [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]


def test_a_dump_of_a_hundred_thousand_videos_opens_within_two_seconds_and_reads_no_features(tmp_path: Path) -> None:
    kept = [
        ManifestEntry(
            id=f"speaker{index % 100}/clip{index}",
            source=f"/data/speaker{index % 100}/clip{index}.mp4",
            status="ok",
            rows=15,
            duration_s=10.0,
            seconds=0.52,
            file=f"speaker{index % 100}/clip{index}.npz",
            settings_hash="0123456789abcdef",
            weights="0123456789abcdef",
            labels={"emotion": "joy", "split": "train"},
            finished_at=1.7e9 + index,
        )
        for index in range(100_000)
    ]
    with Manifest(tmp_path / "manifest.jsonl") as lines:
        lines.append(kept)
    seconds = []
    for _ in range(2):  # of this process, because others may have the cores
        started_s = time.process_time()
        dump = FeatureDump(tmp_path)
        seconds.append(time.process_time() - started_s)
    assert len(dump) == 100_000
    assert dump.entries["speaker99/clip99999"] == kept[-1]
    assert min(seconds) < 2


@pytest.mark.parametrize(
    "file", ["../../etc/passwd", "/etc/passwd", "a/../../b.npz", "..", "", "a\\b.npz", "a\x00.npz", 7, ["a.npz"]]
)
def test_a_manifest_that_leads_out_of_its_folder_is_refused(tmp_path: Path, file: Any) -> None:
    with pytest.raises(
        FeatureFileError,
        match=r"the file of 'a' is .*refused|line 1, is not a manifest entry: file is",
    ):
        load_features(manifest(tmp_path, line(file=file)))


@pytest.mark.parametrize(
    "values",
    [
        *({"id": id} for id in ("../a", "/a", "a/../b", "", "a//b", "a\nb", 7, None, ["a"], {"a": 1})),
        {"labels": ["joy"]},
        {"labels": {"emotion": ["joy"]}},
        {"labels": {"emotion": None}},
        {"labels": {"age": 1e400}},
        {"labels": {"age": float("nan")}},
        {"labels": {"age": 2**53 + 1}},
        {"rows": "many"},
        {"rows": -1},
    ],
)
def test_a_manifest_with_an_entry_that_is_none_is_refused(tmp_path: Path, values: dict[str, Any]) -> None:
    with pytest.raises(FeatureFileError, match=r"manifest|not a valid id|labels|rows"):
        load_features(manifest(tmp_path, line(file="a.npz"), line(**{"file": "a.npz", **values})))


@pytest.mark.parametrize(
    "text", ["[1]", "{}", "null", '{"id": "a"', "\udcff".encode("utf-8", "replace").decode(), "[" * 100_000]
)
def test_a_manifest_that_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(FeatureFileError, match="manifest"):
        load_features(manifest(tmp_path, text, line(file="a.npz")))


def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    random_features().save(tmp_path / "secret.npz")
    folder = tmp_path / "dump"
    folder.mkdir()
    (folder / "a.npz").symlink_to(tmp_path / "secret.npz")
    dump = FeatureDump(manifest(folder, line(file="a.npz", rows=5)))
    with pytest.raises(FeatureFileError, match=r"a\.npz is a link to a path outside"):
        dump["a"]


@pytest.mark.parametrize("file", ["a.npz", "a.npy", "a.safetensors", "features-00001.parquet", "features-00001.tar"])
def test_a_file_that_is_gone_or_that_holds_a_pickle_is_named(tmp_path: Path, file: str) -> None:
    dump = FeatureDump(manifest(tmp_path, line(file=file)))
    with pytest.raises(FeatureFileError, match=f"no such feature file: .*{file}"):
        dump["a"]
    (tmp_path / file).write_bytes(pickle.dumps(Trap()))
    (tmp_path / "a.json").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(FeatureFileError, match=file):
        dump["a"]
    assert not Path("sprung").exists()


def test_nothing_that_is_no_dump_is_taken_for_one(tmp_path: Path) -> None:
    with pytest.raises(FeatureFileError, match=r"holds no manifest\*\.jsonl"):
        load_features(tmp_path)
    with pytest.raises(FeatureFileError, match="no such feature file"):
        load_features(tmp_path / "features-00001.tar")
    with pytest.raises(FeatureFileError, match="expected"):
        load_features(tmp_path / "nothing")
    (manifest(tmp_path, line()) / "settings.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(FeatureFileError, match=r"settings\.json does not hold the settings of a dump"):
        _ = FeatureDump(tmp_path).settings


@pytest.mark.parametrize("format", SHARDED)
def test_a_shard_cut_off_anywhere_is_an_error_never_wrong_rows(tmp_path: Path, format: str) -> None:
    videos = {f"v{index}": random_features(4, seed=index) for index in range(3)}
    write_dump(tmp_path, videos, format)
    path = tmp_path / SHARD[format]
    whole = path.read_bytes()
    for size in [0, 1, 100, 511, 512, 513, *range(1000, len(whole) - 1, len(whole) // 25)]:
        path.write_bytes(whole[:size])
        for id, features in videos.items():
            try:
                assert_same(FeatureDump(tmp_path)[id], features)  # a tar holds its first videos still
            except FeatureFileError as error:
                assert path.name in str(error)  # noqa: PT017 - either is right, and nothing else
        if format == "parquet" or size < 600:
            with pytest.raises(FeatureFileError, match="features-00001"):
                FeatureDump(tmp_path)["v0"]


@pytest.mark.parametrize("format", SHARDED)
def test_a_shard_without_the_video_that_the_manifest_promises_is_named(tmp_path: Path, format: str) -> None:
    write_dump(tmp_path, {"a": random_features()}, format)
    manifest(tmp_path, line(id="b", file=SHARD[format]))
    with pytest.raises(FeatureFileError, match=r"features-00001\..* does not hold the video 'b'"):
        FeatureDump(tmp_path)["b"]


def tar_of(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def members_of(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.features.npy", npy(np.array([Trap()], dtype=object))),
        ("a.features.npy", npy(np.zeros((5, 8)))),
        ("a.features.npy", npy(np.zeros((4, 8), np.float32))),
        ("a.features.npy", npy(np.zeros((1 << 20,), np.float32))[:200]),
        ("a.rows.npz", pickle.dumps(Trap())),
        ("a.json", b"{}"),
        ("a.json", b"[" * 100_000),
        ("a.json", b'{"entry": {"id": "b", "source": "", "status": "ok"}, "shape": [5, 8], "num_steps": 16,'
                   b' "skipped": [], "warnings": [], "meta": {}}'),
        ("a.json", b'{"entry": {"id": "a", "source": "", "status": "ok"}, "shape": [-5, -8], "num_steps": 16,'
                   b' "skipped": [], "warnings": [], "meta": {}}'),
    ],
)  # fmt: skip
def test_a_hostile_sample_of_a_tar_is_refused(tmp_path: Path, name: str, data: bytes) -> None:
    write_dump(tmp_path, {"a": random_features()}, "webdataset")
    path = tmp_path / SHARD["webdataset"]
    tar_of(path, {**members_of(path), name: data})
    with pytest.raises(FeatureFileError, match=r"features-00001\.tar"):
        FeatureDump(tmp_path)["a"]
    assert not Path("sprung").exists()


def test_a_tar_of_arrays_that_unpack_to_more_is_refused(tmp_path: Path) -> None:
    write_dump(tmp_path, {"a": random_features()}, "webdataset")
    path, packed = tmp_path / SHARD["webdataset"], io.BytesIO()
    np.savez_compressed(packed, start_s=np.zeros(10_000_000))
    tar_of(path, {**members_of(path), "a.rows.npz": packed.getvalue()})
    with pytest.raises(FeatureFileError, match="unpack to more than their size"):
        FeatureDump(tmp_path)["a"]


def test_a_tar_that_names_a_file_outside_is_never_unpacked(tmp_path: Path) -> None:
    write_dump(tmp_path, {"a": random_features()}, "webdataset")
    path = tmp_path / SHARD["webdataset"]
    own = {name.replace("a.", "../../a.", 1): data for name, data in members_of(path).items()}
    tar_of(path, own)
    with pytest.raises(FeatureFileError, match="is of 'a'"):
        load_features(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [(b"marlin_sdk.videos", b"!!!"), (b"marlin_sdk.videos", b"eJwDAAAAAAE="), (b"marlin_sdk.feature_shape", b"[9]"),
     (b"marlin_sdk.feature_shape", b"x"), (b"marlin_sdk.labels", b"[]"), (b"marlin_sdk.videos", None)],
)  # fmt: skip
def test_a_parquet_file_with_other_notes_than_ours_is_refused(tmp_path: Path, key: bytes, value: bytes | None) -> None:
    write_dump(tmp_path, {"a": random_features()}, "parquet")
    path = tmp_path / SHARD["parquet"]
    with pq.ParquetFile(path) as file:
        notes, table = dict(file.metadata.metadata), file.read()
    notes = {name: text for name, text in {**notes, key: value}.items() if text is not None and name != b"ARROW:schema"}
    pq.write_table(table.replace_schema_metadata(notes), path, use_dictionary=False, compression="NONE")
    with pytest.raises(FeatureFileError, match=r"features-00001\.parquet"):
        FeatureDump(tmp_path)["a"]


def test_a_parquet_file_that_claims_more_rows_than_its_size_can_hold_is_refused(tmp_path: Path) -> None:
    write_dump(tmp_path, {"a": random_features(1)}, "parquet")
    path = tmp_path / SHARD["parquet"]
    with pq.ParquetFile(path) as file:
        notes, table = file.metadata.metadata, file.read()
    many = pa.concat_tables([table] * 50_000).replace_schema_metadata(notes)
    pq.write_table(many, path, row_group_size=50_000)  # equal rows shrink to nothing
    assert path.stat().st_size < 400_000
    with pytest.raises(FeatureFileError, match="declares 50000 rows"):
        FeatureDump(tmp_path)["a"]


def test_any_parquet_file_but_ours_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a"], "feature": [[1.0]]}), tmp_path / "features-00001.parquet")
    with pytest.raises(FeatureFileError, match=r"features-00001\.parquet is not a shard of marlin-sdk"):
        load_features(tmp_path / "features-00001.parquet")


@pytest.mark.parametrize("format", FORMATS)
def test_file_names_that_are_no_utf8_survive_in_notes(tmp_path: Path, format: str) -> None:
    source = b"/data/\xff.mp4".decode("utf-8", "surrogateescape")
    features = replace(random_features(), meta={"source": source})
    write_dump(tmp_path, {"a": features}, format)
    assert_same(FeatureDump(tmp_path)["a"], features)


@pytest.mark.parametrize("name", ["manifest.jsonl", "settings.json"])
def test_pipe_in_place_of_a_file_is_refused_at_once(name: str, tmp_path: Path) -> None:
    if name != "manifest.jsonl":
        manifest(tmp_path, line())
    os.mkfifo(tmp_path / name)
    with pytest.raises(FeatureFileError, match="is a folder, pipe or device; expected a file"):
        _ = FeatureDump(tmp_path).settings
