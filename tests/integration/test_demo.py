"""`make demo` where nothing can be downloaded."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from examples.demo import why_no_weights
from tests.conftest import ROOT
from tests.making import lay
from tests.patience import HANG_S

COUNT_SLEEP = """
import time
own = time.sleep
def sleep(seconds):
    with open({file!r}, "a") as file:
        print(seconds, file=file)
    own(seconds)
time.sleep = sleep
"""
DEMO = [sys.executable, str(ROOT / "examples" / "demo.py")]


def test_demo_without_downloads_says_so_in_plain_lines(no_network: Mapping[str, str], tmp_path: Path) -> None:
    slept, site = tmp_path / "slept.txt", tmp_path / "site"
    lay(slept, b"")
    lay(site / "sitecustomize.py", COUNT_SLEEP.format(file=str(slept)).encode())
    environment = {**no_network, "PYTHONPATH": str(site)}
    done = subprocess.run(DEMO, env=environment, capture_output=True, text=True, check=False, timeout=HANG_S)
    assert done.returncode == 0, done.stderr
    assert sum(map(float, slept.read_text().split())) < 20, "it waited for a network that is not there"
    said = done.stdout.splitlines()
    assert "The Hugging Face Hub cannot be reached" in said[0]
    assert said[0].endswith("running with --untrained.")
    assert said[1] == "The YuNet face detector cannot be downloaded: running with --detector lbp."
    assert said[2].startswith("$ marlin-extract ")
    assert said[2].endswith("--model marlin_vit_small_ytf --untrained --detector lbp")
    assert any("4 windows x 384 features, float32" in line for line in said)
    assert "random (--untrained): the features mean nothing; detector lbp" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("server")  # which holds no such repo
def test_demo_blames_no_network_where_the_hub_answers() -> None:
    assert why_no_weights() == "The Hugging Face Hub can be reached, but does not give the published weights"
