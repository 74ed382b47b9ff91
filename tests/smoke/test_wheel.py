"""What a user gets: run by `make smoke` against the wheel unpacked in build/wheel, never against src/."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import marlin_sdk

ROOT = Path(__file__).parents[2]
WHEEL = ROOT / "build" / "wheel"

# Run in a fresh interpreter: print which of the slow imports the command's --help brings in.
HELP_IMPORTS = """
import json, sys
import marlin_sdk
from click.testing import CliRunner
from marlin_sdk.cli.extract import main
result = CliRunner().invoke(main, ["--help"])
slow = {"torch", "cv2", "av", "huggingface_hub", "face_alignment", "skimage", "requests"}
print(json.dumps([result.exit_code, marlin_sdk.__file__, sorted(slow & set(sys.modules))]))
"""


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=240)


def test_the_wheel_is_what_is_imported() -> None:
    assert Path(marlin_sdk.__file__).is_relative_to(WHEEL)


def test_the_wheel_is_whole() -> None:
    wheel = importlib.metadata.distribution("marlin-sdk")
    files = {str(file) for file in wheel.files or ()}
    assert Path(str(wheel.locate_file(""))) == WHEEL
    assert wheel.version == marlin_sdk.__version__
    assert "marlin_sdk/py.typed" in files
    assert any(file.endswith("/licenses/LICENSE") for file in files)
    source = ROOT / "src"
    assert {str(path.relative_to(source)) for path in source.rglob("*.py")} <= files
    assert not [file for file in files if file.startswith(("tests/", "examples/", "docs/"))]


def test_every_public_name_can_be_imported() -> None:
    assert all(getattr(marlin_sdk, name) is not None for name in marlin_sdk.__all__)


def test_help_works_without_the_slow_imports(tmp_path: Path) -> None:
    done = run(sys.executable, "-m", "marlin_sdk.cli", "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "INPUT" in done.stdout
    done = run(sys.executable, "-c", HELP_IMPORTS, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    exit_code, home, slow = json.loads(done.stdout)
    assert exit_code == 0
    assert Path(home).is_relative_to(WHEEL)
    assert slow == []


def test_the_command_embeds_the_example_video(tmp_path: Path) -> None:
    video = ROOT / "examples" / "astronaut.mp4"
    options = ("--untrained", "--model", "marlin_vit_small_ytf", "--detector", "lbp")
    done = run(sys.executable, WHEEL / "bin" / "marlin-extract", video, "-o", tmp_path, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = marlin_sdk.VideoFeatures.load(tmp_path / "astronaut.npz")
    assert len(result) > 0
    assert result.features.shape == (len(result), 384)
    assert result.meta["untrained"] is True
