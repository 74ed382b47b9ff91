"""Set up the reference: its own virtual environment, its real dependencies, and a stand-in only if no build fits."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click

__all__ = ["PeerEnvironment", "set_up"]

PEER = "marlin-pytorch==0.3.4"
TORCH = "torch==2.13.0"
TORCHVISION = "torchvision==0.28.0"  # the release for that torch
# The requirements of marlin-pytorch 0.3.4 except torch and torchvision, and face-alignment for its detector's network.
REQUIRES = ("numpy", "einops", "ffmpeg-python", "opencv-python", "av", "tqdm", "pyyaml", "face-alignment==1.5.0")
STANDINS = Path(__file__).parent / "standins"
_ASK_TORCHVISION = "import torchvision; torchvision.io.read_video; import torchvision.models._utils as u; "
_ASK_TORCHVISION += "u.IntermediateLayerGetter; print(torchvision.__version__)"
_ASK_VERSIONS = """
import json, platform
from importlib.metadata import version
names = ["marlin-pytorch", "torch", "numpy", "opencv-python", "av", "einops", "face-alignment"]
print(json.dumps({"python": platform.python_version(), **{name: version(name) for name in names}}))
"""


@dataclass(frozen=True)
class PeerEnvironment:
    """The environment in which the reference runs.

    Attributes:
        python: its interpreter.
        import_path: folders that precede its own packages.
        versions: versions of it and its dependencies.
        notes: descriptions of everything that was replaced.
    """

    python: Path
    import_path: tuple[Path, ...]
    versions: dict[str, str]
    notes: tuple[str, ...]


def set_up(folder: Path, constraints: Path) -> PeerEnvironment:
    """Create the environment; a second call reuses it.

    Args:
        folder: of the virtual environment.
        constraints: a pip constraints file, so that both sides run on the same torch, NumPy, OpenCV and PyAV.
    Raises:
        SystemExit: the `ffprobe` program, which marlin-pytorch runs, is missing; or pip failed, with pip's message.
    """
    if shutil.which("ffprobe") is None:
        raise SystemExit(
            "marlin-pytorch runs the ffprobe program, which is not here; install ffmpeg "
            "(`apt-get install -y ffmpeg`), or measure marlin-sdk alone with --without-peer"
        )
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    done = folder / "set-up.json"
    if not done.exists():
        click.echo(f"setting up {PEER} in {folder} (once, takes minutes)", err=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        _pip(python, "--constraint", constraints, TORCH, *REQUIRES)
        _pip(python, "--no-deps", PEER)
        done.write_text(json.dumps(_find_torchvision(python)))
    torchvision: str | None = json.loads(done.read_text())
    notes = ["its detector: face-alignment's RetinaFace 0.25 with the same weights, for the git clone of FaceX-Zoo"]
    if torchvision is None:
        notes.append(
            f"torchvision: no build of it that fits {TORCH} has the names it needs (read_video, "
            "IntermediateLayerGetter); a stand-in of 50 lines has them (benchmarks/peer/standins)"
        )
    versions = json.loads(_output(python, _ASK_VERSIONS))
    versions["torchvision"] = torchvision or "stand-in"
    return PeerEnvironment(python, () if torchvision else (STANDINS,), versions, tuple(notes))


def _find_torchvision(python: Path) -> str | None:
    """The installed torchvision version that works here; None, with torchvision uninstalled, if there is none."""
    try:
        _pip(python, "--no-deps", TORCHVISION)
        return _output(python, _ASK_TORCHVISION).strip()
    except (SystemExit, subprocess.CalledProcessError):
        subprocess.run([python, "-m", "pip", "uninstall", "-qqy", "torchvision"], check=False)
        return None


def _pip(python: Path, *what: str | Path) -> None:
    command = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", *what]
    if subprocess.run(command, check=False).returncode:
        raise SystemExit(f"pip could not install {' '.join(map(str, what))}; measure alone with --without-peer")


def _output(python: Path, code: str) -> str:
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout
