"""The probe in training: which windows it takes, what it refuses, and that it tells features that hold the label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.making import TINY
from tests.unit.training.preparing import number_of, write_data
from torch import Tensor

from marlin_sdk.config import REGION_POOLS
from marlin_sdk.errors import ConfigError
from marlin_sdk.face.regions.labels import REGIONS
from marlin_sdk.training.probe import LabelledClips, open_labelled, probe_accuracy, probe_features

PEOPLE = {f"held{number}": 60 for number in range(6)}


def table(path: Path, rows: Sequence[str], header: str = "source,start_frame,end_frame,label,part") -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def two_moments(tmp_path: Path, people: Mapping[str, int] = PEOPLE) -> Path:
    """Each clip is labelled early and late; half of the people are tested."""
    rows = []
    for number, name in enumerate(people):
        part = "train" if number % 2 else "test"
        rows += [f"{name}.mp4,14,18,early,{part}", f"{name}.mp4,40,44,late,{part}"]
    return table(tmp_path / "labels.csv", rows)


def pixels_as_tokens(clips: Tensor) -> Tensor:
    """Tokens (B, 32, 2) that hold the mean of their time step."""
    steps = clips.mean(dim=(1, 3, 4)).reshape(len(clips), 8, 2).mean(dim=2)
    return torch.stack([steps, -steps], dim=2).repeat_interleave(4, dim=1)


def test_windows_are_centred_on_the_labelled_frames(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", {"trained": 40, "other": 40}, PEOPLE)
    clips = open_labelled(data, two_moments(tmp_path), trained_on={"trained", "other"})
    assert clips.clips.shape == (12, 16, 32, 32, 3)
    assert clips.clips.dtype == torch.uint8
    frames = [number_of(frame) for frame in clips.clips[1].numpy()]
    assert frames == list(range(26, 58, 2))  # 31 frames about 42
    assert [number_of(frame) for frame in clips.clips[0].numpy()] == list(range(0, 32, 2))  # about 16: from the start
    assert clips.is_test.sum() == 6
    assert (clips.without_face, clips.majority) == (0, 0.5)


def test_features_that_hold_the_label_are_told_from_those_that_do_not(tmp_path: Path) -> None:
    clips = open_labelled(write_data(tmp_path / "data", {"a": 40, "b": 40}, PEOPLE), two_moments(tmp_path))
    features = probe_features(pixels_as_tokens, clips, TINY)
    assert {name: tuple(values.shape) for name, values in features.items()} == {
        "mean": (12, 2),
        "time": (12, 16),
        "mouth": (12, 16),
        "regions": (12, 8),
    }
    torch.testing.assert_close(features["mean"], features["time"].reshape(12, 8, 2).mean(dim=1))
    for values in features.values():
        assert probe_accuracy(values, clips).all()
    constant = probe_features(lambda part: torch.ones(len(part), 32, 2), clips, TINY)
    assert probe_accuracy(constant["mean"], clips).mean() == 0.5


def test_mouth_is_the_mean_of_its_tokens_of_each_step(tmp_path: Path) -> None:
    clips = open_labelled(write_data(tmp_path / "data", {"a": 40, "b": 40}, PEOPLE), two_moments(tmp_path))
    assert clips.regions is not None
    assert clips.regions.shape == (12, 8, 4)
    shows_mouth = clips.regions & 32 != 0
    # Every token of frame k holds the byte k, and the mouth is bit 5; the late clip begins at frame 26.
    assert shows_mouth[1].all(dim=1).tolist() == [False, False, True, True, True, True, True, True]
    assert not shows_mouth[0].any()
    mouth = torch.zeros(12, 8, 4, dtype=torch.bool)
    mouth[:, :, 1] = mouth[:, :4, 3] = True
    mouth[0, 7] = False  # turned away
    tokens = torch.randn(12, 32, 2, generator=torch.Generator().manual_seed(0))
    pooled = probe_features(lambda _: tokens, replace(clips, regions=mouth * torch.tensor(32, dtype=torch.uint8)), TINY)
    by_step, got = tokens.reshape(12, 8, 4, 2), pooled["mouth"].reshape(12, 8, 2)
    torch.testing.assert_close(got[:, :4], by_step[:, :4, [1, 3]].mean(dim=2))
    torch.testing.assert_close(got[1:, 4:], by_step[1:, 4:, 1])
    torch.testing.assert_close(got[0, 7], by_step[0, 7].mean(dim=0))
    assert set(probe_features(lambda _: tokens, replace(clips, regions=None), TINY)) == {"mean", "time"}


def test_regions_are_the_means_of_their_tokens_over_all_steps(tmp_path: Path) -> None:
    clips = open_labelled(write_data(tmp_path / "data", {"a": 40, "b": 40}, PEOPLE), two_moments(tmp_path))
    bit = {name: 1 << index for index, name in enumerate(REGIONS)}
    regions = torch.zeros(12, 8, 4, dtype=torch.uint8)
    regions[:, :, 0] = bit["right_eye"] | bit["skin"]
    regions[:, :3, 1] = bit["left_eye"]
    regions[:, 5, 2] = bit["mouth"]  # and no nose anywhere
    tokens = torch.randn(12, 32, 2, generator=torch.Generator().manual_seed(0))
    pooled = probe_features(lambda _: tokens, replace(clips, regions=regions), TINY)["regions"].reshape(12, 4, 2)
    cells = tokens.reshape(12, 8, 4, 2)
    eyes, nose, mouth, skin = (REGION_POOLS.index(name) for name in ("eyes", "nose", "mouth", "skin"))
    torch.testing.assert_close(pooled[:, eyes], torch.cat([cells[:, :, 0], cells[:, :3, 1]], dim=1).mean(dim=1))
    torch.testing.assert_close(pooled[:, nose], tokens.mean(dim=1))
    torch.testing.assert_close(pooled[:, mouth], cells[:, 5, 2])
    torch.testing.assert_close(pooled[:, skin], cells[:, :, 0].mean(dim=1))


def test_rows_without_a_prepared_face_are_counted(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", {"a": 40, "b": 40}, {**PEOPLE, "short": 20})
    labels = two_moments(tmp_path)
    labels.write_text(labels.read_text() + "short.mp4,5,9,early,train\nheld1.mp4,70,80,late,train\n")
    clips = open_labelled(data, labels)
    assert len(clips.labels) == 12
    assert clips.without_face == 2
    assert "2 rows without a prepared face left out" in str(clips)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "has no rows"),
        (["held0.mp4,5,9,early,val"], "line 2"),
        (["held0.mp4,9,5,early,train"], "0 <= start_frame <= end_frame"),
        (["held0.mp4,0.5 s,5,early,train"], "0 <= start_frame <= end_frame"),
        (["gone.mp4,5,9,early,train"], "1 of its sources are not in"),
        (["held0.mp4,5,9,early,train", "held0.mp4,35,39,late,test"], "line 3: source 'held0.mp4' is in both parts"),
        (["held0.mp4,5,9,early,train", "trained.mp4,9,9,early,test"], "the encoder is trained on it"),
        (
            ["held0.mp4,5,9,early,train", "held1.mp4,5,9,early,test", "held1.mp4,35,39,late,test"],
            "label 'late' is missing from the train part",
        ),
        (
            ["held0.mp4,5,9,early,train", "held0.mp4,5,9,late,train", "held1.mp4,5,9,late,test"],
            "label 'early' is missing from the test part",
        ),
        (["held0.mp4,5,9,early,train", "held1.mp4,5,9,early,test"], "all rows have one label"),
        (["held0.mp4,70,80,early,train", "held1.mp4,5,9,early,test"], "1 of 2 rows show no prepared face"),
    ],
)
def test_tables_that_a_probe_cannot_use_are_refused(tmp_path: Path, rows: list[str], message: str) -> None:
    data = write_data(tmp_path / "data", {"trained": 40, "other": 40}, PEOPLE)
    with pytest.raises(ConfigError, match=message):
        open_labelled(data, table(tmp_path / "labels.csv", rows), trained_on={"trained", "other"})


def test_a_table_without_a_column_names_it(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", {"a": 40, "b": 40}, PEOPLE)
    labels = table(tmp_path / "labels.csv", ["held0.mp4,5,9,train"], "source,start_frame,end_frame,part")
    with pytest.raises(ConfigError, match="no column 'label'"):
        open_labelled(data, labels)
    with pytest.raises(ConfigError, match="cannot be read"):
        open_labelled(data, tmp_path / "none.csv")


def test_labels_by_chance_are_not_found(tmp_path: Path) -> None:
    clips = open_labelled(write_data(tmp_path / "data", {"a": 40, "b": 40}, PEOPLE), two_moments(tmp_path))
    many = LabelledClips(
        clips=clips.clips,
        labels=torch.randint(0, 2, (400,), generator=torch.Generator().manual_seed(0)).numpy().astype(str),
        is_test=torch.arange(400).numpy() % 2 == 0,
        groups=torch.arange(400).numpy().astype(str),
    )
    noise = torch.randn(400, 20, generator=torch.Generator().manual_seed(1))
    assert 0.4 < probe_accuracy(noise, many).mean() < 0.6
