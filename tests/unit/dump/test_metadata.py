from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.unit.dump.example_dumps import assert_same, entry, random_features

from marlin_sdk import FeatureFileError
from marlin_sdk.dump.metadata import ROW_DTYPES, VideoMetadata

FEATURES = random_features(3)
NOTE = VideoMetadata.of(entry("a", FEATURES, {"emotion": "joy"}), FEATURES)


def arrays() -> dict[str, Any]:
    return {"features": FEATURES.features, **{name: getattr(FEATURES, name) for name in ROW_DTYPES}}


def test_a_note_is_one_line_of_ascii_that_reads_back_the_same() -> None:
    text = NOTE.to_json()
    assert text.isascii()
    assert "\n" not in text
    assert VideoMetadata.from_json(text) == NOTE
    assert_same(VideoMetadata.from_json(text.encode()).join(arrays()), FEATURES)


def test_fields_of_a_later_version_are_passed_over() -> None:
    values = json.loads(NOTE.to_json())
    values["entry"]["mood"] = values["mood"] = "new"
    assert VideoMetadata.from_json(json.dumps(values)) == NOTE


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("entry", {"id": 7, "source": "", "status": "ok"}),
        ("entry", {"source": "", "status": "ok"}),
        ("entry", None),
        ("shape", []),
        ("shape", [3]),
        ("shape", [3, 8.0]),
        ("shape", [True, 8]),
        ("shape", [3, -8]),
        ("num_steps", "16"),
        ("skipped", [{"start_s": 0, "end_s": 1}]),
        ("skipped", [{"start_s": "0", "end_s": 1, "reason": "x"}]),
        ("skipped", [{"start_s": 0, "end_s": 1, "reason": 1}]),
        ("warnings", [1]),
        ("meta", []),
    ],
)
def test_a_note_that_is_malformed_is_refused(key: str, value: Any) -> None:
    values = {**json.loads(NOTE.to_json()), key: value}
    with pytest.raises(FeatureFileError, match="the metadata of"):
        VideoMetadata.from_json(json.dumps(values))


@pytest.mark.parametrize("name", ["features", *ROW_DTYPES])
def test_rows_that_do_not_belong_to_the_note_are_refused(name: str) -> None:
    own = arrays()
    with pytest.raises(FeatureFileError, match=f"a: {name} .*expected"):
        NOTE.join({**own, name: own[name][:2]})
    with pytest.raises(FeatureFileError, match=f"a: {name} complex64"):
        NOTE.join({**own, name: own[name].astype(np.complex64)})


def test_a_video_without_rows_has_empty_arrays_of_its_shapes() -> None:
    note = replace(NOTE, shape=(0, 20, 4))
    assert_same(
        note.join(note.no_rows()),
        replace(random_features(0, shape=(20, 4)), skipped=note.skipped, warnings=note.warnings, meta=note.meta),
    )
