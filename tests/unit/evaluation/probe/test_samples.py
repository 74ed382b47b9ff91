from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.unit.evaluation.probe.probing import DIM, two_classes, write_labelled
from tests.unit.report.dumps import features_of

from marlin_sdk.dump.manifest import Manifest, read_manifest
from marlin_sdk.dump.reading import FeatureDump
from marlin_sdk.errors import ConfigError, FeatureFileError
from marlin_sdk.evaluation.probe.samples import METADATA, pool_rows, read_samples, same_videos


def test_a_video_is_the_mean_of_its_windows_with_its_labels(tmp_path: Path) -> None:
    labels, signal = two_classes(10, people=5)
    dump = FeatureDump(write_labelled(tmp_path, labels, signal=signal))
    samples = read_samples(dump)
    assert samples.ids.tolist() == [f"v{index:03d}" for index in range(10)]
    np.testing.assert_allclose(samples.features[3], dump["v003"].features.mean(axis=0), rtol=1e-5)
    assert samples.groups.tolist() == [own["group"] for own in labels]
    assert samples.splits.tolist() == [own["split"] for own in labels]
    assert samples.labels[3] == labels[3]
    assert samples.notes == ()


def test_poolings_and_selections(tmp_path: Path) -> None:
    dump = FeatureDump(write_labelled(tmp_path, two_classes(6, people=3)[0], windows=4))
    both = read_samples(dump, pooling="mean+std")
    np.testing.assert_allclose(both.features[2, DIM:], dump["v002"].features.std(axis=0), rtol=1e-5)
    rows = read_samples(dump, pooling="sequence")
    assert rows.is_sequence
    some = rows.select(np.array([4, 1]))
    assert some.ends.tolist() == [4, 8]
    np.testing.assert_array_equal(some.features[:4], dump["v004"].features)
    np.testing.assert_array_equal(some.features[4:], dump["v001"].features)
    assert some.ids.tolist() == ["v004", "v001"]


def test_metadata_is_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(bytes(5000))
    folder = write_labelled(tmp_path / "dump", [{"x": "a"}], durations_s=[2.5])
    entry = read_manifest(folder)["v000"]
    (folder / "manifest.jsonl").unlink()
    with Manifest(folder / "manifest.jsonl") as manifest:
        manifest.append([replace(entry, source=str(tmp_path / "a.mp4"))])
    got = dict(zip(METADATA, read_samples(FeatureDump(folder)).metadata[0].tolist(), strict=True))
    assert np.isnan(got.pop("fps"))
    assert got == {"duration_s": 2.5, "windows": 3, "bytes": 5000, "bytes_per_s": 2000, "face_px": 40}


def test_bytes_are_not_those_of_a_part(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(bytes(5000))
    folder = write_labelled(tmp_path / "dump", [{"x": "a"}])
    entry = read_manifest(folder)["v000"]
    (folder / "manifest.jsonl").unlink()
    with Manifest(folder / "manifest.jsonl") as manifest:
        manifest.append([replace(entry, source=str(tmp_path / "a.mp4"), start_s=0.0, end_s=0.7)])
    got = dict(zip(METADATA, read_samples(FeatureDump(folder)).metadata[0].tolist(), strict=True))
    assert np.isnan(got["bytes"])
    assert np.isnan(got["bytes_per_s"])


def test_without_groups_the_source_is_the_group_and_it_is_said(tmp_path: Path) -> None:
    samples = read_samples(FeatureDump(write_labelled(tmp_path, [{"x": "a"}, {"x": "b"}])))
    assert samples.groups.tolist() == ["/nowhere/v000.mp4", "/nowhere/v001.mp4"]
    assert "no column `group`" in samples.notes[0]


def test_some_groups_and_some_not_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="1 of 2 videos have no `group`"):
        read_samples(FeatureDump(write_labelled(tmp_path, [{"group": "a"}, {}])))


def test_videos_without_features_are_counted_and_named(tmp_path: Path) -> None:
    folder = write_labelled(tmp_path, [{"group": "a"}] * 3)
    entry = read_manifest(folder)["v001"]
    with Manifest(folder / "manifest.jsonl") as manifest:
        manifest.append([replace(entry, status="no_face", rows=0, file=None, finished_at=9.0)])
    samples = read_samples(FeatureDump(folder))
    assert samples.ids.tolist() == ["v000", "v002"]
    assert samples.notes == ("1 videos have no features, such as v001",)


def test_two_weights_in_one_dump_are_refused(tmp_path: Path) -> None:
    folder = write_labelled(tmp_path, [{"group": "a"}] * 2)
    entry = read_manifest(folder)["v001"]
    with Manifest(folder / "manifest.jsonl") as manifest:
        manifest.append([replace(entry, weights="sha256:0", finished_at=9.0)])
    with pytest.raises(ConfigError, match=r"features of 2 weights \(sha256:0, untrained:0\)"):
        read_samples(FeatureDump(folder))


def test_features_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    folder = write_labelled(tmp_path, [{"group": "a"}] * 2)
    values = np.full((3, DIM), np.nan)
    features_of(starts_s=[0, 1, 2], length_s=1.28, values=values).save(folder / "v001.npz")
    with pytest.raises(ConfigError, match="features of v001 hold NaN"):
        read_samples(FeatureDump(folder))


def test_features_of_another_size_are_refused(tmp_path: Path) -> None:
    folder = write_labelled(tmp_path, [{"group": "a"}] * 2)
    features_of(starts_s=[0.0], length_s=1.28, dim=DIM + 1).save(folder / "v001.npz")
    with pytest.raises(ConfigError, match=f"v001 has features of {DIM + 1} numbers, v000 of {DIM}"):
        read_samples(FeatureDump(folder))


def test_a_dump_without_features_is_refused(tmp_path: Path) -> None:
    folder = write_labelled(tmp_path, [{"group": "a"}])
    entry = read_manifest(folder)["v000"]
    with Manifest(folder / "manifest.jsonl") as manifest:
        manifest.append([replace(entry, status="failed", rows=0, file=None, finished_at=9.0)])
    with pytest.raises(ConfigError, match="holds no features of any video"):
        read_samples(FeatureDump(folder))


def test_all_tokens_are_too_much() -> None:
    features = features_of(starts_s=[0.0], length_s=1.28, values=np.zeros((1, 1568 * 2)).reshape(1, 1568, 2))
    with pytest.raises(ConfigError, match="every token of a window"):
        pool_rows(features, "mean")


def test_the_other_dump_is_put_in_order_and_must_have_all_videos(tmp_path: Path) -> None:
    ours = read_samples(FeatureDump(write_labelled(tmp_path / "a", [{"group": "a"}] * 3)))
    theirs = read_samples(FeatureDump(write_labelled(tmp_path / "b", [{"group": "a"}] * 3, seed=1)))
    backwards = theirs.select(np.array([2, 1, 0]))
    np.testing.assert_array_equal(same_videos(ours, backwards).features, theirs.features)
    with pytest.raises(FeatureFileError, match="lacks 1 of 3 videos, such as v000"):
        same_videos(ours, theirs.select(np.array([2, 1])))
