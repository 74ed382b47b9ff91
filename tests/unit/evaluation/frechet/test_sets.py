"""Which dumps can be compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.evaluation.probe.probing import DIM, write_labelled
from tests.unit.report.dumps import features_of, write_dump

from marlin_sdk.dump.manifest import ManifestEntry
from marlin_sdk.dump.reading import FeatureDump
from marlin_sdk.errors import ConfigError
from marlin_sdk.evaluation.frechet.sets import read_dumps


def dump(folder: Path, *, identity: dict[str, Any] | None = None, labels: Any = None, **options: Any) -> FeatureDump:
    write_labelled(folder, labels or [{"group": f"p{n % 4}", "city": f"c{n % 2}"} for n in range(8)], **options)
    if identity is not None:
        (folder / "settings.json").write_text(json.dumps({"identity": identity, "created_at": hash(folder.name)}))
    return FeatureDump(folder)


def test_windows_and_groups_of_two_dumps(tmp_path: Path) -> None:
    a, b = read_dumps(dump(tmp_path / "a"), dump(tmp_path / "b", seed=1))
    assert (a.features.shape, a.unit, a.name) == ((24, DIM), "windows", str(tmp_path / "a"))
    assert a.groups.tolist() == [f"p{n % 4}" for n in range(8) for _ in range(3)]
    assert (a.num_groups, a.width, len(b)) == (4, DIM, 24)
    assert not np.array_equal(a.features, b.features)


def test_groups_by_another_label(tmp_path: Path) -> None:
    stages = []
    a, _ = read_dumps(
        dump(tmp_path / "a"), dump(tmp_path / "b"), group="city", progress=lambda stage, *_: stages.append(stage)
    )
    assert set(a.groups.tolist()) == {"c0", "c1"}
    assert set(stages) == {"reading A", "reading B"}
    with pytest.raises(ConfigError, match=r"8 videos, such as v000, have no label 'town'"):
        read_dumps(dump(tmp_path / "a"), dump(tmp_path / "b"), group="town")


def test_without_groups_the_source_is_one_and_that_is_said(tmp_path: Path) -> None:
    a, _ = read_dumps(dump(tmp_path / "a", labels=[{}] * 8), dump(tmp_path / "b", labels=[{}] * 8))
    assert a.num_groups == 8
    assert any("no column `group`" in note for note in a.notes)


def test_other_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"weights: untrained:0 there, untrained:1 here") as caught:
        read_dumps(dump(tmp_path / "a"), dump(tmp_path / "b", weights="untrained:1"))
    assert "extract both with the same weights and settings" in str(caught.value)


def test_other_settings_are_refused_and_listed(tmp_path: Path) -> None:
    one, other = ({"weights": {"commit": "c"}, "settings": {"stride": stride, "fps": 25}} for stride in (16, 8))
    with pytest.raises(ConfigError, match=r"settings.stride: 16 there, 8 here"):
        read_dumps(dump(tmp_path / "a", identity=one), dump(tmp_path / "b", identity=other))
    alike = read_dumps(dump(tmp_path / "c", identity=one), dump(tmp_path / "d", identity=one))
    assert len(alike[0]) == 24


def test_of_shards_without_settings_their_hashes_are_compared(tmp_path: Path) -> None:
    sides = []
    for name, digest in (("a", "1" * 16), ("b", "2" * 16)):
        entry = ManifestEntry(
            id="v", source="v.mp4", status="ok", rows=12, file="v.npz", weights="w", settings_hash=digest
        )
        features = features_of(starts_s=[0.5 * at for at in range(12)], length_s=1.0)
        sides.append(FeatureDump(write_dump(tmp_path / name, [(entry, features)])))
    with pytest.raises(ConfigError, match="settings_hash"):
        read_dumps(*sides)


def test_all_tokens_nan_and_other_widths_are_refused(tmp_path: Path) -> None:
    fine = dump(tmp_path / "fine")
    sides = {"tokens": np.zeros((12, 1568, 4)), "nan": np.full((12, DIM), np.nan), "wide": np.zeros((12, DIM + 1))}
    found = {}
    for name, values in sides.items():
        entry = ManifestEntry(id="v", source="v.mp4", status="ok", rows=12, file="v.npz", weights="untrained:0")
        features = features_of(starts_s=[0.5 * at for at in range(12)], length_s=1.0, values=values)
        found[name] = FeatureDump(write_dump(tmp_path / name, [(entry, features)]))
    with pytest.raises(ConfigError, match="every token"):
        read_dumps(fine, found["tokens"])
    with pytest.raises(ConfigError, match="NaN or infinity"):
        read_dumps(found["nan"], fine)
    with pytest.raises(ConfigError, match=f"features of {DIM} numbers, .* of {DIM + 1}"):
        read_dumps(fine, found["wide"])
