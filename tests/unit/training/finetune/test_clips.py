"""Labelled clips as a torch data set, in the loops that users write."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.making import TINY
from tests.unit.training.finetune.labelling import clips, write_faces, write_table
from tests.unit.training.preparing import tell_tale
from torch.utils.data import DataLoader

import marlin_sdk
from marlin_sdk import ClipDataset, Marlin
from marlin_sdk.errors import ConfigError, VideoDecodeError


@pytest.fixture(autouse=True)
def _no_sockets() -> Iterator[None]:
    """Tensors are passed between processes by files: sockets, the default, are blocked in tests."""
    sharing: Any = torch.multiprocessing
    usual = sharing.get_sharing_strategy()
    sharing.set_sharing_strategy("file_system")
    yield
    sharing.set_sharing_strategy(usual)


def test_it_is_public() -> None:
    assert marlin_sdk.ClipDataset is ClipDataset


def test_training_item_is_a_random_window_of_a_clip(tmp_path: Path) -> None:
    table, faces = clips(tmp_path)
    data = ClipDataset(table, "mood", shards=faces, split="train")
    assert (len(data), data.classes) == (16, ("calm", "glad"))
    item = data[3]
    assert item["clip"].shape == (16, 32, 32, 3)
    assert item["clip"].dtype == torch.uint8
    assert (item["id"], int(item["label"]), item["window"], item["broken"]) == ("c03", 1, -1, "")
    assert item["end_s"] - item["start_s"] == pytest.approx(31 / 25)
    starts = set()
    for epoch in range(12):
        data.set_epoch(epoch)
        starts.add(data[3]["start_s"])
    assert len(starts) > 6
    data.set_epoch(0)
    assert torch.equal(data[3]["clip"], item["clip"])


def test_test_items_are_the_windows_of_each_clip(tmp_path: Path) -> None:
    table, faces = clips(tmp_path)
    data = ClipDataset(table, "mood", shards=faces, split="test", windows="all", config=TINY)
    assert data.ids == [f"c{index:02d}" for index in range(16, 24) for _ in range(2)]
    assert [data[index]["window"] for index in range(4)] == [0, 1, 0, 1]
    assert data[-1]["id"] == "c23"
    with pytest.raises(IndexError, match="index 16 of 16"):
        data[16]


def test_plain_loop_with_workers_trains_the_public_encoder(tmp_path: Path) -> None:
    """The encoder of a `Marlin`, a linear layer, and a loader with processes of its own."""
    table, faces = clips(tmp_path)
    data = ClipDataset(table, "mood", shards=faces, split="train", config=TINY, as_float=True)
    model = Marlin.untrained(TINY, device="cpu", detector="lbp")
    model.encoder.blocks.requires_grad_()
    head = torch.nn.Linear(32, 2)
    optimizer = torch.optim.AdamW([*model.encoder.blocks.parameters(), *head.parameters()], lr=1e-2)
    losses = []
    context: dict[str, Any] = {"multiprocessing_context": "fork"}
    loader = DataLoader(data, batch_size=8, shuffle=True, num_workers=2, persistent_workers=True, **context)
    for epoch in range(4):
        data.set_epoch(epoch)
        for batch in loader:
            loss = torch.nn.functional.cross_entropy(head(model.encoder(batch["clip"])), batch["label"])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


def test_copies_in_workers_see_the_epoch_and_hold_no_file(tmp_path: Path) -> None:
    table, faces = clips(tmp_path)
    data = ClipDataset(table, "mood", shards=faces)
    data.set_epoch(3)
    copy = pickle.loads(pickle.dumps(data))
    assert torch.equal(copy[5]["clip"], data[5]["clip"])


def test_several_labels_and_numbers(tmp_path: Path) -> None:
    more: dict[str, Any] = {
        "a.smile": lambda i: i % 2 == 0,
        "a.hat": lambda i: i % 3 == 0 if i else "",
        "age": lambda i: 20.5 + i,
    }
    table, faces = clips(tmp_path, **more)
    several = ClipDataset(table, "a.*", shards=faces)
    assert [target.name for target in several.targets] == ["a.hat", "a.smile"]
    assert several[3]["label"].tolist() == [1.0, 0.0]
    assert several[0]["label"].isnan().tolist() == [True, False]
    ages = ClipDataset(table, "age", shards=faces)
    assert (ages[2]["label"].tolist(), ages.classes) == ([22.5], ())


def test_transform_gets_the_clip(tmp_path: Path) -> None:
    table, faces = clips(tmp_path)
    data = ClipDataset(table, "mood", shards=faces, as_float=True, transform=lambda clip: clip.flip(-1) * 2)
    plain = ClipDataset(table, "mood", shards=faces, as_float=True)
    assert torch.equal(data[0]["clip"], plain[0]["clip"].flip(-1) * 2)


def test_clips_without_a_face_are_logged_and_listed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [{"path": f"{name}.mp4", "id": name, "mood": name in "ab", "group": name} for name in "abcde"]
    tracks = [(f"{name}.mp4", 0, 0, tell_tale(40)) for name in "abcd"]
    with caplog.at_level(logging.WARNING, logger="marlin_sdk"):
        data = ClipDataset(write_table(tmp_path / "t.csv", rows), "mood", shards=write_faces(tmp_path / "f", tracks))
    assert len(data) == 4
    assert list(data.left_out.values()) == [["e"]]
    assert "1 clips are left out (e): its video is not in" in caplog.text


def test_damaged_shard_is_an_error_or_a_blank_clip_that_says_why(tmp_path: Path) -> None:
    table, faces = clips(tmp_path)
    data = ClipDataset(table, "mood", shards=faces)
    skipping = ClipDataset(table, "mood", shards=faces, skip_damaged=True)
    (tar,) = (faces / "shards").glob("*.tar")
    content = bytearray(tar.read_bytes())
    begin = content.index(b"RIFF")
    content[begin : begin + 4] = b"FFFF"
    tar.write_bytes(bytes(content))
    for epoch in range(30):
        data.set_epoch(epoch)
        skipping.set_epoch(epoch)
        item = skipping[0]
        if item["broken"]:
            break
    assert "is damaged: frame 0 of sample 'v00.mp4#0-0'" in item["broken"]
    assert int(item["clip"].sum()) == 0
    with pytest.raises(VideoDecodeError, match="is damaged"):
        data[0]
    assert skipping[1]["broken"] == ""


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"label": "mod"}, "no label column is named or matches 'mod'"),
        ({"split": "val"}, "no labelled clip is in the split 'val'; the table has test, train"),
        ({"windows": "some"}, "windows is 'some'; expected 'random' or 'all'"),
        ({"shards": None}, "shards is missing"),
        ({"shards": "nowhere"}, "nowhere holds no prepared data"),
    ],
)
def test_what_cannot_be_used_is_an_error(tmp_path: Path, settings: dict[str, object], message: str) -> None:
    table, faces = clips(tmp_path)
    label = str(settings.pop("label", "mood"))
    with pytest.raises(ConfigError, match=message):
        ClipDataset(table, label, **{"shards": faces, **settings})  # type: ignore[arg-type]
