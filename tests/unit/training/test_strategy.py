"""What depends on the machine and its processes."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from marlin_sdk.training.strategy import joint_count, joint_mean, loader_workers


@pytest.mark.parametrize(
    ("device", "cores", "asked", "devices", "expected"),
    [
        ("cpu", 1, None, 1, 0),
        ("cpu", 2, None, 1, 1),
        ("cpu", 2, None, 2, 0),
        ("cpu", 64, None, 1, 1),
        ("cuda", 2, None, 1, 1),
        ("cuda", 16, None, 8, 1),
        ("cuda", 64, None, 1, 4),
        ("cpu", 1, 3, 1, 3),
        ("cuda", 64, 0, 1, 0),
    ],
)
def test_loading_takes_cores_that_the_steps_leave(
    device: str, cores: int, asked: int | None, devices: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)))
    fabric: Any = SimpleNamespace(device=torch.device(device))
    assert loader_workers(asked, fabric, devices=devices) == expected


def test_one_process_has_the_mean_and_the_count_of_all() -> None:
    rows = torch.ones(3, requires_grad=True)
    assert joint_mean(rows) is rows
    assert joint_count(3) == 3
