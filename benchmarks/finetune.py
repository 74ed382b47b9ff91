"""Does fine-tuning beat a linear probe of the same encoder? On the words of real clips, from two starts.

    python -m benchmarks.finetune --shared ../shared --pretrained runs/learning/main -o runs/finetune

Data: GRID (Cooke, Barker, Cunningham, Shao 2006; CC BY 4.0), 300 clips of one speaker, of which a fifth is held out,
the same as in `benchmarks.learning`, whose small model `main` has seen the others without labels. Sixteen words (the
verb, colour, preposition and adverb of each sentence) are to be told apart in windows of 16 frames around each, by a
head that reads the time steps of a window (`--pool mean`: its mean). The encoder is fine-tuned from the pretrained
weights, and from random ones; the linear probe of the same encoder and pooling, with the same training part, is beside
it. Intervals are of paired differences, by drawing clips. Settings were chosen on the validation part (a fifth of the
training clips); nothing was chosen on the held-out clips.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import time
from pathlib import Path
from typing import Any

from benchmarks.learning import PLACES, prepare_grid
from marlin_sdk.evaluation.evaluate import evaluate
from marlin_sdk.evaluation.predictions import Predictions, read_predictions
from marlin_sdk.training.finetune.config import FROM_RANDOM, FinetuneConfig
from marlin_sdk.training.finetune.run import finetune
from marlin_sdk.training.start import Start

__all__ = ["main", "write_words"]

SPAN_S, LENGTH_S = 0.64, 2.96
SETTINGS: dict[str, Any] = {
    "label": "word",
    "sample_rate": 1,  # a word lasts a quarter of a second
    "jitter_s": 0.08,
    "epochs": 20,
    "batch_size": 32,
    "base_lr": 8e-3,
    "patience": 0,
    "flip": False,
    "colour": 0.0,
    "crop_jitter": 0.0,
    "accelerator": "cpu",
    "log_every": 25,
}


def write_words(words: Path, videos: Path, splits: Path, table: Path) -> Path:
    """A table of the words of each sentence: 0.64 s around the middle of each."""
    with splits.open(newline="") as file:
        part = {row["source"]: "test" if row["split"] == "val" else "train" for row in csv.DictReader(file)}
    sentences: dict[str, list[dict[str, str]]] = {}
    with words.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["word"] not in ("sil", "sp"):
                sentences.setdefault(row["id"], []).append(row)
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "id", "start_s", "end_s", "word", "split", "group"])
        for name, sentence in sorted(sentences.items()):
            source = f"{name}.mp4"
            if source not in part or len(sentence) != 6:
                continue
            for place, index in PLACES.items():
                word = sentence[index]
                centre = (float(word["start_s"]) + float(word["end_s"])) / 2
                start = min(max(centre - SPAN_S / 2, 0), LENGTH_S - SPAN_S)
                span = (round(start, 3), round(start + SPAN_S, 3))
                path = os.path.abspath(videos / source)  # noqa: PTH100
                writer.writerow([path, f"{name}-{place}", *span, word["word"], part[source], name])
    return table


def compare(one: Predictions, other: Predictions) -> dict[str, Any]:
    """Balanced accuracy and accuracy on the test part, of both, and the difference on the same draws of clips."""
    row = next(row for row in evaluate(one, other).rows if row.split == "test")
    assert row.differences is not None
    assert row.other is not None
    return {
        name: {
            "first": row.measures[name].value,
            "second": row.other[name].value,
            "difference": [getattr(row.differences[name], part) for part in ("value", "low", "high")],
        }
        for name in ("balanced_accuracy", "accuracy")
    }


def main() -> None:
    """Prepare, fine-tune from both starts, compare; write `finetune.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--pretrained", type=Path, required=True, help="the model `main` of benchmarks.learning")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/finetune"))
    parser.add_argument("--starts", default="pretrained,random", help="separated by a comma")
    parser.add_argument("--pool", choices=["mean", "time"], default="time")
    parser.add_argument("--epochs", type=int, default=SETTINGS["epochs"])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    grid = options.shared / "media" / "grid"
    detector = options.shared / "weights" / "face_detection_yunet_2023mar.onnx"
    shards = prepare_grid(grid / "s1", detector, options.output)
    table = write_words(grid / "words.csv", grid / "s1", options.output / "splits.csv", options.output / "words.csv")
    config = FinetuneConfig(**{**SETTINGS, "pool": options.pool, "epochs": options.epochs, "seed": options.seed})
    folders = {start: options.output / f"{start}-{options.pool}-{options.seed}" for start in options.starts.split(",")}
    cpu_s: dict[str, float] = {}
    for start, folder in folders.items():
        started_s = time.process_time()
        resume = (folder / "checkpoints" / "last.ckpt").is_file()
        weights = Start(options.pretrained, untrained=start == "random")
        own = config.but(**FROM_RANDOM) if start == "random" else config
        finetune(own, folder, table=table, start=weights, shards=shards, resume=resume)
        cpu_s[start] = round(time.process_time() - started_s)
    found: dict[str, Any] = {"settings": config.to_dict(), "cpu seconds": cpu_s}
    read = {start: read_predictions(folder / "predictions.parquet") for start, folder in folders.items()}
    for start, folder in folders.items():
        probe = read_predictions(folder / "predictions-against.parquet")
        found[f"{start}: fine-tuned minus linear probe"] = compare(read[start], probe)
    if len(read) == 2:
        found["fine-tuned: pretrained minus random"] = compare(read["pretrained"], read["random"])
    (options.output / f"finetune-{options.pool}-{options.seed}.json").write_text(json.dumps(found, indent=1) + "\n")
    for name, values in found.items():
        if name not in ("settings", "cpu seconds"):
            for metric, one in values.items():
                value, low, high = one["difference"]
                difference = f"{value:+.3f} ({low:+.3f} to {high:+.3f})"
                print(f"{name:45} {metric:18} {one['first']:.3f} {one['second']:.3f}  {difference}")


if __name__ == "__main__":
    main()
