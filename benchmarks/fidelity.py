"""What each faster path keeps of what features tell apart, with a pretrained model on real words.

    python -m benchmarks.learning --shared ../shared -o runs/learning --arms main     # once
    python -m benchmarks.fidelity --data runs/learning

Windows of 16 frames around four words of each of 300 GRID clips, embedded by the small model that `benchmarks.learning`
has pretrained: with torch in float32, which is the reference, and with every other path that this processor has. For
each: R2 within and across videos and the share of equal neighbours (`marlin_sdk.evaluation.fidelity`), the least
cosine, and the accuracy of a linear probe of the words. `ONEDNN_MAX_CPU_ISA=AVX512_CORE` and
`--only openvino-int8` show what a processor without VNNI does.
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
from marlin_sdk import Marlin, MarlinError
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
_BATCH = 32


def main() -> None:
    """Parse the command line, embed, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="output of benchmarks.learning")
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    parser.add_argument("--only", help="of the paths, such as openvino-int8")
    options = parser.parse_args()
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
