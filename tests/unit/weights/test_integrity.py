"""Weights that were damaged or changed in place are refused, whatever says what they were."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.making import TINY, lay, write_checkpoint

from marlin_sdk import Marlin, WeightsError
from marlin_sdk.weights.integrity import CHECKSUMS, verified_sha256, write_checksums


def write_checkpoint_folder(folder: Path) -> Path:
    write_checkpoint(folder, Marlin.untrained(TINY, device="cpu", decoder=True))
    return folder


def in_hub_cache(folder: Path) -> Path:
    """A model as huggingface_hub lays it out: snapshots/COMMIT/FILE -> blobs/ETAG."""
    made = write_checkpoint_folder(folder / "made")
    snapshot = folder / "models--own--tiny" / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        content = (made / name).read_bytes()
        large = name == "model.safetensors"
        etag = hashlib.sha256(content) if large else hashlib.sha1(b"blob %d\0" % len(content) + content)
        (snapshot / name).symlink_to(lay(snapshot.parents[1] / "blobs" / etag.hexdigest(), content))
    return snapshot


def with_checksums(folder: Path) -> Path:
    made = write_checkpoint_folder(folder / "published")
    write_checksums(made, [made / "config.json", made / "model.safetensors"])
    return made


def in_bundle(folder: Path) -> Path:
    """As `marlin-sdk download -o` lays it out: one list for the folders of all models."""
    made = write_checkpoint_folder(folder / "bundle" / "tiny")
    write_checksums(made.parent, [made / "config.json", made / "model.safetensors"])
    return made


@pytest.mark.parametrize("laid", [in_hub_cache, with_checksums, in_bundle])
@pytest.mark.parametrize("changed", ["model.safetensors", "config.json"])
def test_file_changed_in_place_is_refused(laid: Callable[[Path], Path], changed: str, tmp_path: Path) -> None:
    folder = laid(tmp_path)
    assert Marlin.from_pretrained(folder, device="cpu").embedding_dim == 32
    path = folder / changed
    content = bytearray(path.read_bytes())
    if changed == "config.json":
        content = bytearray(content.replace(b'"encoder_num_heads": 2', b'"encoder_num_heads": 4'))
    else:
        content[-3] ^= 1  # one bit of one weight: the shapes and the sums say nothing
    assert bytes(content) != path.read_bytes()
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=rf"{changed} is damaged, or was changed: its digest is .*delete it and get"):
        Marlin.from_pretrained(folder, device="cpu")


def test_folder_without_checksums_is_taken_as_it_is(tmp_path: Path) -> None:
    folder = write_checkpoint_folder(tmp_path / "plain")
    path = folder / "model.safetensors"
    assert verified_sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert Marlin.from_pretrained(folder, device="cpu").identity["weights_sha256"] == verified_sha256(path)


def test_checksums_are_those_of_sha256sum_and_stay_for_other_files(tmp_path: Path) -> None:
    first, second = lay(tmp_path / "a" / "x.bin", b"one"), lay(tmp_path / "y z.bin", b"two")
    write_checksums(tmp_path, [first])
    write_checksums(tmp_path, [second])
    assert len((tmp_path / CHECKSUMS).read_text().splitlines()) == 2
    subprocess.run(["sha256sum", "--check", "--quiet", CHECKSUMS], cwd=tmp_path, check=True)
    second.write_bytes(b"three")
    with pytest.raises(WeightsError, match=rf"y z\.bin is damaged.*{CHECKSUMS}"):
        verified_sha256(second)


def test_lines_that_are_no_checksums_accuse_nobody(tmp_path: Path) -> None:
    file = lay(tmp_path / "x.bin")
    lay(tmp_path / CHECKSUMS, b"\xff\xfe rubbish\nabc  x.bin\n" + b"0" * 63 + b"  x.bin\n")
    assert verified_sha256(file) == hashlib.sha256(b"weights").hexdigest()


def test_a_file_called_blobs_is_no_hub_cache(tmp_path: Path) -> None:
    file = lay(tmp_path / "blobs" / "mine.pt")
    assert verified_sha256(file) == hashlib.sha256(b"weights").hexdigest()
