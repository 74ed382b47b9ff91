"""1,000 damaged feature files and dumps: refused with a typed error, or read with the arrays that were written."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.long.mutation import mutate
from tests.unit.dump.example_dumps import write_dump
from tests.unit.report.dumps import features_of

from marlin_sdk import FeatureDump, MarlinError, VideoFeatures
from marlin_sdk.features.files import ARRAY_DTYPES

COUNT = int(os.environ.get("MARLIN_FUZZ_FEATURES", "1000"))
VIDEOS = {name: features_of(starts_s=[0.0, 1.28, 2.56], length_s=1.24, dim=8) for name in ("first", "second")}


def assert_good(features: VideoFeatures, good: VideoFeatures, what: object) -> None:
    for name in ARRAY_DTYPES:
        np.testing.assert_array_equal(getattr(features, name), getattr(good, name), err_msg=f"{name} of {what}")


@pytest.mark.parametrize("suffix", ["npz", "npy", "safetensors"])
def test_files(tmp_path: Path, suffix: str) -> None:
    good = VIDEOS["first"]
    path = good.save(tmp_path / f"talk.{suffix}")
    files = [file for file in tmp_path.iterdir() if file.is_file()]
    contents = {file: file.read_bytes() for file in files}
    read = 0
    for seed in range(COUNT // 5):
        damaged = files[seed % len(files)]
        damaged.write_bytes(mutate(contents[damaged], seed))
        try:
            assert_good(VideoFeatures.load(path), good, (suffix, seed))
            read += 1
        except MarlinError:
            pass
        damaged.write_bytes(contents[damaged])
    assert read < COUNT // 5


@pytest.mark.parametrize("format", ["npz", "parquet", "webdataset"])
def test_dumps(format: str, tmp_path: Path) -> None:
    good = tmp_path / "good"
    good.mkdir()
    write_dump(good, VIDEOS, format)
    assert set(FeatureDump(good)) == set(VIDEOS)
    names = sorted(path.name for path in good.iterdir() if path.is_file())
    for seed in range(COUNT // 7):
        folder = tmp_path / "damaged"
        shutil.copytree(good, folder)
        damaged = folder / names[seed % len(names)]
        damaged.write_bytes(mutate(damaged.read_bytes(), seed))
        try:
            dump = FeatureDump(folder)
            for id in dump:
                try:
                    features = dump[id]
                except MarlinError:
                    continue
                if id in VIDEOS:  # a damaged manifest may name it otherwise
                    assert_good(features, VIDEOS[id], (damaged.name, seed))
        except MarlinError:
            pass
        shutil.rmtree(folder)
