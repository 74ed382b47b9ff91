"""What each faster path keeps of what features tell apart, with a pretrained model on real words.

    python -m benchmarks.learning --shared ../shared -o runs/learning --arms main     # once
    python -m benchmarks.fidelity --data runs/learning
    python -m benchmarks.fidelity --data runs/learning --shared ../shared --crops

Windows of 16 frames around four words of each of 300 GRID clips, embedded by the small model that `benchmarks.learning`
has pretrained: with torch in float32, which is the reference, and with every other path that this processor has. For
each: R2 within and across videos and the share of equal neighbours (`marlin_sdk.evaluation.fidelity`), the least
cosine, and the accuracy of a linear probe of the words. `ONEDNN_MAX_CPU_ISA=AVX512_CORE` and
`--only openvino-int8` show what a processor without VNNI does.

`--crops` compares ways to find and crop the faces of thirty whole clips, with the defaults (YuNet on every fourth
frame, smoothed): without smoothing, on every frame, and with the cascade.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.learning import PLACES, SAMPLE_RATE
from marlin_sdk import Marlin, MarlinError, VideoFeatures
from marlin_sdk.config import ExtractionSettings
from marlin_sdk.evaluation.fidelity import Fidelity, fidelity
from marlin_sdk.training.probe import LabelledClips, open_labelled, probe_accuracy

__all__ = ["PATHS", "main"]

PATHS: tuple[tuple[Literal["torch", "openvino", "onnx"], str], ...] = (
    ("torch", "bfloat16"),
    ("torch", "float16"),
    ("openvino", "float32"),
    ("openvino", "bfloat16"),
    ("openvino", "int8"),
    ("onnx", "float32"),
)
CROPS: dict[str, tuple[str | None, ExtractionSettings]] = {
    "defaults": (None, {}),
    "not smoothed": (None, {"smooth": False}),
    "detected on every frame": (None, {"detect_every": 1}),
    "every frame, not smoothed": (None, {"detect_every": 1, "smooth": False}),
    "cascade (lbp)": ("lbp", {}),
}
_BATCH = 32


def main() -> None:
    """Parse the command line, embed, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="output of benchmarks.learning")
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    parser.add_argument("--only", help="of the paths, such as openvino-int8")
    parser.add_argument("--shared", type=Path, help="the reference data, for --crops")
    parser.add_argument("--crops", action="store_true", help="compare detectors and smoothing instead")
    options = parser.parse_args()
    if options.crops:
        compare_crops(options.data / "main", options.shared)
        return
    words = {
        word: open_labelled(options.data / "shards", options.data / f"{word}.csv", sample_rate=SAMPLE_RATE)
        for word in PLACES
    }
    model = options.data / "main"
    videos = np.concatenate([clips.groups for clips in words.values()])
    exact = embed(Marlin.from_pretrained(model, device="cpu", detector="lbp"), words)
    calibration = next(iter(words.values())).clips[:64].numpy()
    rows = {"torch float32": (fidelity(stack(exact), stack(exact), videos=videos), accuracy(exact, words))}
    print(line("torch float32", *rows["torch float32"]))
    for runtime, dtype in PATHS:
        name = f"{runtime} {dtype}"
        if options.only and options.only != f"{runtime}-{dtype}":
            continue
        clips = calibration if dtype == "int8" else None
        try:
            fast = Marlin.from_pretrained(
                model, device="cpu", detector="lbp", runtime=runtime, dtype=dtype, calibration=clips
            )
        except MarlinError as error:
            print(f"{name:18} not here: {error}")
            continue
        found = embed(fast, words)
        rows[name] = (fidelity(stack(found), stack(exact), videos=videos), accuracy(found, words))
        print(line(name, *rows[name]))
    if options.json:
        options.json.write_text(
            json.dumps({name: vars(f) | {"accuracy": a} for name, (f, a) in rows.items()}, indent=1)
        )


def compare_crops(folder: Path, shared: Path) -> None:
    """Print a row for each way to find and crop faces, on every tenth GRID clip."""
    clips = sorted((shared / "media" / "grid" / "s1").glob("*.mp4"))[::10]
    yunet = shared / "weights" / "face_detection_yunet_2023mar.onnx"
    found: dict[str, list[VideoFeatures]] = {}
    for name, (detector, settings) in CROPS.items():
        model = Marlin.from_pretrained(folder, device="cpu", detector=detector or yunet)
        wanted: ExtractionSettings = {**settings, "sample_rate": SAMPLE_RATE}
        found[name] = [model.extract(clip, **wanted) for clip in clips]
    reference = found["defaults"]
    for name, videos in found.items():
        pairs = [(one, other) for one, other in zip(videos, reference, strict=True) if len(one) == len(other)]
        of = np.repeat(np.arange(len(pairs)), [len(one) for one, _ in pairs])
        sides = [np.concatenate([pair[side].features for pair in pairs]) for side in (0, 1)]
        print(f"{name:28} {fidelity(*sides, videos=of)}; {len(videos) - len(pairs)} videos with other windows")


def embed(model: Marlin, words: dict[str, LabelledClips]) -> dict[str, NDArray[np.float32]]:
    """The features of every window, by word."""

    def batches(clips: LabelledClips) -> Iterator[NDArray[np.float32]]:
        for begin in range(0, len(clips.clips), _BATCH):
            yield model.extract_clip(clips.clips[begin : begin + _BATCH].numpy()).numpy()

    return {word: np.concatenate(list(batches(clips))) for word, clips in words.items()}


def stack(features: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """All windows, one after the other."""
    return np.concatenate(list(features.values()))


def accuracy(features: dict[str, NDArray[np.float32]], words: dict[str, LabelledClips]) -> float:
    """Of a linear probe on held-out clips, over all words."""
    hits = [probe_accuracy(torch.from_numpy(features[word]), clips) for word, clips in words.items()]
    return float(np.concatenate(hits).mean())


def line(name: str, found: Fidelity, accurate: float) -> str:
    """A row of the table."""
    return f"{name:18} {found}; probe {accurate:.3f}"


if __name__ == "__main__":
    main()
