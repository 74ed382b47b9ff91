"""Shards: plain tars, and an index with the offset of each frame."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.unit.training.preparing import number_of, write_shard

from marlin_sdk.errors import VideoDecodeError
from marlin_sdk.training.prepare.crops import encode
from marlin_sdk.training.prepare.shards import (
    Shard,
    end_tar,
    join_shards,
    read_clip,
    read_regions,
    read_shard,
    write_sample,
)


def test_shard_is_a_tar_of_its_samples(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", "train", {"ann": 5, "bob": 3})
    with tarfile.open(tmp_path / "a.tar") as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    keys = list(dict.fromkeys(name.split(".")[0] for name in members))
    assert len(keys) == 2
    assert [name.split(".", 1)[1] for name in members if name.startswith(keys[0])] == [
        "json",
        "regions.npy",
        *(f"{index:06d}.webp" for index in range(5)),
    ]
    description = json.loads(members[f"{keys[1]}.json"])
    assert description["identity"] == "bob"
    assert description["source"] == "bob.mp4"
    assert description["num_frames"] == 3
    assert np.load(io.BytesIO(members[f"{keys[1]}.regions.npy"])).shape == (3, 2, 2)
    frame = cv2.imdecode(np.frombuffer(members[f"{keys[0]}.000004.webp"], np.uint8), cv2.IMREAD_COLOR)
    assert frame is not None
    assert number_of(np.asarray(frame, dtype=np.uint8)) == 4


READ = """
import sys, webdataset
for sample in webdataset.WebDataset(f"file:{sys.argv[1]}", shardshuffle=False, empty_check=False).decode("rgb8"):
    print(sample["json"]["identity"], sample["regions.npy"].shape, sample["000002.webp"].shape)
"""


def test_webdataset_reads_a_shard(tmp_path: Path) -> None:
    """In a separate process, where its unclosed files raise no errors."""
    write_shard(tmp_path / "a.tar", "train", {"ann": 5, "bob": 3})
    command = [sys.executable, "-c", READ, str(tmp_path / "a.tar")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["ann (5, 2, 2) (32, 32, 3)", "bob (3, 2, 2) (32, 32, 3)"], done.stderr


def test_frames_and_regions_are_found_through_the_index(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", "val", {"ann": 40, "bob": 60})
    shard = read_shard(tmp_path / "a.json")
    assert shard.split == "val"
    bob = shard.samples[1]
    assert (bob.identity, bob.num_frames) == ("bob", 60)
    clip = read_clip(shard, bob, [3, 5, 59])
    assert clip.shape == (3, 32, 32, 3)
    assert [number_of(frame) for frame in clip] == [3, 5, 59]
    assert read_regions(shard, bob)[:, 1, 1].tolist() == list(range(60))


def test_joined_shards_hold_the_samples_of_each_and_nothing_else(tmp_path: Path) -> None:
    parts = [write_shard(tmp_path / f"{name}.tar", None, {name: 33, f"{name}2": 35}) for name in ("ann", "bob")]
    del parts[0].samples[0]
    join_shards(tmp_path / "all.tar", "train", parts)
    joined = read_shard(tmp_path / "all.json")
    joined.check_size()
    assert [sample.identity for sample in joined.samples] == ["ann2", "bob", "bob2"]
    assert [number_of(read_clip(joined, sample, [31])[0]) for sample in joined.samples] == [31] * 3
    with tarfile.open(tmp_path / "all.tar") as tar:
        assert len(tar.getnames()) == 35 + 33 + 35 + 3 * 2


def test_truncated_shard_is_reported(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "a.tar", "train", {"ann": 40})
    whole = shard.path.read_bytes()
    shard.path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VideoDecodeError, match=r"a\.tar is truncated: \d+ bytes of \d+; .*prepare again"):
        shard.check_size()
    with pytest.raises(VideoDecodeError, match="is truncated"):
        read_clip(shard, shard.samples[0], [39])
    shard.path.unlink()
    with pytest.raises(VideoDecodeError, match="does not exist"):
        shard.check_size()
    with pytest.raises(VideoDecodeError, match="cannot be read"):
        read_regions(shard, shard.samples[0])


def test_damaged_shard_of_the_right_size_names_the_sample(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "a.tar", "train", {"ann": 40})
    content = bytearray(shard.path.read_bytes())
    sample = shard.samples[0]
    content[sample.member_offset(2 + 7) :][:1] = b""
    for member in (1, 2 + 7):
        content[sample.member_offset(member) : sample.member_offset(member) + 60] = bytes(60)
    shard.path.write_bytes(content)
    shard.path.write_bytes(content.ljust(shard.num_bytes, b"\0"))
    with pytest.raises(VideoDecodeError, match=r"frame 7 of sample 'ann\.mp4#0-0' cannot be decoded"):
        read_clip(shard, sample, [7, 9])
    with pytest.raises(VideoDecodeError, match="its regions of sample"):
        read_regions(shard, sample)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"format": 1, "split": null, "samples": [{}], "num_bytes": 1}'])
def test_file_that_is_not_an_index_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(VideoDecodeError, match="is not the index of a shard"):
        read_shard(tmp_path / "a.json")


def test_index_of_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"format": 99}')
    with pytest.raises(VideoDecodeError, match="has format 99; this version reads 1"):
        read_shard(tmp_path / "a.json")


@pytest.mark.parametrize(
    "change",
    [
        {"offset": -512},
        {"offset": 10**9},
        {"offset": "0"},
        {"sizes": [10, -1, 20]},
        {"sizes": [10, 10**18, 20]},
        {"sizes": [10, 2**80, 20]},
        {"sizes": [10, 20]},
        {"sizes": [[10, 10, 20]]},
        {"identity": None},
        {"id": ["a"]},
    ],
    ids=str,
)
def test_index_with_an_invalid_sample_is_refused(change: dict[str, object], tmp_path: Path) -> None:
    index = write_shard(tmp_path / "a.tar", "train", {"ann": 40}).path.with_suffix(".json")
    values = json.loads(index.read_text())
    values["samples"][0].update(change)
    index.write_text(json.dumps(values))
    with pytest.raises(VideoDecodeError, match="is not the index of a shard"):
        read_shard(index)


@pytest.mark.parametrize("change", [{"split": "test"}, {"split": ["train"]}, {"num_bytes": 1e400}], ids=str)
def test_index_with_an_invalid_shard_is_refused(change: dict[str, object], tmp_path: Path) -> None:
    index = write_shard(tmp_path / "a.tar", "train", {"ann": 40}).path.with_suffix(".json")
    index.write_text(json.dumps({**json.loads(index.read_text()), **change}))
    with pytest.raises(VideoDecodeError, match="is not the index of a shard"):
        read_shard(index)


def test_frames_of_two_sizes_are_damage(tmp_path: Path) -> None:
    frames = [*encode(np.zeros((39, 32, 32, 3), np.uint8), 95), *encode(np.zeros((1, 64, 64, 3), np.uint8), 95)]
    described = {"id": "ann#0-0", "source": "ann", "identity": "ann", "track": 0, "first_frame": 0}
    with (tmp_path / "a.tar").open("wb") as file:
        sample = write_sample(file, described, np.zeros((40, 2, 2), np.uint8), frames)
        shard = Shard(tmp_path / "a.tar", "train", [sample], end_tar(file))
    with pytest.raises(VideoDecodeError, match=r"frame 39 of sample 'ann#0-0' cannot be decoded"):
        read_clip(shard, sample, [38, 39])


class _Opened:
    """Unpickled, it leaves a file behind."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("opened"),)  # type: ignore[return-value]


def test_pickled_regions_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shard = write_shard(tmp_path / "a.tar", "train", {"ann": 40})
    sample = shard.samples[0]
    packed = io.BytesIO()
    np.save(packed, np.array([_Opened()], dtype=object), allow_pickle=True)
    content = bytearray(shard.path.read_bytes())
    content[sample.member_offset(1) : sample.member_offset(1) + int(sample.sizes[1])] = packed.getvalue().ljust(
        int(sample.sizes[1]), b"\0"
    )
    shard.path.write_bytes(content)
    with pytest.raises(VideoDecodeError, match="its regions of sample"):
        read_regions(shard, sample)
    assert not (tmp_path / "opened").exists()
