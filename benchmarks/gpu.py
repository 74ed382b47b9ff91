"""`python -m benchmarks.gpu`: encoder and pipeline on a CUDA device, against the reference on the same device."""

from __future__ import annotations

import argparse
import json
import os
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.bench import BASE, LARGE, SMALL, Bench, Variant
from benchmarks.contest import on_stderr
from benchmarks.inputs import ROOT
from benchmarks.machine import GFLOP_PER_CLIP, SHAPES, describe_machine, measure_gemm, sdk_commit, sdk_versions
from benchmarks.peer.environment import set_up
from benchmarks.sdk_worker import Sdk
from marlin_sdk import Marlin
from marlin_sdk.atomic import atomic_path
from marlin_sdk.errors import ConfigError
from marlin_sdk.runtime.cpu import cpu_flags, describe_missing_features
from marlin_sdk.runtime.torch import resolve_device

__all__ = ["main", "measure_encoder", "measure_pipeline"]

GOALS = {SMALL: (2500, 3500), BASE: (1100, 1370), LARGE: (380, 460)}
"""Clips per second in bf16 on an H200: minimum and target."""

Numbers = dict[str, Any]


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmarks, and write gpu.json and gpu.md."""
    asked = _parse(arguments)
    work = ROOT / "build" / "benchmarks"
    peer = None if asked.without_peer else set_up(work / "peer", ROOT / "constraints" / "dev.txt")
    threads = os.cpu_count() or 1
    bench = Bench(work, threads, 2 if asked.quick else 5, asked.quick, peer, asked.device)
    results = {
        "machine": {**describe_machine(threads), "device": _device_name(asked.device)},
        "versions": {**sdk_versions(), "cuda": torch.version.cuda, "marlin-pytorch": peer and peer.versions},
        "quick": asked.quick,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": sdk_commit(ROOT),
        **measure_encoder(asked.device, quick=asked.quick),
        "pipeline": measure_pipeline(bench),
        "side by side": _side_by_side(bench),
    }
    asked.out.mkdir(parents=True, exist_ok=True)
    with atomic_path(asked.out / "gpu.json") as part:
        part.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (asked.out / "gpu.md").write_text(_table(results), encoding="utf-8")
    on_stderr(f"{asked.out / 'gpu.json'} and gpu.md written")


def measure_encoder(device: str, *, quick: bool) -> Numbers:
    """Clips per second by size, dtype and batch size, and the share of the device's matrix-product peak.

    Args:
        device: torch device.
        quick: only ViT-S, with batches of one.
    Returns:
        `gemm_gflops` by dtype; `encoder`: rows of model, dtype, batch, clips_per_s, share_of_peak, and error if it
        did not fit in memory.
    """
    least_s = 0.2 if quick else 3.0
    dtypes = dtypes_of(device)[: 2 if quick else 3]
    shapes = SHAPES[:1] if quick else SHAPES
    peaks = {dtype: measure_gemm(getattr(torch, dtype), device, least_s=least_s, shapes=shapes) for dtype in dtypes}
    rows = []
    for name in (SMALL,) if quick else (SMALL, BASE, LARGE):
        for dtype, peak in peaks.items():
            model = Marlin.untrained(name, device=device, dtype=dtype)
            for batch in (1,) if quick else (1, 4, 8, 16, 32, 64):
                row: Numbers = {"model": name, "dtype": dtype, "batch": batch}
                try:
                    rate = _clips_per_s(model, batch, least_s)
                except torch.cuda.OutOfMemoryError as error:
                    rows.append({**row, "error": str(error)})
                    break
                rows.append({**row, "clips_per_s": rate, "share_of_peak": rate * GFLOP_PER_CLIP[name] / peak})
                on_stderr(f"{name} {dtype} batch {batch}: {rate:.4g} clips/s")
    return {"gemm_gflops": peaks, "encoder": rows}


def dtypes_of(device: str) -> tuple[str, ...]:
    """What is measured on a device: on a CPU no dtype that it only emulates, which takes minutes and tells nothing."""
    if torch.device(device).type != "cpu":
        return "float32", "bfloat16", "float16"
    return ("float32",) if describe_missing_features("bfloat16", cpu_flags()) else ("float32", "bfloat16")


def measure_pipeline(bench: Bench) -> Numbers:
    """The videos end to end: windows per second, against each stage measured separately in the same run."""
    results = {}
    for model in (SMALL,) if bench.quick else (SMALL, BASE, LARGE):
        sdk = Sdk()
        sdk.open(
            checkpoint=str(bench.checkpoint(model)),
            threads=bench.threads,
            detector=bench.detector(),
            options={"dtype": dtypes_of(bench.device)[:2][-1]},
            device=bench.device,
        )
        for size in ("360p",) if bench.quick else ("224", "360p", "720p", "1080p"):
            given: Any = {"video": str(bench.video(size, 2 if bench.quick else 18))}
            pieces = sdk.pieces(**given)["pieces"]
            saved = str(bench.work / "features-gpu.npy")
            ways = [sdk.extract(**given, crop=size != "224", save_to=saved) for _ in range(bench.rounds)]
            windows_per_s = max(way["count"] / way["seconds"] for way in ways)
            parts_per_s = {piece: 1 / seconds for piece, seconds in pieces.items() if seconds}
            slowest = min(parts_per_s["encode"], 1 / (pieces["decode"] + pieces["convert"]))
            results[f"{model}, {size}"] = {
                "windows_per_s": windows_per_s,
                "parts_per_s": parts_per_s,
                "share_of_slowest": windows_per_s / slowest,
            }
            on_stderr(
                f"{model} {size}: {windows_per_s:.4g} windows/s, {windows_per_s / slowest:.0%} of its slowest part"
            )
    return results


def _side_by_side(bench: Bench) -> Numbers:
    """The reference and marlin-sdk in alternating rounds, end to end, on the same device."""
    if bench.peer is None:
        return {"note": "the reference was not run (--without-peer)"}
    variants = [Variant("torch bf16", {"dtype": "bfloat16"}), Variant("torch fp32", {})]
    results = {}
    for model in (SMALL,) if bench.quick else (SMALL, BASE, LARGE):
        for size in ("360p",) if bench.quick else ("224", "720p"):
            video = str(bench.video(size, 2 if bench.quick else 8))
            goals = {"torch bf16": (20.0, 20.0)} if bench.device != "cpu" else {}
            entrants = bench.contestants(model, variants, goals, "extract", video=video, crop=size != "224")
            results[f"{model}, {size}"] = bench.contest(entrants)
    return results


def _clips_per_s(model: Marlin, batch: int, least_s: float) -> float:
    size_px, frames = model.config.img_size, model.config.n_frames
    clips = np.random.default_rng(0).integers(0, 256, (batch, frames, size_px, size_px, 3), dtype=np.uint8)
    pixels = torch.from_numpy(clips)
    if model.device.type == "cuda":
        pixels = pixels.pin_memory()
    for _ in range(2):
        model.extract_clip(pixels).cpu()
    done, started_s = 0, time.perf_counter()
    while time.perf_counter() - started_s < least_s:
        model.extract_clip(pixels).cpu()  # .cpu() waits until the features are computed
        done += batch
    return done / (time.perf_counter() - started_s)


def _device_name(device: str) -> str:
    return "cpu" if device == "cpu" else torch.cuda.get_device_name(device)


def _table(results: Numbers) -> str:
    peaks = ", ".join(f"{dtype} {rate / 1000:.3g} TFLOP/s" for dtype, rate in results["gemm_gflops"].items())
    lines = [
        f"# {results['machine']['device']}, {results['date']}" + "; --quick: no result" * results["quick"],
        "",
        f"Commit {results['commit']}, torch {results['versions']['torch']}. Matrix products: {peaks}.",
        "",
        "| encoder | dtype | batch | clips/s | share of the peak | goal in bf16 on an H200: at least, aim |",
        "| --- | --- | ---: | ---: | ---: | --- |",
    ]
    for row in results["encoder"]:
        measured = "out of memory | " if "error" in row else f"{row['clips_per_s']:.4g} | {row['share_of_peak']:.0%}"
        goal = "{}, {}".format(*GOALS[row["model"]]) if row["dtype"] == "bfloat16" else ""
        lines.append(f"| {row['model']} | {row['dtype']} | {row['batch']} | {measured} | {goal} |")
    lines += [
        "",
        "| end to end, bf16 | windows/s | of min(encode, decode and convert) | parts by themselves, windows/s |",
        "| --- | ---: | ---: | --- |",
    ]
    for name, row in results["pipeline"].items():
        parts = ", ".join(f"{part} {rate:.4g}" for part, rate in row["parts_per_s"].items())
        lines.append(f"| {name} | {row['windows_per_s']:.4g} | {row['share_of_slowest']:.0%} | {parts} |")
    lines += ["", "| side by side | side | s a window | times as fast |", "| --- | --- | ---: | ---: |"]
    for name, sides in results["side by side"].items():
        if name == "note":
            lines.append(f"| {sides} | | | |")
            continue
        for side, row in sides.items():
            if "error" in row:
                lines.append(f"| {name} | {side} | not measured: {row['error'][:120]} | |")
            else:
                ratio = f"{row['ratio']:.3g}" if "ratio" in row else ""
                lines.append(f"| {name} | {side} | {row['median_s'] / row['count']:.4g} | {ratio} |")
    return "\n".join(lines) + "\n"


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", default="cuda", help="torch device; cpu only shows that it works")
    parser.add_argument("--quick", action="store_true", help="ViT-S on little work: to see that it works")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "benchmarks" / "results", help="folder of results")
    parser.add_argument("--without-peer", action="store_true", help="measure marlin-sdk alone: no ratios")
    asked = parser.parse_args(arguments)
    try:
        resolve_device(asked.device)
    except ConfigError as error:
        parser.error(f"{error}; --device cpu --quick shows that the script works")
    return asked


if __name__ == "__main__":
    main()
