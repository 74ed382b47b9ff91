"""The benchmark of learning: its tables of words, its intervals, and its verdict on an encoder that did not learn."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import torch
from benchmarks.learning import MODEL, compare, label_words, paired_interval
from tests.making import lay

from marlin_sdk.model import Encoder
from marlin_sdk.training.probe import LabelledClips

WORDS = b"""id,word,start_s,end_s
bbaf5a,sil,0.0,0.7
bbaf5a,bin,0.7,0.92
bbaf5a,blue,0.92,1.22
bbaf5a,at,1.22,1.4
bbaf5a,f,1.4,1.5
bbaf5a,five,1.5,1.8
bbaf5a,again,1.8,2.2
bbaf5a,sil,2.2,3.0
cut,bin,0.0,0.2
"""


def test_words_become_labelled_frames(tmp_path: Path) -> None:
    words = lay(tmp_path / "words.csv", WORDS)
    splits = lay(tmp_path / "splits.csv", b"source,split\nbbaf5a.mp4,val\ncut.mp4,train\n")
    table = label_words(words, splits, 5, tmp_path / "adverb.csv")
    with table.open(newline="") as file:
        assert list(csv.DictReader(file)) == [
            {"source": "bbaf5a.mp4", "start_frame": "45", "end_frame": "55", "label": "again", "part": "test"}
        ]


def test_intervals_are_of_the_difference_on_the_same_clips() -> None:
    rng = np.random.default_rng(0)
    before = rng.random(200) < 0.5
    groups = np.arange(200).astype(str)
    assert paired_interval(before, before, groups) == (0, 0)
    low, high = paired_interval(before, before | (rng.random(200) < 0.3), groups)
    assert 0.05 < low < high < 0.25
    low, high = paired_interval(before, rng.random(200) < 0.5, groups)
    assert low < 0 < high
    # Two hundred windows of two clips are two observations.
    better = np.arange(200) < 100
    low, high = paired_interval(np.zeros(200, np.bool_), better, np.where(better, "a", "b"))
    assert (low, high) == (0, 1)


def test_an_encoder_that_did_not_learn_is_no_better_than_itself() -> None:
    generator = torch.Generator().manual_seed(0)
    encoder = Encoder(MODEL).eval()
    clips = LabelledClips(
        clips=torch.randint(0, 256, (24, 16, 64, 64, 3), dtype=torch.uint8, generator=generator),
        labels=np.array(["bin", "lay"] * 12),
        is_test=np.arange(24) >= 12,
        groups=np.arange(24).astype(str),
    )
    rows = compare({"untrained": encoder, "pretrained": encoder}, {"verb": clips})
    assert [row["pool"] for row in rows] == ["mean", "time"]
    assert all(row["difference"] == [0, 0] and row["untrained"] == row["pretrained"] for row in rows)
    assert {row["majority"] for row in rows} == {0.5}
