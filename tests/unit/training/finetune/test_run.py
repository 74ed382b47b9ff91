"""Whole runs of the tiny model: they learn, resume, and stop where they must."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.making import TINY
from tests.unit.training.finetune.labelling import SETTINGS, clips, opened, run, write_faces, write_table
from tests.unit.training.preparing import tell_tale
from tests.unit.training.pretrain.test_state import full_disk

from marlin_sdk.errors import ConfigError, TrainingError, WeightsError
from marlin_sdk.training.finetune.config import FinetuneConfig
from marlin_sdk.training.finetune.data.clips import ClipDataset, LabelledClip
from marlin_sdk.training.finetune.data.table import LabelledTable
from marlin_sdk.training.finetune.protocol import as_published
from marlin_sdk.training.finetune.state import load_weights
from marlin_sdk.training.finetune.task import FineTuning, first_open
from marlin_sdk.training.loop import Verdict
from marlin_sdk.training.monitor import Monitor
from marlin_sdk.weights.checkpoints import from_published_keys

MIXED: dict[str, Any] = {"mixup": 0.3, "colour": 0.2, "crop_jitter": 0.1, "accumulate": 2, "clip_norm": 1.0}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> LabelledTable:
    return opened(*clips(tmp_path_factory.mktemp("clips")))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def state(folder: Path, name: str = "last") -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(folder / f"checkpoints/{name}.ckpt", weights_only=True)["state_dict"]
    return found


def accuracy(result: Any, made: LabelledTable) -> float:
    rows = result.division.test
    head = result.network.head.export(result.objective)["mood"]
    kept, means = result.rows.means(rows)
    assert np.array_equal(kept, rows)
    return float((head.scores(means, np.empty(0, np.int64)).argmax(1) == result.targets[0].values[rows]).mean())


def test_run_learns_what_shows_and_keeps_the_best_epoch(table: LabelledTable, tmp_path: Path) -> None:
    result = run(table, tmp_path / "run", linear_probe=False, epochs=6)
    assert accuracy(result, table) > 0.85
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    losses = {line["step"]: line["val/loss"] for line in lines if "val/loss" in line}
    assert list(losses) == [0, 3, 6, 9, 12, 15, 18]
    assert result.best_epoch == min(losses, key=losses.__getitem__) // 3
    assert 0 < result.speed["speed/share_of_peak"] < 1
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "checkpoints",
        "finetune.yaml",
        "logs",
        "metrics.jsonl",
    }


@pytest.mark.parametrize("settings", [{}, {"linear_probe": False, "pool": "time"}], ids=["", "random-head"])
def test_linear_probe_is_the_first_candidate(table: LabelledTable, tmp_path: Path, settings: dict[str, Any]) -> None:
    """Training towards less certain answers leaves the linear probe as the best, whatever head it starts from."""
    result = run(table, tmp_path / "run", base_lr=1.0, label_smoothing=0.5, epochs=2, **settings)
    assert result.best_epoch == 0
    frozen, kept = result.frozen[0], result.rows
    rows = result.division.test
    own = result.network.head.export(result.objective)["mood"]
    empty = np.empty(0, np.int64)
    assert own.scores(kept.means(rows)[1], empty) == pytest.approx(
        frozen.scores(result.frozen_rows.means(rows)[1], empty), abs=1e-4
    )


def test_weights_are_judged_by_how_their_own_features_vary(table: LabelledTable, tmp_path: Path) -> None:
    """Mean and scale of the head are those of the training clips' features, not of weights of steps before."""
    result = run(table, tmp_path / "run", epochs=2, base_lr=0.5, linear_probe=False)
    load_weights(result.network, tmp_path / "run/checkpoints/last.ckpt")
    data = ClipDataset.of(table, result.targets, result.division.train, windows="random")
    with torch.no_grad():
        clips = torch.stack([data[index]["clip"] for index in range(len(data))]).permute(0, 4, 1, 2, 3).float() / 255
        rows = result.network.eval().features(clips)
    standard = result.network.head.standard
    assert torch.allclose(standard.mean, rows.mean(dim=0), atol=1e-4)
    assert torch.allclose(standard.scale, rows.std(dim=0, correction=0), rtol=1e-2, atol=1e-5)


class _StoppedError(Exception):
    """A run is killed here."""


@pytest.mark.parametrize(
    "settings",
    [{}, {**MIXED, "pool": "time"}, {"head": "attentive", "train_windows": 2}],
    ids=["", "mixed", "attentive"],
)
def test_killed_run_that_goes_on_ends_where_a_straight_one_does(
    table: LabelledTable, tmp_path: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit: 12 training clips make 3 batches an epoch, so that step 4 lies inside the second."""
    own = {"epochs": 3, "save_every": 2 if settings.get("accumulate") else 4, **settings}
    straight = run(table, tmp_path / "straight", **own)
    after = FineTuning.after

    def killed(self: FineTuning, done: int, monitor: Monitor) -> Verdict:
        if done > own["save_every"]:
            raise _StoppedError
        return after(self, done, monitor)

    monkeypatch.setattr(FineTuning, "after", killed)
    with pytest.raises(_StoppedError):
        run(table, tmp_path / "killed", **own)
    monkeypatch.undo()
    workers = 1 if settings.get("pool") else 0  # by default the machine decides
    resumed = run(table, tmp_path / "killed", resume=True, **{**own, "num_workers": workers})
    for name in ("last", "best"):
        expected, got = state(tmp_path / "straight", name), state(tmp_path / "killed", name)
        assert expected.keys() == got.keys()
        assert [key for key in expected if not torch.equal(expected[key], got[key])] == []
    assert np.array_equal(straight.rows.features, resumed.rows.features)
    again = run(table, tmp_path / "killed", resume=True, **own)  # nothing is left to do
    assert np.array_equal(again.rows.features, resumed.rows.features)


def test_run_ends_where_nothing_improves_and_knows_it_when_it_resumes(table: LabelledTable, tmp_path: Path) -> None:
    own: dict[str, Any] = {"base_lr": 1e-9, "patience": 2, "epochs": 20, "warmup": 0.0, "weight_decay": 0.0}
    result = run(table, tmp_path / "run", **own)
    content = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["progress"]
    assert content["finished"]
    assert content["step"] <= 3 * (2 + result.best_epoch)
    assert run(table, tmp_path / "run", resume=True, **own).best_epoch == result.best_epoch


def test_layers_open_from_the_last_one() -> None:
    assert [first_open(step, opening=8.0, layers=4) for step in range(10)] == [3, 3, 2, 2, 1, 1, 0, 0, 0, 0]
    assert [first_open(step, opening=0.0, layers=4) for step in range(3)] == [0, 0, 0]


def test_closed_layers_do_not_change(table: LabelledTable, tmp_path: Path) -> None:
    """In three steps the second block opens first; the patches would in the third, which is not taken."""
    plain = run(
        table, tmp_path / "plain", epochs=1, base_lr=1e-60, base_min_lr=0.0, weight_decay=0.0
    ).network.state_dict()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FineTuning, "after", lambda self, done, monitor: Verdict(finished=done == 2))
        run(table, tmp_path / "run", opening=1.0, epochs=1)
    learned = run_state(tmp_path / "run")
    changed = {name.split(".")[2 if "blocks" in name else 1] for name, tensor in learned.items()
               if not torch.equal(tensor, plain[name])}  # fmt: skip
    assert "patch_embedding" not in changed
    assert {"0", "1"} <= changed


def run_state(folder: Path) -> dict[str, torch.Tensor]:
    """The encoder of the last checkpoint, under this package's keys."""
    published = {key: tensor for key, tensor in state(folder).items() if not key.startswith("finetuned_head")}
    return from_published_keys(published, folder)


@pytest.mark.parametrize(
    ("label", "make"),
    [("age", lambda i: 20.0 + i % 2 * 10 + i / 100), ("three", lambda i: "abc"[i % 3])],
)
def test_numbers_and_several_classes_are_learned(tmp_path: Path, label: str, make: Any) -> None:
    made = opened(*clips(tmp_path, **{label: make}))
    result = run(made, tmp_path / "run", label=label, epochs=2)
    assert np.isfinite(result.rows.features).all()
    goal = {"age": "numbers", "three": "classes"}[label]
    assert result.objective.goal == goal


def test_several_labels_with_gaps_are_learned_at_once(tmp_path: Path) -> None:
    more: dict[str, Any] = {"a.glad": lambda i: i % 2 == 1, "a.hat": lambda i: "" if i % 5 == 0 else i % 4 < 2}
    made = opened(*clips(tmp_path, **more))
    result = run(made, tmp_path / "run", label="a.*", epochs=2)
    assert result.objective.names == ("a.glad", "a.hat")
    assert sorted(result.network.head.export(result.objective)) == ["a.glad", "a.hat"]


def test_names_of_sides_are_not_mirrored_and_that_is_said(tmp_path: Path) -> None:
    made = opened(*clips(tmp_path, classes=("looks_left", "looks_up")))
    result = run(made, tmp_path / "run", epochs=1)
    assert "clips are not mirrored: 'looks_left' names a side" in result.notes


def test_loss_that_is_no_number_stops_with_the_batch_saved(table: LabelledTable, tmp_path: Path) -> None:
    with pytest.raises(
        TrainingError, match=r"step \d+ stopped: its .* not finite.*bad-batch-step\d+-rank0\.pt.*--resume"
    ):
        run(table, tmp_path / "run", base_lr=1e30, warmup=0.0, epochs=4)
    (saved,) = (tmp_path / "run").glob("bad-batch-*.pt")
    (batch,) = torch.load(saved, weights_only=True)["batches"]
    assert batch["clip"].shape == (4, 1, 16, 32, 32, 3)
    assert set(batch["id"]) <= set(table.samples.ids.tolist())


def test_full_disk_at_a_checkpoint_keeps_the_last_good_one(table: LabelledTable, tmp_path: Path) -> None:
    run(table, tmp_path / "run", epochs=1)
    size = (tmp_path / "run/checkpoints/last.ckpt").stat().st_size
    after = FineTuning.save

    with pytest.MonkeyPatch.context() as patch:

        def full(self: FineTuning, done: int, path: Path) -> None:
            with full_disk(size // 2):
                after(self, done, path)

        patch.setattr(FineTuning, "save", full)
        with pytest.raises(TrainingError, match=r"cannot write the checkpoint .*full\?\); .*Free some space"):
            run(table, tmp_path / "other", epochs=1)
    assert not list((tmp_path / "other/checkpoints").glob("*.part*"))


def test_damaged_clip_in_mid_epoch_is_named_and_skipped_and_many_stop_the_run(tmp_path: Path) -> None:
    made = opened(*clips(tmp_path))
    (tar,) = (tmp_path / "faces/shards").glob("*.tar")
    whole = tar.read_bytes()
    result = run(made, tmp_path / "whole", epochs=1)
    victim = made.places[int(result.division.train[0])]

    def damage(ids: set[str]) -> None:
        content = bytearray(whole)
        for place in made.places:
            if place.id in ids:
                _, sample, _, _ = place.pieces[0]
                begin, size = sample.member_offset(2), sample.num_bytes - sample.member_offset(2) + sample.offset
                content[begin : begin + size] = b"\0" * size
        tar.write_bytes(bytes(content))

    damage({victim.id})
    result = run(made, tmp_path / "one", epochs=2, max_broken=0.1)
    assert any(f"1 clips are damaged and were skipped ({victim.id})" in note for note in result.notes)
    assert accuracy(result, made) > 0.5
    damage({place.id for place in made.places[:6]})
    with pytest.raises(TrainingError, match=r"6 of 24 clips are damaged.*more than max_broken = 0.1"):
        run(made, tmp_path / "many", max_broken=0.1)


def test_damage_that_comes_in_mid_run_stops_it_where_it_is_much(
    table: LabelledTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The linear probe has read all clips; then two of twelve cannot be read any more."""
    victims = run(table, tmp_path / "first", epochs=1).division.train[:2].tolist()
    read = ClipDataset.random_item

    def broken(self: ClipDataset, index: int, epoch: int, draw: int = 0) -> LabelledClip:
        item = read(self, index, epoch, draw)
        return {**item, "broken": "gone"} if item["row"] in victims else item

    monkeypatch.setattr(ClipDataset, "random_item", broken)
    result = run(table, tmp_path / "run", epochs=2, max_broken=0.2)
    assert any("2 clips are damaged and were skipped" in note for note in result.notes)
    with pytest.raises(TrainingError, match=r"1 of 12 clips are damaged, such as c0.: gone, more than"):
        run(table, tmp_path / "strict", epochs=2)


def test_folder_of_a_run_is_not_overwritten_and_resumes_with_its_own_settings(
    table: LabelledTable, tmp_path: Path
) -> None:
    run(table, tmp_path / "run", epochs=1)
    with pytest.raises(ConfigError, match="already holds a run; continue it with --resume"):
        run(table, tmp_path / "run", epochs=1)
    with pytest.raises(ConfigError, match=r"these differ: weight_decay 0\.05 then, 0\.2 now"):
        run(table, tmp_path / "run", epochs=1, resume=True, weight_decay=0.2)
    with pytest.raises(ConfigError, match="holds no run to resume"):
        run(table, tmp_path / "none", resume=True)


def test_checkpoint_of_another_size_is_refused(table: LabelledTable, tmp_path: Path) -> None:
    result = run(table, tmp_path / "run", epochs=1)
    path = tmp_path / "run/checkpoints/last.ckpt"
    content = torch.load(path, weights_only=True)
    content["hyper_parameters"]["encoder_depth"] = 3
    torch.save(content, path)
    with pytest.raises(WeightsError, match=r"model of another size: encoder_depth 3, here 2"):
        load_weights(result.network, path)


@pytest.mark.parametrize(
    ("label", "message"),
    [("mod", "no label column is named or matches 'mod'"), ("same", "'same' is 'x' for every video; there is nothing")],
)
def test_label_that_is_mistyped_or_constant_is_refused(tmp_path: Path, label: str, message: str) -> None:
    made = opened(*clips(tmp_path, same=lambda i: "x"))
    with pytest.raises(ConfigError, match=message):
        run(made, tmp_path / "run", label=label)


def test_protocol_of_marlin_runs_and_says_what_is_unsound(table: LabelledTable, tmp_path: Path) -> None:

    config = as_published(FinetuneConfig.from_dict({**SETTINGS, "epochs": 3}))
    result = run(table, tmp_path / "run", **config.to_dict())
    assert any("one random window" in note for note in result.notes)
    tested = result.division.test
    assert [int((result.rows.row == row).sum()) for row in tested] == [1] * len(tested)
    again = run(table, tmp_path / "again", **config.to_dict())
    assert np.array_equal(result.rows.features, again.rows.features)


def test_protocol_of_marlin_is_for_labels_of_two_classes(tmp_path: Path) -> None:
    made = opened(*clips(tmp_path, three=lambda i: "abc"[i % 3]))
    config = as_published(FinetuneConfig.from_dict({**SETTINGS, "label": "three"}))
    with pytest.raises(ConfigError, match="three"):
        run(made, tmp_path / "run", **config.to_dict())


def test_short_track_and_video_without_faces_are_named(tmp_path: Path) -> None:
    rows = [
        {"path": f"v{i}.mp4", "id": f"c{i}", "mood": "ab"[i % 2], "split": "test" if i > 7 else "train", "group": i}
        for i in range(12)
    ]
    tracks = [(f"v{i}.mp4", 0, 0, tell_tale(10 if i == 2 else 40)) for i in range(11)]
    made = opened(write_table(tmp_path / "t.csv", rows), write_faces(tmp_path / "faces", tracks))
    result = run(made, tmp_path / "run", epochs=1)
    assert any("1 clips are left out (c2): the face is seen in fewer than 8" in note for note in result.notes)
    assert any("1 clips are left out (c11): its video is not in" in note for note in result.notes)
    assert TINY.n_frames == 16
