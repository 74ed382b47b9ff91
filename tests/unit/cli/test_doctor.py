"""What `marlin-sdk doctor` prints and how it exits."""

from __future__ import annotations

import json
import shutil

import pytest
from click.testing import CliRunner

from marlin_sdk.cli.doctor import main


@pytest.fixture(autouse=True)
def _eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def fill_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**12, 10**12, 0))


def test_a_sound_machine_exits_with_0_and_says_so_last() -> None:
    result = CliRunner().invoke(main, ["--offline"])
    assert result.exit_code == 0
    assert result.stdout.rstrip().splitlines()[-1].startswith("All required checks passed")
    assert "FAIL" not in result.stdout


def test_a_failure_exits_with_1_and_shows_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    fill_the_disk(monkeypatch)
    result = CliRunner().invoke(main, ["--offline"])
    assert result.exit_code == 1
    assert "FAIL" in result.stdout
    assert "-> free some space" in result.stdout
    assert result.stdout.rstrip().splitlines()[-1].startswith("Failed checks: 3")


def test_lines_fit_eighty_columns_but_for_paths_and_addresses() -> None:
    lines = CliRunner().invoke(main, ["--offline"]).stdout.splitlines()
    assert len(lines) > 20
    assert [line for line in lines if len(line) > 80 and "/" not in line.split()[-1]] == []


@pytest.mark.parametrize("is_full", [False, True])
def test_json_is_one_object_that_says_the_same(is_full: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if is_full:
        fill_the_disk(monkeypatch)
    result = CliRunner().invoke(main, ["--offline", "--json"])
    told = json.loads(result.stdout)
    assert told["ok"] is not is_full
    assert result.exit_code == int(is_full)
    assert {finding["part"] for finding in told["findings"]} >= {"Software", "Disk", "Arithmetic"}
    assert set(told["findings"][0]) == {"part", "name", "state", "text", "remedy"}
