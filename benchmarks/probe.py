"""How long a probe of a large data set takes, and how much memory, on a generated dump.

    python -m benchmarks.probe -o runs/probe --videos 35000 --windows 4 --labels 40

As many videos and attributes as CelebV-HQ has, five shares of the labels and five draws of each: 40 labels x 21 fits,
and the baselines. The features are made up: thirty hidden factors, of which each attribute is a noisy sign. Then the
same with ten times the windows, to see that memory does not grow with them: `--windows 40 --only read`.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marlin_sdk import VideoFeatures
from marlin_sdk.dump.manifest import Manifest, ManifestEntry
from marlin_sdk.dump.reading import FeatureDump
from marlin_sdk.dump.writers import open_writer
from marlin_sdk.evaluation.probe.card import write_card
from marlin_sdk.evaluation.probe.outcome import measure_probe, write_results
from marlin_sdk.evaluation.probe.run import ProbeSettings, run_probe
from marlin_sdk.evaluation.probe.samples import read_samples
from marlin_sdk.report.probe import strips_of, write_probe_page

__all__ = ["main"]

DIM, FACTORS = 384, 30
RATIOS = (0.01, 0.05, 0.1, 0.5, 1.0)


def main() -> None:
    """Parse the command line, make the dump if it is not there, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--videos", type=int, default=35_000)
    parser.add_argument("--windows", type=int, default=4)
    parser.add_argument("--labels", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", choices=["read"], help="read the dump, and stop")
    options = parser.parse_args()
    folder = options.output / f"dump-{options.videos}x{options.windows}"
    if not folder.exists():
        make_dump(folder, options.videos, options.windows, options.labels)
    before_mb, start_s = peak_mb(), time.perf_counter()
    if options.only:
        read_samples(FeatureDump(folder))
    else:
        settings = ProbeSettings(label="attribute.*", ratios=RATIOS, seeds=options.seeds)
        probe = run_probe(
            FeatureDump(folder),
            options.output / "probe",
            settings,
            overwrite=True,
            jobs=os.cpu_count() or 1,
            advance=say,
        )
        print(f"\nfitted after {time.perf_counter() - start_s:.0f} s")
        outcome = measure_probe(probe, advance=say)
        write_results(outcome)
        write_card(outcome)
        write_probe_page(outcome, strips_of(FeatureDump(folder)), options.output / "probe" / "report.html")
    print(
        f"\n{time.perf_counter() - start_s:.0f} s, {before_mb:.0f} MB before, {peak_mb():.0f} MB at most (this process)"
    )


def say(stage: str, done: int, total: int) -> None:
    """Progress in a line."""
    if done % max(1, total // 20) == 0:
        print(f"\r{stage} {done} of {total}      ", end="", flush=True)


def peak_mb() -> float:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def make_dump(folder: Path, videos: int, windows: int, labels: int) -> None:
    """A Parquet dump, of which three videos in a row are of one group."""
    random = np.random.default_rng(0)
    mixing = random.standard_normal((FACTORS, DIM))
    reading = random.standard_normal((FACTORS, labels))
    thresholds = random.uniform(-1, 2, labels) * np.sqrt(FACTORS)
    kept: list[ManifestEntry] = []
    folder.mkdir(parents=True)
    with Manifest(folder / "_manifest.jsonl") as manifest:
        writer = open_writer(folder, "parquet", shard_rows=20_000)
        for index in range(videos):
            factors = random.standard_normal(FACTORS)
            rows = factors @ mixing + random.standard_normal((windows, DIM))
            truth = factors @ reading + 2 * random.standard_normal(labels) > thresholds
            own: dict[str, int | float | bool | str] = {
                f"attribute.{number:02d}": int(value) for number, value in enumerate(truth)
            }
            group = index // 3
            own |= {"group": f"g{group}", "split": "test" if group % 5 == 0 else "train"}
            entry = ManifestEntry(
                id=f"v{index:06d}", source=f"v{index:06d}.mp4", status="ok", rows=windows, labels=own,
                weights="untrained:0", duration_s=1.28 * windows, finished_at=1.0,
            )  # fmt: skip
            kept += writer.write(entry, features_of(rows.astype(np.float32)))
        kept += writer.close()
        manifest.append(kept)


def features_of(rows: NDArray[np.float32]) -> VideoFeatures:
    """Windows one after the other."""
    count = len(rows)
    starts = np.arange(count, dtype=np.float64) * 1.28
    return VideoFeatures(
        features=rows,
        start_s=starts,
        end_s=starts + 1.28,
        frame_index=np.arange(count * 16, dtype=np.int64).reshape(count, 16),
        frame_valid=np.ones((count, 16), np.bool_),
        boxes=np.tile(np.array([10, 10, 110, 110], np.float32), (count, 16, 1)),
        face_score=np.ones((count, 16), np.float32),
        track_id=np.zeros(count, np.int64),
    )


if __name__ == "__main__":
    main()
