"""VideoFeatures and the files it is kept in."""

from __future__ import annotations

import dataclasses
import io
import json
import resource
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from safetensors.numpy import save_file

from marlin_sdk import Marlin
from marlin_sdk.errors import ConfigError, FeatureFileError, MissingExtraError, ShapeError
from marlin_sdk.features import FaceWindow, SkippedWindow, VideoFeatures

SUFFIXES = ["npz", "safetensors", "npy"]
ARRAYS = {
    "features": np.float32,
    "start_s": np.float64,
    "end_s": np.float64,
    "frame_index": np.int64,
    "frame_valid": np.bool_,
    "boxes": np.float32,
    "face_score": np.float32,
    "track_id": np.int64,
}
META = {
    "source": "/videos/面 «talk».mp4",
    "commit": None,
    "config": {"img_size": 224},
    "settings": {"fps": 12.5, "crop_face": "auto", "smooth": True},
}


def window(index: int, *, steps: int = 16) -> FaceWindow:
    """The index-th window of a video of 25 frames a second; its last frames are repeats."""
    rng = np.random.default_rng(index)
    return FaceWindow(
        start_s=index * 1.28,
        end_s=(index + 1) * 1.28,
        frame_index=np.arange(index * 32, index * 32 + 2 * steps, 2),
        frame_valid=np.arange(steps) < steps - index,
        boxes=rng.uniform(-20, 500, (steps, 4)).astype(np.float32),
        face_score=rng.random(steps, dtype=np.float32),
        track_id=index % 2,
    )


def make(num_rows: int = 3, shape: tuple[int, ...] = (32,), *, reduced: bool = False, **more: Any) -> VideoFeatures:
    whole = shape if reduced else (num_rows, *shape)
    return VideoFeatures.from_windows(
        [window(index) for index in range(num_rows)],
        np.random.default_rng(9).standard_normal(whole).astype(np.float32),
        num_steps=16,
        **{"meta": META, "warnings": ["it breaks off at 3.2 s"], "skipped": [SkippedWindow(1.5, 2, "no face")], **more},
    )


def whole_frames() -> VideoFeatures:
    """Rows of a video that was cropped already: no score was sought."""
    result = make()
    result.face_score[:] = np.nan
    result.track_id[:] = -1
    return result


EXAMPLES = {
    "rows": make(),
    "one row": make(1),
    "tokens": make(2, (1568, 8)),
    "reduced": make(3, (32,), reduced=True),
    "empty": make(0),
    "empty tokens": make(0, (1568, 8)),
    "all skipped, nothing said": make(0, skipped=[], warnings=[], meta={}),
    "whole frames": whole_frames(),
}


def assert_same(got: VideoFeatures, expected: VideoFeatures) -> None:
    for name, dtype in ARRAYS.items():
        array = getattr(got, name)
        assert array.dtype == dtype
        np.testing.assert_array_equal(array, getattr(expected, name), err_msg=name, strict=True)
    assert (got.skipped, got.warnings, got.meta) == (expected.skipped, expected.warnings, expected.meta)


@contextmanager
def disk_of(size_bytes: int) -> Iterator[None]:
    """No file grows beyond a size: the kernel refuses the rest, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", EXAMPLES)
def test_everything_survives_a_file(tmp_path: Path, suffix: str, name: str) -> None:
    path = tmp_path / "new folder" / f"talk.v2.{suffix}"
    assert EXAMPLES[name].save(path) == path
    assert_same(VideoFeatures.load(path), EXAMPLES[name])
    files = {path.name, "talk.v2.npy.json"} if suffix == "npy" else {path.name}
    assert {file.name for file in path.parent.iterdir()} == files


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_any_nan_in_a_box_survives_a_file(tmp_path: Path, suffix: str) -> None:
    negative = np.copysign(np.float32(np.nan), np.float32(-1.0))
    result = make()
    result = dataclasses.replace(result, boxes=np.full_like(result.boxes, negative))
    assert np.isnan(VideoFeatures.load(result.save(tmp_path / f"talk.{suffix}")).boxes).all()


@settings(deadline=None, max_examples=40)
@given(data=st.data(), rows=st.integers(0, 3), steps=st.integers(1, 20), suffix=st.sampled_from(SUFFIXES))
def test_any_values_survive_a_file(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, rows: int, steps: int, suffix: str
) -> None:
    def draw(name: str, shape: tuple[int, ...]) -> NDArray[Any]:
        finite = {"allow_nan": False, "allow_infinity": False} if name in ("start_s", "end_s") else {}
        return data.draw(hnp.arrays(ARRAYS[name], shape, elements=finite))

    json_values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=6,
    )
    result = VideoFeatures(
        features=draw("features", (rows, 5)),
        start_s=draw("start_s", (rows,)),
        end_s=draw("end_s", (rows,)),
        frame_index=draw("frame_index", (rows, steps)),
        frame_valid=draw("frame_valid", (rows, steps)),
        boxes=draw("boxes", (rows, steps, 4)),
        face_score=draw("face_score", (rows, steps)),
        track_id=draw("track_id", (rows,)),
        warnings=tuple(data.draw(st.lists(st.text(), max_size=3))),
        meta=data.draw(st.dictionaries(st.text(), json_values, max_size=3)),
    )
    path = tmp_path_factory.mktemp("saved") / f"talk.{suffix}"
    result.save(path)
    if rows or suffix != "npy":
        assert_same(VideoFeatures.load(path), result)
    else:  # lists of no rows do not tell how many steps a row would have had
        assert len(VideoFeatures.load(path)) == 0


def test_what_the_model_extracts_survives_a_file(tmp_path: Path, tiny: Marlin) -> None:
    video = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    for settings_of in ({}, {"keep_seq": True}, {"reduction": "max"}):
        result = tiny.extract(video, source_fps=25, **settings_of)
        assert np.isnan(result.face_score).all()
        for suffix in SUFFIXES:
            assert_same(VideoFeatures.load(result.save(tmp_path / f"talk.{suffix}")), result)


def test_npy_and_npz_open_with_numpy_alone(tmp_path: Path) -> None:
    result = make()
    assert np.array_equal(np.load(result.save(tmp_path / "talk.npy")), result.features)
    with np.load(result.save(tmp_path / "talk.npz")) as archive:
        assert np.array_equal(archive["boxes"], result.boxes)
    sidecar = json.loads((tmp_path / "talk.npy.json").read_text(), parse_constant=pytest.fail)  # NaN is not JSON
    assert sidecar["meta"] == META
    assert sidecar["skipped"] == [{"start_s": 1.5, "end_s": 2, "reason": "no face"}]


def test_sidecar_is_json_where_scores_are_nan(tmp_path: Path) -> None:
    whole_frames().save(tmp_path / "talk.npy")
    sidecar = json.loads((tmp_path / "talk.npy.json").read_text(), parse_constant=pytest.fail)
    assert sidecar["face_score"][0] == [None] * 16


def test_suffix_may_be_in_capitals(tmp_path: Path) -> None:
    assert_same(VideoFeatures.load(make().save(tmp_path / "TALK.NPZ")), make())


def test_path_may_be_a_string(tmp_path: Path) -> None:
    path = make().save(str(tmp_path / "talk.npz"))
    assert_same(VideoFeatures.load(str(path)), make())


# Output that cannot be written.


@pytest.mark.parametrize("name", ["talk", "talk.pkl", "talk.npz.gz", ".npz"])
def test_other_suffix_names_those_there_are(tmp_path: Path, name: str) -> None:
    for act in (make().save, VideoFeatures.load):
        with pytest.raises(FeatureFileError, match=rf"'{name}' has no suffix of a feature file; expected \.npz, \.npy"):
            act(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_full_disk_leaves_the_old_files_and_no_half_of_the_new(tmp_path: Path, suffix: str) -> None:
    path = make(1).save(tmp_path / f"talk.{suffix}")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with disk_of(40_000), pytest.raises(FeatureFileError, match=rf"cannot write .*talk\.{suffix}: .*free space"):
        make(3, (1568, 32)).save(path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_folder_that_is_a_file_cannot_be_written(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "features").write_bytes(b"")
    with pytest.raises(FeatureFileError, match=rf"cannot write .*features/talk\.{suffix}"):
        make().save(tmp_path / "features" / f"talk.{suffix}")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_folder_in_the_place_of_the_file_cannot_be_written(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"talk.{suffix}").mkdir()
    with pytest.raises(FeatureFileError, match=rf"cannot write .*talk\.{suffix}: Is a directory"):
        make().save(tmp_path / f"talk.{suffix}")
    assert not list((tmp_path / f"talk.{suffix}").iterdir())
    assert not [file for file in tmp_path.iterdir() if ".part" in file.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_metadata_that_is_no_json_writes_nothing(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(FeatureFileError, match=r"metadata is not plain JSON: .*complex"):
        make(meta={"detector": 1j}).save(tmp_path / f"talk.{suffix}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_reader_beside_writers_always_sees_a_whole_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"talk.{suffix}"
    versions = [make(rows, (2000,)) for rows in (1, 2, 3, 4)]
    versions[0].save(path)

    def write(version: VideoFeatures) -> None:
        for _ in range(10):
            version.save(path)

    writers = [threading.Thread(target=write, args=(version,)) for version in versions]
    for writer in writers:
        writer.start()
    seen = 0
    while seen < 10 or any(writer.is_alive() for writer in writers):
        got = VideoFeatures.load(path)
        assert_same(got, versions[len(got) - 1])
        seen += 1
    for writer in writers:
        writer.join()
    assert list(tmp_path.iterdir()) == [path]


# Files that save() did not write.


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_missing_file_is_named(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(FeatureFileError, match=rf"no such feature file: .*gone\.{suffix}"):
        VideoFeatures.load(tmp_path / f"gone.{suffix}")


def test_missing_sidecar_is_named(tmp_path: Path) -> None:
    make().save(tmp_path / "talk.npy")
    (tmp_path / "talk.npy.json").unlink()
    with pytest.raises(FeatureFileError, match=r"no such feature file: .*talk\.npy\.json"):
        VideoFeatures.load(tmp_path / "talk.npy")


def test_sidecar_of_another_video_is_refused(tmp_path: Path) -> None:
    make(3).save(tmp_path / "talk.npy")
    sidecar = (tmp_path / "talk.npy.json").read_bytes()
    make(2).save(tmp_path / "talk.npy")
    (tmp_path / "talk.npy.json").write_bytes(sidecar)
    with pytest.raises(FeatureFileError, match=r"talk\.npy: features have shape \(2, 32\).* 3 rows"):
        VideoFeatures.load(tmp_path / "talk.npy")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("content", [b"", b"hello", bytes(3000), b"PK\x05\x06" + bytes(18), b"\x93NUMPY"])
def test_file_that_is_none_is_named(tmp_path: Path, suffix: str, content: bytes) -> None:
    make().save(tmp_path / f"talk.{suffix}")
    (tmp_path / f"talk.{suffix}").write_bytes(content)
    with pytest.raises(FeatureFileError, match=rf"talk\.{suffix}"):
        VideoFeatures.load(tmp_path / f"talk.{suffix}")


@pytest.mark.parametrize("name", ["talk.npz", "talk.safetensors", "talk.npy", "talk.npy.json"])
@settings(deadline=None, max_examples=30, database=None)
@given(share=st.floats(0, 0.9999))
def test_cut_off_file_is_refused(tmp_path_factory: pytest.TempPathFactory, name: str, share: float) -> None:
    path = tmp_path_factory.mktemp("cut") / name.removesuffix(".json")
    make().save(path)
    whole = path.with_name(name).read_bytes()
    path.with_name(name).write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(FeatureFileError, match=path.name):
        VideoFeatures.load(path)


@pytest.mark.parametrize("name", ["talk.npz", "talk.safetensors", "talk.npy", "talk.npy.json"])
@settings(deadline=None, max_examples=60, database=None)
@given(data=st.data())
def test_damaged_file_never_fails_but_with_an_error_of_ours(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("damaged") / name.removesuffix(".json")
    make().save(path)
    content = bytearray(path.with_name(name).read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.with_name(name).write_bytes(content)

    def outcome() -> str:
        try:
            return f"{len(VideoFeatures.load(path))} rows"
        except FeatureFileError as error:
            return str(error)

    assert outcome() == "3 rows" or path.name in outcome()


def _npz(path: Path, **change: Any) -> None:
    arrays = {name: getattr(make(), name) for name in ARRAYS}
    notes = np.array(json.dumps({"skipped": [], "warnings": [], "meta": {}}))
    np.savez(path, **{key: array for key, array in {**arrays, "notes": notes, **change}.items() if array is not None})


class Trace:
    """Pickles to a call that leaves a trace."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.mkdir, (self.path,)


def test_pickle_in_a_feature_file_is_not_run(tmp_path: Path) -> None:
    hostile = np.array([Trace(tmp_path / "trace")] * 3, dtype=object)
    _npz(tmp_path / "talk.npz", start_s=hostile)
    make().save(tmp_path / "talk.npy")
    np.save(tmp_path / "talk.npy", hostile, allow_pickle=True)
    for name in ("talk.npz", "talk.npy"):
        with pytest.raises(FeatureFileError, match=name):
            VideoFeatures.load(tmp_path / name)
    assert not (tmp_path / "trace").exists()
    with np.load(tmp_path / "talk.npz", allow_pickle=True) as archive:
        archive["start_s"]  # the trap does work
    assert (tmp_path / "trace").is_dir()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": None}, "features"),
        ({"notes": None}, "notes"),
        ({"features": np.zeros((2, 32), np.float32)}, r"features have shape \(2, 32\)"),
        ({"features": np.zeros((), np.float32)}, r"features have shape \(\)"),
        ({"features": np.zeros((3, 2, 2, 2), np.float32)}, r"features have shape \(3, 2, 2, 2\)"),
        ({"features": np.zeros((3, 32), np.complex64)}, "features has dtype complex64, expected float32"),
        ({"track_id": np.zeros(3)}, "track_id has dtype float64, expected int64"),
        ({"boxes": np.zeros((3, 16, 5), np.float32)}, r"boxes has shape \(3, 16, 5\), expected \(3, 16, 4\)"),
        ({"frame_valid": np.zeros((3, 15), np.bool_)}, r"frame_valid has shape \(3, 15\), expected \(3, 16\)"),
        ({"frame_index": np.array(3)}, "is not a feature file"),
        ({"track_id": np.array(3)}, "is not a feature file"),
        ({"notes": np.array("[]")}, "is not a feature file"),
        ({"notes": np.array("{")}, "is not a feature file"),
        ({"notes": np.array("[" * 100_000)}, "is not a feature file"),
        ({"notes": np.array('{"skipped": [], "warnings": [], "meta": []}')}, "meta is a list"),
        ({"notes": np.array('{"skipped": [], "warnings": "no", "meta": {}}')}, "malformed"),
        ({"notes": np.array('{"skipped": [], "warnings": [1], "meta": {}}')}, "malformed"),
        ({"notes": np.array('{"skipped": [{"start_s": 1}], "warnings": [], "meta": {}}')}, "is not a feature file"),
        (
            {
                "notes": np.array(
                    '{"skipped": [{"start_s": "a", "end_s": "b", "reason": "c"}], "warnings": [], "meta": {}}'
                )
            },
            "malformed",
        ),
    ],
)
def test_content_that_does_not_fit_together_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    _npz(tmp_path / "talk.npz", **change)
    with pytest.raises(FeatureFileError, match=rf"talk\.npz.*{message}"):
        VideoFeatures.load(tmp_path / "talk.npz")


def test_safetensors_of_something_else_is_refused(tmp_path: Path) -> None:
    save_file({name: getattr(make(), name) for name in ARRAYS}, tmp_path / "talk.safetensors")
    with pytest.raises(FeatureFileError, match=r"talk\.safetensors is not a feature file"):
        VideoFeatures.load(tmp_path / "talk.safetensors")


def test_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "talk.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (25_000_000, 1)})
        archive.writestr("features.npy", header.getvalue() + bytes(100_000_000))
    with pytest.raises(FeatureFileError, match=r"talk\.npz: unpacks to 100000\d{3} bytes"):
        VideoFeatures.load(tmp_path / "talk.npz")


@pytest.mark.parametrize("wrap", [False, True])
def test_header_that_claims_terabytes_costs_nothing(tmp_path: Path, wrap: bool) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (3, 1 << 40)})
    path = make().save(tmp_path / ("talk.npz" if wrap else "talk.npy"))
    if wrap:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("features.npy", header.getvalue())
    else:
        path.write_bytes(header.getvalue())
    with pytest.raises(FeatureFileError, match=path.name):
        VideoFeatures.load(path)


# The object itself.


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda it: {"start_s": it.start_s[:2]}, r"start_s has shape \(2,\), expected \(3,\) for 3 rows"),
        (lambda it: {"boxes": it.boxes[:, :, :3]}, r"boxes has shape \(3, 16, 3\)"),
        (lambda it: {"features": it.features[:2]}, r"features have shape \(2, 32\)"),
        (lambda it: {"features": it.features.astype(np.float64)}, "features has dtype float64, expected float32"),
        (lambda it: {"frame_valid": it.frame_valid.astype(np.int64)}, "frame_valid has dtype int64, expected bool"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(
    change: Callable[[VideoFeatures], dict[str, Any]], message: str
) -> None:
    result = make()
    with pytest.raises(ShapeError, match=message):
        VideoFeatures(**{**{name: getattr(result, name) for name in ARRAYS}, **change(result)})


def test_windows_become_rows_in_order() -> None:
    result = make(3)
    assert len(result) == 3
    assert result.start_s.tolist() == [0, 1.28, 2.56]
    assert result.frame_index[2].tolist() == list(range(64, 96, 2))
    assert result.frame_valid.sum(axis=1).tolist() == [16, 15, 14]
    assert result.track_id.tolist() == [0, 1, 0]


def test_repr_says_what_it_is() -> None:
    assert repr(make()) == "VideoFeatures(/videos/面 «talk».mp4: (3, 32), 0.00-3.84 s, 1 skipped)"
    assert "no rows" in repr(make(0))


def test_table_has_a_line_for_each_window() -> None:
    result = make(3, (4,))
    table = result.to_dataframe()
    assert list(table.columns) == [
        *("source", "start_s", "end_s", "track_id", "first_frame", "last_frame", "valid_frames", "face_score"),
        *("f0", "f1", "f2", "f3"),
    ]
    assert len(table) == 3
    assert table["source"].unique().tolist() == ["/videos/面 «talk».mp4"]
    assert table["first_frame"].tolist() == [0, 32, 64]
    assert table["last_frame"].tolist() == [30, 62, 94]
    assert table["valid_frames"].tolist() == [16, 15, 14]
    assert np.array_equal(table[["f0", "f1", "f2", "f3"]].to_numpy(), result.features)
    means = [result.face_score[row, : 16 - row].mean() for row in range(3)]
    assert table["face_score"].to_numpy() == pytest.approx(means)


def test_table_has_no_score_where_none_was_sought() -> None:
    assert whole_frames().to_dataframe()["face_score"].isna().all()


def test_table_of_no_rows_has_its_columns() -> None:
    table = make(0, (4,)).to_dataframe()
    assert (len(table), len(table.columns)) == (0, 12)


@pytest.mark.parametrize("result", [make(2, (1568, 8)), make(2, (32,), reduced=True)])
def test_tokens_and_reduced_features_are_no_table(result: VideoFeatures) -> None:
    with pytest.raises(ConfigError, match="are not a table; extract with the default reduction"):
        result.to_dataframe()


def test_table_without_pandas_names_its_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)  # what Python itself keeps for a module that cannot be imported
    with pytest.raises(MissingExtraError, match=r"pip install 'marlin-sdk\[pandas\]'"):
        make().to_dataframe()
