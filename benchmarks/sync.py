"""Does the network hear whether sound and mouth are in time? From real clips to shares with intervals.

    python -m benchmarks.sync --shared ../shared --model runs/learning/main -o runs/sync

Data: GRID (Cooke, Barker, Cunningham, Shao 2006; CC BY 4.0), 300 clips of one speaker, a fifth held out, and ten clips
of other speakers. The encoder is the one that `benchmarks.learning` pretrains without labels, on the same training
clips. Each test clip is copied without decoding, once as it is and once with its sound moved by a known number of
frames in the container, so that what is scored is a file, as users have it. The baseline correlates the motion in the
lower half of the face with the sound's log energy, on the same files. Intervals are of clips: exact ones of shares,
by bootstrap of medians and differences.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from numpy.typing import NDArray

from marlin_sdk.face.detections import FaceDetector
from marlin_sdk.face.detectors import load_detector
from marlin_sdk.sync.curve import MAX_SHIFT, SHIFTS
from marlin_sdk.sync.scorer import SyncScorer
from marlin_sdk.training.prepare.config import PrepareConfig
from marlin_sdk.training.prepare.crops import track_faces
from marlin_sdk.training.start import Start
from marlin_sdk.training.sync.config import SyncTrainConfig
from marlin_sdk.training.sync.run import run_folder, train_sync
from marlin_sdk.video.reader import open_video
from marlin_sdk.video.sound import SOUND_RATE, read_sound

__all__ = ["Answer", "main", "move_sound", "naive_offset_ms"]

FRAME_MS = 40
MOST_MOVED = 10  # frames, either way
NEAR_MS = 60.0  # within one frame
DRAWS = 2000
_MOUTH = (slice(58, 92), slice(24, 72))  # rows and columns of a crop of 96 pixels


@dataclass(frozen=True)
class Answer:
    """What was found of a file.

    Attributes:
        clip: its name.
        moved_ms: by how much its sound was moved; positive is late.
        model_ms: offset by the model.
        confidence: of the model.
        sure: whether the model says that it is.
        naive_ms: offset by the baseline.
    """

    clip: str
    moved_ms: float
    model_ms: float
    confidence: float
    sure: bool
    naive_ms: float


def move_sound(source: Path, target: Path, moved_ms: float) -> Path:
    """Copy a file, its packets as they are, with the timestamps of sound or picture moved.

    Args:
        source: with pictures and sound.
        target: its suffix names the container.
        moved_ms: by which the sound is late in the copy; negative moves the pictures.
    """
    with av.open(str(source)) as before, av.open(str(target), "w") as after:
        streams = {
            s.index: after.add_stream_from_template(s) for s in (before.streams.video[0], before.streams.audio[0])
        }
        for packet in before.demux(before.streams.video[0], before.streams.audio[0]):
            if packet.dts is None:
                continue
            is_moved = (packet.stream.type == "audio") == (moved_ms > 0)
            ticks = round(Fraction(abs(moved_ms)) / 1000 / packet.time_base) if is_moved else 0
            packet.stream = streams[packet.stream.index]
            packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
            after.mux(packet)
    return target


def naive_offset_ms(video: Path, detector: FaceDetector) -> float:
    """The shift at which motion of the mouth's region and log energy of the sound correlate most."""
    config = PrepareConfig(size_px=96, patch_px=16, parser="none")
    with open_video(video) as reader:
        segment = max(track_faces(reader, config, detector), key=lambda segment: segment.weight)
    grey = np.stack(segment.pixels)[:, _MOUTH[0], _MOUTH[1]].astype(np.float64).mean(axis=3)
    motion = np.abs(np.diff(grey, axis=0)).mean(axis=(1, 2))
    sound = read_sound(video)
    times_s = np.array(segment.times_us[1:]) / 1e6
    found = [_correlation(motion, _energy(sound.samples, times_s + shift / 25 - sound.start_s)) for shift in SHIFTS]
    return float((int(np.nanargmax(found)) - MAX_SHIFT) * FRAME_MS)


def _energy(samples: NDArray[np.float32], times_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log energy of the 40 ms from some times on; NaN where there is no sound."""
    length = SOUND_RATE // 25
    first = np.round(times_s * SOUND_RATE).astype(np.int64)
    sums = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
    known = (first >= 0) & (first + length < len(sums))
    at = np.where(known, first, 0)
    return np.where(known, np.log((sums[at + length * known] - sums[at]) / length + 1e-6), np.nan)


def _correlation(motion: NDArray[np.float64], energy: NDArray[np.float64]) -> float:
    known = np.isfinite(energy)
    return float(np.corrcoef(motion[known], energy[known])[0, 1]) if known.sum() > 2 else float("nan")


def share_interval(hits: NDArray[np.bool_]) -> list[float]:
    """The exact 95 % interval of a share (Clopper and Pearson): a bootstrap of ten hits in ten knows no doubt."""
    from scipy.stats import binomtest

    found = binomtest(int(hits.sum()), len(hits)).proportion_ci()
    return [float(found.low), float(found.high)]


def median_interval(values: NDArray[np.float64], *, seed: int = 0) -> list[float]:
    """The 95 % interval of a median, by bootstrap over clips."""
    drawn = np.random.default_rng(seed).integers(len(values), size=(DRAWS, len(values)))
    return [float(value) for value in np.quantile(np.median(values[drawn], axis=1), (0.025, 0.975))]


def difference_interval(before: NDArray[np.bool_], after: NDArray[np.bool_], *, seed: int = 0) -> list[float]:
    """The same of the difference of two shares of the same clips."""
    drawn = np.random.default_rng(seed).integers(len(before), size=(DRAWS, len(before)))
    apart = after[drawn].mean(axis=1) - before[drawn].mean(axis=1)
    return [float(value) for value in np.quantile(apart, (0.025, 0.975))]


def summarise(answers: Sequence[Answer]) -> dict[str, Any]:
    """Shares within a frame and median errors, by model and baseline, with intervals."""
    summary: dict[str, Any] = {"files": len(answers), "sure": float(np.mean([one.sure for one in answers]))}
    near: dict[str, NDArray[np.bool_]] = {}
    for name in ("model", "naive"):
        errors = np.abs([getattr(one, f"{name}_ms") - one.moved_ms for one in answers])
        near[name] = errors <= NEAR_MS
        summary[name] = {
            "within a frame": float(near[name].mean()),
            "interval": share_interval(near[name]),
            "median error, ms": float(np.median(errors)),
            "interval of the median": median_interval(errors),
        }
    summary["difference"] = difference_interval(near["naive"], near["model"])
    return summary


def score_clips(
    clips: Sequence[Path], scorer: SyncScorer, detector: FaceDetector, work: Path, *, seed: int = 1
) -> dict[str, list[Answer]]:
    """Score clips as they are, and with their sound moved by 1 to 10 frames either way."""
    work.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    answers: dict[str, list[Answer]] = {"as they are": [], "moved": []}
    for clip in clips:
        frames = int(rng.integers(1, MOST_MOVED + 1)) * int(rng.choice([-1, 1]))
        for kind, moved_ms in (("as they are", 0.0), ("moved", float(frames * FRAME_MS))):
            file = move_sound(clip, work / clip.name, moved_ms) if moved_ms else clip
            score = scorer.score(file)
            best = score.best
            assert best is not None
            assert best.reading is not None
            naive_ms = naive_offset_ms(file, detector)
            answers[kind].append(
                Answer(
                    clip.name,
                    moved_ms,
                    best.reading.offset_ms,
                    best.reading.confidence,
                    score.is_sure(best.reading),
                    naive_ms,
                )
            )
    return answers


def main() -> None:
    """Train, score, and write `sync.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--model", default="runs/learning/main", help="the encoder to start from")
    parser.add_argument("--untrained", action="store_true", help="start from random weights of its size")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/sync"))
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    grid = options.shared / "media" / "grid"
    detector_file = options.shared / "weights" / "face_detection_yunet_2023mar.onnx"
    names = sorted(path.name for path in (grid / "s1").glob("*.mp4"))
    order = np.random.default_rng(0).permutation(names).tolist()
    held_out, rest = sorted(order[: len(names) // 5]), order[len(names) // 5 :]
    validation = rest[: len(rest) // 5]
    options.output.mkdir(parents=True, exist_ok=True)
    with (options.output / "splits.csv").open("w", newline="") as file:
        rows = [(name, "val" if name in validation else "train") for name in sorted(rest)]
        csv.writer(file).writerows([("source", "split"), *rows])
    run = options.output / "run"
    started = time.monotonic(), time.process_time()
    result = train_sync(
        [grid / "s1" / name for name in sorted(rest)],
        run,
        SyncTrainConfig(max_steps=options.steps, seed=options.seed),
        start=Start(options.model, untrained=options.untrained),
        detector=str(detector_file),
        table=options.output / "splits.csv",
        workers=2,
        resume=run_folder(run).last.is_file(),
        progress=True,
    )
    spent = {"minutes": (time.monotonic() - started[0]) / 60, "CPU minutes": (time.process_time() - started[1]) / 60}
    minutes, cpu_minutes = spent.values()
    print(f"trained in {minutes:.1f} min ({cpu_minutes:.1f} CPU min); validation: {dict(result.metrics)}")
    detector = load_detector(detector_file)
    scorer = SyncScorer.from_folder(run, detector=detector, device="cpu")
    found: dict[str, Any] = {"steps": result.step, "seed": options.seed, **spent, "validation": dict(result.metrics)}
    parts = {
        "the speaker, held-out clips": [grid / "s1" / name for name in held_out],
        "other speakers": sorted((grid / "others").glob("*.mp4")),
    }
    for part, clips in parts.items():
        for kind, answers in score_clips(clips, scorer, detector, options.output / "moved").items():
            summary = summarise(answers)
            found[f"{part}, {kind}"] = {**summary, "answers": [vars(answer) for answer in answers]}
            for name in ("model", "naive"):
                one = summary[name]
                low, high = one["interval"]
                print(
                    f"{part}, {kind:12} {name:6} within a frame {one['within a frame']:.3f} ({low:.3f} to {high:.3f}), "
                    f"median error {one['median error, ms']:.1f} ms"
                )
            print(f"{part}, {kind:12} difference {summary['difference']}, sure {summary['sure']:.2f}", flush=True)
    (options.output / "sync.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
