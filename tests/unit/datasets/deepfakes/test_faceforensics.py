"""FaceForensics++ and DeepFakeDetection."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.unit.datasets.trees import clips_of, column, note, plant, splits_of

from marlin_sdk.datasets import read
from marlin_sdk.errors import ConfigError

PAIRS = {"train": ["071", "054"], "val": ["720", "672"], "test": ["953", "974"]}


def real(*names: str) -> list[str]:
    return [f"original_sequences/youtube/c23/videos/{name}.mp4" for name in names]


def fake(method: str, *names: str) -> list[str]:
    return [f"manipulated_sequences/{method}/c23/videos/{name}.mp4" for name in names]


def fakes_of(method: str, pairs: Sequence[Sequence[str]] = tuple(PAIRS.values())) -> list[str]:
    return [one for a, b in pairs for one in fake(method, f"{a}_{b}", f"{b}_{a}")]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for split, pair in PAIRS.items():
        note(tmp_path, f"splits/{split}.json", [pair])
    people = [name for pair in PAIRS.values() for name in pair]
    return plant(tmp_path, *real(*people), *fakes_of("Deepfakes"), *fakes_of("FaceSwap"))


def test_one_name_is_a_clip_of_each_method(root: Path) -> None:
    table = read("faceforensics", root)
    ids = [clip.id for clip in table.clips if clip.id.endswith("071_054")]
    assert ids == ["Deepfakes/c23/071_054", "FaceSwap/c23/071_054"]
    assert len(table.clips) == 6 + 2 * 6
    assert column(table, "method")["FaceSwap/c23/071_054"] == "FaceSwap"
    assert {id: fake for id, fake in column(table, "fake").items() if "720" in id and "FaceSwap" not in id} == {
        "youtube/c23/720": False,
        "Deepfakes/c23/720_672": True,
        "Deepfakes/c23/672_720": True,
    }


def test_a_pair_means_its_originals_and_its_fakes_in_both_orders(root: Path) -> None:
    table = read("faceforensics", root)
    assert table.split_by == "official"
    methods = ("Deepfakes", "FaceSwap")
    expected = {f"youtube/c23/{name}" for name in PAIRS["test"]}
    expected |= {f"{method}/c23/{name}" for method in methods for name in ("953_974", "974_953")}
    assert {id for id, split in splits_of(table).items() if split == "test"} == expected
    assert {clip.group for clip in table.clips if clip.split == "test"} == {"953-974"}


def test_listed_clips_without_a_file_and_files_in_no_list_are_named(root: Path) -> None:
    (root / fake("FaceSwap", "054_071")[0]).unlink()
    (root / real("054")[0]).unlink()
    plant(root, *fake("Deepfakes", "071_672", "500_501"), *real("500"))
    table = read("faceforensics", root)
    assert table.absent == ["youtube/054", "FaceSwap/054_071"]
    assert table.unlisted == [*real("500"), *fake("Deepfakes", "071_672", "500_501")]


def test_methods_that_are_not_there_are_said(root: Path) -> None:
    assert "There is no folder of Face2Face, NeuralTextures at c23." in read("faceforensics", root).notes


def test_methods_and_compression_are_chosen(root: Path) -> None:
    table = read("faceforensics", root, methods="FaceSwap")
    assert {clip.labels["method"] for clip in table.clips} == {"original", "FaceSwap"}
    with pytest.raises(ConfigError, match="no videos of the compression c40"):
        read("faceforensics", root, compression="c40")
    with pytest.raises(ConfigError, match="methods='FaceSwap,Magic'; expected some of Deepfakes, "):
        read("faceforensics", root, methods="FaceSwap,Magic")


def test_without_lists_an_original_is_in_the_group_of_its_fakes(root: Path) -> None:
    for split in PAIRS:
        (root / f"splits/{split}.json").unlink()
    (root / fake("Deepfakes", "071_054")[0]).unlink()
    table = read("faceforensics", root)
    assert table.split_by == "seed 0"
    assert {clip.group for clip in table.clips} == {"054-071", "672-720", "953-974"}
    assert clips_of(table)["youtube/c23/054"].group == clips_of(table)["FaceSwap/c23/071_054"].group


def test_deepfake_detection_is_read_alone_and_grouped_by_actor(tmp_path: Path) -> None:
    plant(
        tmp_path,
        *(f"original_sequences/actors/c23/videos/{n:02d}__walking.mp4" for n in range(1, 5)),
        "original_sequences/actors/c23/videos/strange.mp4",
        *fake("DeepFakeDetection", "01_02__walking__ABCDEFGH", "02_03__walking__ABCDEFGH"),
    )
    table = read("faceforensics", tmp_path, methods="DeepFakeDetection")
    assert clips_of(table)["DeepFakeDetection/c23/01_02__walking__ABCDEFGH"].group == "actor-01"
    assert clips_of(table)["actors/c23/01__walking"].group == "actor-01"
    assert (table.split_by, table.unlisted) == ("seed 0", ["original_sequences/actors/c23/videos/strange.mp4"])
    with pytest.raises(ConfigError, match="DeepFakeDetection has no official split; read it into its own table"):
        read("faceforensics", tmp_path, methods="DeepFakeDetection,Deepfakes")


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ({}, r"train\.json: dict; expected a list"),
        ([["071"]], r"train\.json, pair 0: \['071'\]; expected two names"),
        ([[71, 54]], r"train\.json, pair 0: \[71, 54\]"),
        ([["071", "720"]], r"val\.json, pair 0: 720 is in another pair too"),
    ],
)
def test_rubbish_names_the_pair(root: Path, pairs: list[object], message: str) -> None:
    note(root, "splits/train.json", pairs)
    with pytest.raises(ConfigError, match=message):
        read("faceforensics", root)


def test_a_missing_list_is_an_error(root: Path) -> None:
    (root / "splits/val.json").unlink()
    with pytest.raises(ConfigError, match=r"has no splits/val\.json; .* Unpack all of it"):
        read("faceforensics", root)


@pytest.mark.shared
def test_the_real_miniature(shared: Path) -> None:
    table = read("faceforensics", shared / "media" / "ffpp")
    groups = {clip.id: clip.group for clip in table.clips}
    assert groups == {
        "youtube/c23/004": "004-982",
        "youtube/c23/519": "515-519",
        "Deepfakes/c23/519_515": "515-519",
        "NeuralTextures/c23/004_982": "004-982",
    }
    assert table.split_by == "nobody"
