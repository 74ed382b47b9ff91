"""Checkpoints of any training task: written atomically, and identified by their task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric import Fabric
from torch import nn

from marlin_sdk.errors import TrainingError, WeightsError
from marlin_sdk.training.checkpoint import (
    model_state,
    optimizer_state,
    read_checkpoint,
    read_progress,
    restore_state,
    write_checkpoint,
)


def trained() -> tuple[nn.Linear, torch.optim.AdamW]:
    network = nn.Linear(4, 2)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    network(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    return network, optimizer


def content(network: nn.Linear, optimizer: torch.optim.AdamW, step: int = 7) -> dict[str, Any]:
    return {
        "state_dict": model_state(network),
        "hyper_parameters": {"size": 4},
        "progress": {"step": step, "epoch": 2},
        "probing": {"seed": 3},
        "optimizer": optimizer_state(network, optimizer),
    }


def write(path: Path, values: dict[str, Any]) -> None:
    write_checkpoint(path, values, Fabric(accelerator="cpu", devices=1), task="probing")


def test_any_network_and_its_optimiser_are_restored(tmp_path: Path) -> None:
    network, optimizer = trained()
    write(tmp_path / "last.ckpt", content(network, optimizer))
    read = read_checkpoint(tmp_path / "last.ckpt", task="probing")
    assert (read["epoch"], read["global_step"], read["probing"]) == (2, 7, {"seed": 3})
    other = nn.Linear(4, 2)
    fresh = torch.optim.AdamW(other.parameters(), lr=0.1)
    restore_state(other, fresh, read["state_dict"], read["optimizer"])
    assert torch.equal(other.weight, network.weight)
    assert torch.equal(fresh.state[other.weight]["exp_avg"], optimizer.state[network.weight]["exp_avg"])


def test_progress_comes_with_the_settings_of_the_task(tmp_path: Path) -> None:
    write(tmp_path / "last.ckpt", content(*trained()))
    assert read_progress(tmp_path / "last.ckpt", task="probing") == {"step": 7, "epoch": 2, "probing": {"seed": 3}}


def test_checkpoint_of_another_task_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "last.ckpt", content(*trained()))
    with pytest.raises(WeightsError, match="not a checkpoint that a run can resume"):
        read_progress(tmp_path / "last.ckpt", task="pretraining")


def test_truncated_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    write(path, content(*trained()))
    path.write_bytes(path.read_bytes()[:-800])
    with pytest.raises(WeightsError, match="truncated"):
        read_progress(path, task="probing")


def test_bare_weights_cannot_be_resumed(tmp_path: Path) -> None:
    torch.save(nn.Linear(4, 2).state_dict(), tmp_path / "last.ckpt")
    with pytest.raises(WeightsError, match="--init"):
        read_progress(tmp_path / "last.ckpt", task="probing")


def test_weights_that_are_not_finite_do_not_replace_good_ones(tmp_path: Path) -> None:
    network, optimizer = trained()
    path = tmp_path / "last.ckpt"
    write(path, content(network, optimizer))
    good = path.read_bytes()
    with torch.no_grad():
        network.weight[0, 0] = torch.inf
    with pytest.raises(TrainingError, match=r"of step 8: its weights are not finite; the last good one.*step 7"):
        write(path, content(network, optimizer, step=8))
    assert path.read_bytes() == good
