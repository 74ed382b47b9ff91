"""Does pretraining make features better? From real clips with labels to a table, with intervals, and a plot.

    python -m benchmarks.learning --shared ../shared -o runs/learning

Data: GRID (Cooke, Barker, Cunningham, Shao 2006; CC BY 4.0), 300 clips of one speaker; a fifth is held out. A small
model is pretrained on the others without labels; then a linear probe is asked for the spoken verb, colour, preposition
and adverb (four words each) in windows of 16 frames around the word: trained on the labels of the other clips, tested
on the held-out ones, with the pretrained encoder and with the same architecture untrained. Intervals are of the paired
difference over all four, by bootstrap over clips. Every arm has the same data, order and seeds. The arms of `ABLATION`
are shorter than `main`, the model that later benchmarks use (`runs/learning/main`).
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from marlin_sdk import Marlin, ModelConfig
from marlin_sdk.model import Encoder
from marlin_sdk.training.prepare.config import PrepareConfig
from marlin_sdk.training.prepare.run import prepare
from marlin_sdk.training.pretrain.config import PretrainConfig
from marlin_sdk.training.pretrain.data import ClipDataset
from marlin_sdk.training.pretrain.learner import build_networks
from marlin_sdk.training.pretrain.run import Run, pretrain
from marlin_sdk.training.probe import PROBE_COLUMNS, LabelledClips, open_labelled, probe_accuracy, probe_features

__all__ = ["main", "paired_interval"]

SIZE_PX, PATCH_PX, FPS = 32, 8, 25
SAMPLE_RATE = 1  # a word lasts a quarter of a second
MODEL = ModelConfig(
    encoder_embed_dim=96,
    encoder_depth=4,
    encoder_num_heads=3,
    decoder_embed_dim=64,
    decoder_depth=1,
    decoder_num_heads=2,
    img_size=SIZE_PX,
    patch_size=PATCH_PX,
)
PLACES = {"verb": 0, "colour": 1, "preposition": 2, "adverb": 5}  # of the six words of a sentence
ABLATION: dict[str, dict[str, Any]] = {
    "random": {"masking": "random"},
    "tube": {"masking": "tube"},
    "fasking": {"masking": "fasking"},
    "crfr": {"masking": "crfr"},
    "adversarial": {"adv_weight": 0.001, "gradient_penalty": 10.0},
    "masked-only": {"visible_weight": 0.0},
    "pixels": {"normalise_target": False},
    "ratio-90": {"mask_ratio": 0.9},
    "published": {  # but for the learning rate, which is for 2000 epochs of a large data set
        "masking": "fasking",
        "mask_ratio": 0.9,
        "normalise_target": False,
        "visible_weight": 0.0,
        "weight_decay": 0.0,
        "clip_norm": None,
        "adv_weight": 0.001,
        "gradient_penalty": 10.0,
    },
}
ARMS: dict[str, dict[str, Any]] = {"main": {}, **ABLATION}
DRAWS = 2000


def prepare_grid(videos: Path, detector: Path, work: Path) -> Path:
    """Crop the faces of the clips, a fifth of them held out by a seed."""
    clips = sorted(path.name for path in videos.glob("*.mp4"))
    held_out = set(np.random.default_rng(0).permutation(clips)[: len(clips) // 5].tolist())
    work.mkdir(parents=True, exist_ok=True)
    with (work / "splits.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [("source", "split"), *((name, "val" if name in held_out else "train") for name in clips)]
        )
    config = PrepareConfig(size_px=SIZE_PX, patch_px=PATCH_PX, detector=str(detector), faces="largest")
    prepare(videos, work / "shards", config, table=work / "splits.csv")
    return work / "shards"


def label_words(words: Path, splits: Path, place: int, table: Path) -> Path:
    """A probe's table of one word of each sentence."""
    with splits.open(newline="") as file:
        part = {row["source"]: "test" if row["split"] == "val" else "train" for row in csv.DictReader(file)}
    sentences: dict[str, list[dict[str, str]]] = {}
    with words.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["word"] not in ("sil", "sp"):
                sentences.setdefault(f"{row['id']}.mp4", []).append(row)
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(PROBE_COLUMNS)
        for source, sentence in sorted(sentences.items()):
            if source in part and len(sentence) == 6:
                word = sentence[place]
                frames = (round(float(word["start_s"]) * FPS), round(float(word["end_s"]) * FPS))
                writer.writerow([source, *frames, word["word"], part[source]])
    return table


def train(arm: str, shards: Path, output: Path, probe: LabelledClips, *, steps: int) -> Path:
    """Pretrain one arm; a run that is there goes on."""
    folder = output / arm
    every = max(steps // 8, 1)
    often = {f"{what}_every": every for what in ("val", "probe", "save")}
    settings = {**ARMS[arm], "max_steps": steps, "num_workers": 0, "log_every": 50, "picture_every": steps, **often}
    config = PretrainConfig.from_preset("short", MODEL, **settings)
    reading: dict[str, Any] = {"batch_size": config.batch_size, "sample_rate": SAMPLE_RATE, "seed": config.seed}
    data = ClipDataset(shards, "train", **reading)
    val = ClipDataset(shards, "val", random_start=False, drop_last=False, **reading)
    resume = (folder / "checkpoints" / "last.ckpt").is_file()
    run = Run(probe=probe, progress=True, data="GRID, one speaker.", resume=resume)
    pretrain(config, folder, train=data, val=val, run=run)
    return folder


def encoders(folder: Path) -> dict[str, Encoder]:
    """The pretrained encoder of a run, and the one that it started as."""
    start = build_networks(PretrainConfig.from_preset("short", MODEL))[0].encoder
    end = Marlin.from_pretrained(folder, device="cpu", detector="lbp").encoder
    return {"untrained": start.eval(), "pretrained": end.eval()}


def compare(
    networks: Mapping[str, Encoder], probes: Mapping[str, LabelledClips], model: ModelConfig = MODEL
) -> list[dict[str, Any]]:
    """A row for each pooling: both accuracies by word and over all, and the interval of the difference over all."""
    hits: dict[str, dict[str, list[NDArray[np.bool_]]]] = {}
    for name, encoder in networks.items():
        by_pool = hits[name] = {}
        for clips in probes.values():
            for pool, values in probe_features(partial(encoder, pool="none"), clips, model).items():
                by_pool.setdefault(pool, []).append(probe_accuracy(values, clips))
    groups = np.concatenate([clips.groups[clips.is_test] for clips in probes.values()])
    rows = []
    for pool in hits["pretrained"]:
        row: dict[str, Any] = {"pool": pool}
        for name, by_pool in hits.items():
            row[name] = float(np.concatenate(by_pool[pool]).mean())
            row[f"{name} by word"] = {
                word: float(found.mean()) for word, found in zip(probes, by_pool[pool], strict=True)
            }
        before, after = (np.concatenate(hits[name][pool]) for name in ("untrained", "pretrained"))
        rows.append({**row, "difference": paired_interval(before, after, groups)})
    return rows


def paired_interval(
    before: NDArray[np.bool_], after: NDArray[np.bool_], groups: NDArray[np.str_], *, seed: int = 0
) -> tuple[float, float]:
    """The 95 % interval of the difference of two accuracies on the same clips.

    Args:
        before: bool (T,), whether the first found each label.
        after: the same of the second.
        groups: (T,), drawn together.
        seed: of the bootstrap.
    """
    names, group = np.unique(groups, return_inverse=True)
    sums = np.bincount(group, weights=after.astype(float) - before.astype(float), minlength=len(names))
    counts = np.bincount(group, minlength=len(names))
    drawn = np.random.default_rng(seed).integers(len(names), size=(DRAWS, len(names)))
    differences = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(differences, (0.025, 0.975))
    return float(low), float(high)


def verdict(rows: Sequence[Mapping[str, Any]], errors: Mapping[str, float]) -> dict[str, list[str]]:
    """What training was good for.

    Args:
        rows: of `compare`.
        errors: of `last_errors`.
    Returns:
        `better`, the poolings whose features beat the untrained ones, with an interval above 0; `beats`, the baselines
        with a larger error than the model's.
    """
    better = [row["pool"] for row in rows if row["difference"][0] > 0]
    baselines = ("mean_face", "still_face", "mean_face_moving", "still_face_moving")
    own = {name: errors["reconstruction_moving" if name.endswith("moving") else "reconstruction"] for name in baselines}
    return {"better": better, "beats": [name for name in baselines if own[name] < errors[name]]}


def draw(runs: Sequence[Path], path: Path) -> None:
    """Over steps, the probe's accuracy and the error on held-out clips, in units of the mean face's, of each arm."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
    units = {"probe/mean": None, "probe/time": None, "val/reconstruction": "val/mean_face"}
    for run in runs:
        lines = read_log(run)
        for axis, (key, unit) in zip(axes, units.items(), strict=True):
            points = [(line["step"], line[key] / (line[unit] if unit else 1)) for line in lines if key in line]
            width = 2.5 if run.name == "main" else 1.2
            axis.plot(*zip(*points, strict=True), marker="o", markersize=3, linewidth=width, label=run.name)
    axes[0].set(title="Accuracy (verb), mean of all tokens", ylim=(0, 1))
    axes[1].set(title="Accuracy (verb), by time step", ylim=(0, 1))
    axes[2].axhline(1, color="grey", linestyle=":", linewidth=1)
    axes[2].set(title="Held-out error / that of the mean face", yscale="log", yticks=(0.5, 1, 2, 4, 8))
    axes[2].minorticks_off()
    axes[2].yaxis.set_major_formatter("{x:g}")
    for axis in axes:
        axis.set_xscale("function", functions=(np.sqrt, np.square))  # most happens in the first steps
        axis.set(xlabel="step", xlim=(0, None), xticks=(0, 150, 600, 1500, 3000, 6000))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(runs), fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Prepare, pretrain each arm, compare; write `learning.json` and `learning.png`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/learning"))
    parser.add_argument("--arms", default=",".join(ARMS), help=f"of {', '.join(ARMS)}; separated by commas")
    parser.add_argument("--steps", type=int, default=6000, help="of the arm `main`")
    parser.add_argument("--ablation-steps", type=int, default=600, help="of each other arm")
    options = parser.parse_args()
    grid = options.shared / "media" / "grid"
    detector = options.shared / "weights" / "face_detection_yunet_2023mar.onnx"
    shards = prepare_grid(grid / "s1", detector, options.output)
    trained_on = ClipDataset(shards, "train").identities
    probes = {}
    for word, place in PLACES.items():
        table = label_words(grid / "words.csv", options.output / "splits.csv", place, options.output / f"{word}.csv")
        probes[word] = open_labelled(shards, table, sample_rate=SAMPLE_RATE, trained_on=trained_on)
        print(f"{word}: {probes[word]}")
    results: dict[str, Any] = {"arms": {}}
    runs = []
    for arm in options.arms.split(","):
        started_s = time.monotonic()
        steps = options.steps if arm == "main" else options.ablation_steps
        runs.append(train(arm, shards, options.output, probes["verb"], steps=steps))
        rows = compare(encoders(runs[-1]), probes)
        minutes = round((time.monotonic() - started_s) / 60, 1)
        errors = last_errors(runs[-1])
        found = {"rows": rows, "held out": errors, **verdict(rows, errors)}
        results["arms"][arm] = {"steps": steps, "minutes": minutes, **found}
        for row in rows:
            low, high = row["difference"]
            print(
                f"{arm:12} {steps:5} steps  {row['pool']:7}  untrained {row['untrained']:.3f}  pretrained "
                f"{row['pretrained']:.3f}  difference {low:+.3f} to {high:+.3f}"
            )
        print(f"{arm:12} beats: {', '.join(verdict(rows, errors)['beats']) or 'no baseline'} (held-out error)")
        (options.output / "learning.json").write_text(json.dumps(results, indent=1) + "\n")
    draw(runs, options.output / "learning.png")


def read_log(run: Path) -> list[dict[str, float]]:
    """The lines of a run's log."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def last_errors(run: Path) -> dict[str, float]:
    """The last errors on held-out clips, of the model and of the baselines."""
    last = [line for line in read_log(run) if "val/reconstruction" in line][-1]
    return {key.removeprefix("val/"): value for key, value in last.items() if key.startswith("val/")}


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
