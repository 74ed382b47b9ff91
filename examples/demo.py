"""Run by `make demo`: embed examples/astronaut.mp4 with the command line, and print the result."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import requests

from marlin_sdk import DownloadError, VideoFeatures
from marlin_sdk.weights.downloads import YUNET, fetch_asset
from marlin_sdk.weights.hub import resolve_model

HERE = Path(__file__).parent
MODEL = "marlin_vit_small_ytf"


def answers(url: str) -> bool:
    """Whether a server can be reached. Checked first, because the downloads themselves retry for a minute."""
    try:
        requests.head(url, timeout=5)
    except OSError:
        return False
    return True


def why_no_weights() -> str | None:
    """Why the published weights are unavailable; None if they are in the Hub's cache, or could be downloaded."""
    try:
        resolve_model(MODEL, local_files_only=True)
    except DownloadError:
        if not answers(os.environ.get("HF_ENDPOINT", "https://huggingface.co")):
            return "The Hugging Face Hub cannot be reached and holds nothing in its cache"
        try:
            resolve_model(MODEL)
        except DownloadError:
            return "The Hugging Face Hub can be reached, but does not give the published weights"
    return None


def has_yunet() -> bool:
    """Whether the face detector's file is in the cache, or could be downloaded."""
    try:
        fetch_asset(YUNET, local_files_only=True)
    except DownloadError:
        try:
            return answers(YUNET.url) and bool(fetch_asset(YUNET))
        except DownloadError:
            return False
    return True


def show(path: Path) -> None:
    """Print the rows of a feature file."""
    result = VideoFeatures.load(path)
    features = result.features / np.linalg.norm(result.features, axis=1, keepdims=True)
    print(f"\n{path}: {result.features.shape[0]} windows x {result.features.shape[1]} features, float32\n")
    print("  window     seconds    real frames  face score  box of frame 0        like window 0")
    for row in range(len(result)):
        seconds = f"{result.start_s[row]:5.2f} - {result.end_s[row]:.2f}"
        box = "[" + " ".join(f"{edge:4.0f}" for edge in result.boxes[row, 0]) + "]"
        print(
            f"  {row:6d}  {seconds}  {result.frame_valid[row].sum():8d}/16  {result.face_score[row].mean():10.3f}"
            f"  {box:22s}  {features[row] @ features[0]:8.3f}"
        )
    weights = (
        "random (--untrained): the features mean nothing" if result.meta["untrained"] else "published, CC BY-NC 4.0"
    )
    print(f"\n  model {result.meta['model']}, weights {weights}; detector {result.meta['detector']['name']}\n")


def main() -> int:
    """Run the demo; the command's exit status."""
    command = [
        sys.executable,
        "-m",
        "marlin_sdk.cli",
        str(HERE / "astronaut.mp4"),
        "-o",
        "build/demo",
        "--model",
        MODEL,
    ]
    if reason := why_no_weights():
        print(f"{reason}: running with --untrained.")
        command.append("--untrained")
    if not has_yunet():
        print("The YuNet face detector cannot be downloaded: running with --detector lbp.")
        command += ["--detector", "lbp"]
    print("$ marlin-extract " + " ".join(command[3:]), flush=True)
    status = subprocess.run(command, check=False).returncode
    if status == 0:
        show(Path("build/demo/astronaut.npz"))
    return status


if __name__ == "__main__":
    sys.exit(main())
