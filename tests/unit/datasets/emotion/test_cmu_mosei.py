"""CMU-MOSEI, from the SDK's file and from MMSA's table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.datasets.trees import clips_of, column, note, plant, splits_of

from marlin_sdk.datasets import read
from marlin_sdk.datasets.checking import check
from marlin_sdk.datasets.emotion.cmu_mosei import sentiment_labels
from marlin_sdk.errors import ConfigError

CSD = "CMU_MOSEI_Labels.csd"
FOLDS = "standard_train_fold=['one', 'two']\nstandard_valid_fold = ['three']\n\nstandard_test_fold=['gone']\n"


def write_csd(path: Path, videos: dict[str, tuple[Sequence[Sequence[float]], Sequence[Sequence[float]]]]) -> Path:
    with h5py.File(path, "w") as file:
        for video, (features, intervals) in videos.items():
            group = file.create_group(f"All Labels/data/{video}")
            group["features"] = np.asarray(features, np.float32)
            group["intervals"] = np.asarray(intervals, np.float32)
    return path


def row(sentiment: float, *emotions: float) -> list[float]:
    return [sentiment, *emotions, *[0.0] * (6 - len(emotions))]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_csd(
        tmp_path / CSD,
        {
            "one": ([row(2, 0.5, 0, 4), row(-0.5), row(0)], [[8, 12], [0, 4], [4, 8]]),
            "two": ([row(1)], [[3, 2]]),
            "three": ([row(1), row(-1)], [[1, 2], [60, 70]]),
            "gone": ([row(1)], [[1, 2]]),
        },
    )
    return plant(tmp_path, *(f"Raw/Videos/Full/Combined/{name}.mp4" for name in ("one", "two", "three", "stray")))


def test_rows_are_put_in_the_order_of_time_with_their_own_labels(root: Path) -> None:
    table = read("cmu-mosei", root)
    assert [(clip.start_s, clip.labels["sentiment"]) for clip in table.clips if clip.group == "one"] == [
        (0, -0.5),
        (4, 0),
        (8, 2),
    ]
    assert table.absent == ["gone"]
    assert table.unlisted == ["Raw/Videos/Full/Combined/stray.mp4"]
    assert table.dropped == {"an interval that is empty or starts before the video": ["two@3.00-2.00"]}


def test_emotions_are_above_zero_and_intensities_at_most_three(root: Path) -> None:
    labels = clips_of(read("cmu-mosei", root))["one@8.00-12.00"].labels
    emotions = {name: value for name, value in labels.items() if name.startswith("emotion.")}
    assert emotions == {
        "emotion.happy": True,
        "emotion.sad": False,
        "emotion.anger": True,
        "emotion.surprise": False,
        "emotion.disgust": False,
        "emotion.fear": False,
    }
    assert (labels["intensity.happy"], labels["intensity.anger"]) == (0.5, 3.0)


def test_relative_intervals_lie_outside_the_video_and_the_check_names_them(root: Path) -> None:
    table = check(read("cmu-mosei", root), lambda path: 12.1, on_file=lambda: None)
    assert table.dropped["the part lies outside the video"] == ["three@60.00-70.00"]
    assert "three@1.00-2.00" in clips_of(table)


def test_the_official_folds_are_read_from_the_sdks_file_which_is_not_run(root: Path, tmp_path: Path) -> None:
    table = read("cmu-mosei", root)
    assert table.split_by == "nobody"
    assert any("cmu_mosei_std_folds.py" in one for one in table.notes)
    note(root, "cmu_mosei_std_folds.py", f"open({str(tmp_path / 'ran')!r}, 'w')\n{FOLDS}")
    table = read("cmu-mosei", root)
    assert table.split_by == "official"
    assert {clip.group: clip.split for clip in table.clips} == {"one": "train", "three": "val"}
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("text", ["standard_train_fold=['one'", "standard_train_fold=['a']", "standard_train_fold=a()"])
def test_folds_that_are_no_lists_are_an_error(root: Path, text: str) -> None:
    note(root, "cmu_mosei_std_folds.py", text)
    with pytest.raises(ConfigError, match=r"cmu_mosei_std_folds\.py"):
        read("cmu-mosei", root)


def test_segments_of_one_interval_are_left_out(root: Path) -> None:
    write_csd(root / CSD, {"one": ([row(1), row(-3), row(0)], [[0, 4], [0, 4], [4, 8]])})
    table = read("cmu-mosei", root)
    assert list(clips_of(table)) == ["one@4.00-8.00"]
    assert table.dropped == {"another segment has the same interval": ["one@0.00-4.00"] * 2}


# The readings of a sentiment ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "seven", "nonnegative", "positive"),
    [
        (0.0, 0, True, None),
        (1 / 3, 1, True, True),
        (-1 / 3, -1, False, False),
        (1.0, 1, True, True),
        (-2.0, -2, False, False),
        (2.4, 3, True, True),
        (-3.0, -3, False, False),
        (-0.0, 0, True, None),
    ],
)
def test_zero_stays_alone_and_the_rest_goes_outwards(
    value: float, seven: int, nonnegative: bool, positive: bool | None
) -> None:
    assert sentiment_labels(value) == {
        "sentiment": value,
        "sentiment_nonnegative": nonnegative,
        "sentiment_positive": positive,
        "sentiment_7": seven,
    }


@given(st.floats(-3, 3))
def test_the_seven_classes_keep_order_and_sign(value: float) -> None:
    seven = sentiment_labels(value)["sentiment_7"]
    assert isinstance(seven, int)
    assert abs(seven) - 1 < abs(value) <= abs(seven)
    assert seven == 0 or math.copysign(1, seven) == math.copysign(1, value)


# MMSA's table ---------------------------------------------------------------------------------------------------------

HEADER = "video_id,clip_id,text,label,label_T,label_A,label_V,annotation,mode\n"


@pytest.fixture
def mmsa(tmp_path: Path) -> Path:
    note(
        tmp_path,
        "label.csv",
        HEADER + '-a,0,"yes, no",1.4,,,,Positive,train\n-a,10,x,0,,,,Neutral,valid\nb,1,x,-1,,,,Negative,test\n',
    )
    return plant(tmp_path, "Raw/-a/0.mp4", "Raw/-a/10.mp4", "Raw/b/2.mp4")


def test_the_table_has_files_for_segments_and_official_splits(mmsa: Path) -> None:
    table = read("cmu-mosei", mmsa)
    assert splits_of(table) == {"-a/0": "train", "-a/10": "val"}
    assert column(table, "sentiment_7") == {"-a/0": 2, "-a/10": 0}
    assert (table.absent, table.unlisted) == (["b/1"], ["Raw/b/2.mp4"])
    assert "1 group (-a) is in more than one part of the official split." in table.notes


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("b,1,x,4,,,,P,test", "label is '4'"),
        ("b,1,x,nan,,,,P,test", "label is 'nan'"),
        ("b,1,x,1,,,,P,dev2", "mode is"),
    ],
)
def test_rubbish_in_the_table_names_the_line(mmsa: Path, line: str, message: str) -> None:
    note(mmsa, "label.csv", f"{HEADER}{line}\n")
    with pytest.raises(ConfigError, match=rf"label\.csv, line 2: {message}"):
        read("cmu-mosei", mmsa)


# Hostile files --------------------------------------------------------------------------------------------------------


@pytest.fixture
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another file of the machine, of the right form."""
    return write_csd(tmp_path_factory.mktemp("secret") / "s.h5", {"one": ([row(3)], [[0, 1]])})


@pytest.fixture
def labels(root: Path) -> Iterator[Any]:
    """The file's videos, to be changed."""
    with h5py.File(root / CSD, "w") as file:
        yield file.create_group("All Labels/data")


def refusal(root: Path, labels: Any) -> str:
    labels.file.close()
    with pytest.raises(ConfigError) as caught:
        read("cmu-mosei", root)
    return str(caught.value)


@pytest.mark.parametrize("target", ["external", "soft"])
def test_links_are_not_followed(root: Path, secret: Path, labels: Any, target: str) -> None:
    link = h5py.ExternalLink(str(secret), "/All Labels/data/one") if target == "external" else h5py.SoftLink("/nowhere")
    labels["one"] = link
    assert "'one' is a link to elsewhere; it is refused" in refusal(root, labels)


def test_data_in_other_files_are_not_read(root: Path, secret: Path, labels: Any) -> None:
    group = labels.create_group("one")
    group["features"] = np.zeros((1, 7))
    group.create_dataset("intervals", (1, 2), "f8", external=[(str(secret), 0, 16)])
    assert "intervals is no array in this file" in refusal(root, labels)


def test_virtual_arrays_are_not_read(root: Path, secret: Path, labels: Any) -> None:
    group = labels.create_group("one")
    layout = h5py.VirtualLayout((1, 7), "f4")
    layout[:] = h5py.VirtualSource(str(secret), "/All Labels/data/one/features", (1, 7))
    group.create_virtual_dataset("features", layout)
    assert "features is no array in this file" in refusal(root, labels)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.zeros((1, 6)), "features: float64 (1, 6); expected numbers (rows, 7)"),
        (np.zeros((2, 7)), "2 rows of features, 1 intervals"),
        (np.full((1, 7), np.nan), "features has values that are no numbers"),
        (np.array([b"x"]), "features: "),
    ],
)
def test_arrays_of_another_shape_are_refused(root: Path, labels: Any, features: Any, message: str) -> None:
    group = labels.create_group("one")
    group["features"] = features
    group["intervals"] = [[0.0, 1.0]]
    text = refusal(root, labels)
    assert "video 'one'" in text
    assert message in text


def test_a_huge_array_is_refused_before_it_is_read(root: Path, labels: Any) -> None:
    labels.create_group("one").create_dataset("features", (1 << 40, 7), "f8", chunks=(1 << 10, 7))
    assert "expected numbers" in refusal(root, labels)


def test_a_file_that_is_no_hdf5_is_an_error(root: Path) -> None:
    (root / CSD).write_bytes(b"<html>not found</html>")
    with pytest.raises(ConfigError, match=r"CMU_MOSEI_Labels\.csd cannot be read as HDF5"):
        read("cmu-mosei", root)


def test_a_half_unpacked_folder_is_an_error(tmp_path: Path) -> None:
    write_csd(tmp_path / CSD, {"one": ([row(1)], [[0, 1]])})
    with pytest.raises(ConfigError, match="has no Raw/Videos/Full/Combined; expected"):
        read("cmu-mosei", tmp_path)
    with pytest.raises(ConfigError, match=r"has no CMU_MOSEI_Labels\.csd or .* or label\.csv; expected"):
        read("cmu-mosei", plant(tmp_path / "other", "Raw/"))
