"""Overhead and memory of the batch engine: `python benchmarks/batch.py engine|resume|long|rates`.

The videos are generated here. The model is tiny, so that the engine is measured and not the encoder. README.md beside
this file describes what each part measures, and links to the results.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from marlin_sdk import ExtractionConfig, Marlin, ModelConfig
from marlin_sdk.batch.local import LocalEngine
from marlin_sdk.batch.recipe import Recipe
from marlin_sdk.batch.run import make_dump
from marlin_sdk.batch.workers import WorkerLimits
from marlin_sdk.clips.cut import Clip
from marlin_sdk.dump.lock import Shard
from marlin_sdk.dump.plan import DumpPlan
from marlin_sdk.inputs.videos import VideoInput, find_videos
from marlin_sdk.video.reader import open_video

ASTRONAUT = Path(__file__).parents[1] / "examples" / "astronaut.mp4"
TINY = ModelConfig(encoder_embed_dim=32, encoder_depth=2, encoder_num_heads=2)
WIDTH, HEIGHT, FPS = 640, 360, 25
DISTINCT, CLIP_S = 20, 10
MB = 2**20


# Videos ---------------------------------------------------------------------------------------------------------------


def astronaut_frames() -> list[NDArray[np.uint8]]:
    """The frames of the example video, padded to 640x360."""
    with av.open(str(ASTRONAUT)) as container:
        stills = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    edge = (WIDTH - stills[0].shape[1]) // 2
    return [cv2.copyMakeBorder(still, 0, 0, edge, edge, cv2.BORDER_REFLECT).astype(np.uint8) for still in stills]


def write(path: Path, frames: Sequence[NDArray[np.uint8]]) -> None:
    """Encode frames as H.264."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "crf": "26"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())


def write_distinct(folder: Path) -> list[Path]:
    """Twenty videos of ten seconds that differ in brightness and phase."""
    stills = astronaut_frames()
    made = []
    for index in range(DISTINCT):
        there_and_back = cycle([*stills, *stills[::-1]])
        frames = list(islice(there_and_back, 7 * index, 7 * index + FPS * CLIP_S))
        path = folder / f"{index:02d}.mp4"
        write(path, [cv2.convertScaleAbs(frame, alpha=0.8 + 0.01 * index).astype(np.uint8) for frame in frames])
        made.append(path)
    return made


def write_links(folder: Path, originals: Sequence[Path], count: int) -> None:
    """Create that many hard links to a few videos, in folders of a thousand."""
    for index in range(count):
        path = folder / f"{index // 1000:03d}" / f"{index:06d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(originals[index % len(originals)], path)


def write_long(path: Path, hours: float) -> None:
    """Repeat one ten-second video until it lasts so many hours, by copying its packets."""
    with tempfile.TemporaryDirectory() as folder:
        piece = Path(folder) / "piece.mp4"
        stills = astronaut_frames()
        write(piece, list(islice(cycle([*stills, *stills[::-1]]), FPS * CLIP_S)))
        with av.open(str(path), "w") as out:
            stream = None
            for repeat in range(round(hours * 3600 / CLIP_S)):
                with av.open(str(piece)) as container:
                    source = container.streams.video[0]
                    stream = stream or out.add_stream_from_template(source)
                    shift = round(Fraction(repeat * CLIP_S) / source.time_base)
                    for packet in container.demux(source):
                        if packet.dts is None or packet.pts is None:
                            continue
                        packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                        packet.stream = stream
                        out.mux(packet)


# Measuring ------------------------------------------------------------------------------------------------------------


def resident_mb() -> float:
    """Resident memory of this process, without the workers."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / MB


def cpu_s() -> float:
    """CPU time of this process and of its finished children."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


@contextmanager
def watching_memory(each_s: float = 0.2) -> Iterator[list[float]]:
    """Sample the resident memory in MB while the block runs."""
    seen: list[float] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(each_s):
            seen.append(resident_mb())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield seen
    finally:
        ended.set()
        watcher.join()


def bare_cost(recipe: Recipe, model: Marlin, videos: Sequence[Path]) -> float:
    """CPU seconds per video for decode, detect and encode alone, in one process, without the engine."""
    cutter = recipe.load_cutter(model.config)
    config = recipe.settings
    started_s = cpu_s()
    waiting: list[Clip] = []
    for path in videos:
        with open_video(str(path)) as reader:
            for cut in cutter.cut(reader, config):
                waiting += cut if isinstance(cut, list) else []
                while len(waiting) >= config.batch_size:
                    batch, waiting = waiting[: config.batch_size], waiting[config.batch_size :]
                    model.embed_clips(batch)
    if waiting:
        model.embed_clips(waiting)
    return (cpu_s() - started_s) / len(videos)


def flatness(seen: Sequence[float]) -> float:
    """Ratio of the mean of the last tenth to that of the second tenth."""
    tenth = max(1, len(seen) // 10)
    return statistics.fmean(seen[-tenth:]) / statistics.fmean(seen[tenth : 2 * tenth])


# The parts ------------------------------------------------------------------------------------------------------------


def engine(options: argparse.Namespace, folder: Path) -> None:
    """Overhead beyond decode, detect and encode; memory of the main process."""
    (folder / "distinct").mkdir()
    originals = write_distinct(folder / "distinct")
    write_links(folder / "videos", originals, options.videos)
    recipe = Recipe(model=TINY, untrained=True, detector=options.detector)
    model = recipe.load_model("cpu")
    torch.set_num_threads(1)  # so that CPU time contains no spin-waiting
    bare_cost(recipe, model, originals[:2])  # warm-up
    bare_s = bare_cost(recipe, model, originals)
    base_mb = resident_mb()
    videos = find_videos([str(folder / "videos")])
    runner = LocalEngine(recipe, [model], workers=options.workers, limits=WorkerLimits())
    plan = DumpPlan(folder / "dump", options.format, Shard(1, 1))
    started_s, spent_s = time.perf_counter(), cpu_s()
    with watching_memory() as seen:
        summary = make_dump(videos, runner, plan, recipe.identity(model))
    wall_s, run_s = time.perf_counter() - started_s, cpu_s() - spent_s
    print(summary)
    print(f"bare decode + detect + encode: {1000 * bare_s:.0f} ms of processor time a video")
    print(f"the run: {1000 * run_s / len(videos):.0f} ms of processor time a video, {wall_s:.0f} s on the clock")
    print(f"overhead of the engine: {100 * (run_s / len(videos) / bare_s - 1):+.1f} %")
    print(f"main process: {base_mb:.0f} MB with the model, at most {max(seen) - base_mb:.0f} MB more")
    print(f"last tenth against second tenth: {100 * (flatness(seen) - 1):+.1f} %")
    kept = sum(path.stat().st_size for path in plan.folder.rglob("*") if path.is_file())
    print(f"{options.format}: {kept / summary.rows - 4 * TINY.encoder_embed_dim:.0f} bytes a window beside its feature")


def resume(options: argparse.Namespace, folder: Path) -> None:
    """Time until a rerun over many finished videos starts the missing one."""
    (folder / "distinct").mkdir()
    originals = write_distinct(folder / "distinct")
    write_links(folder / "videos", originals, options.ids + 1)
    first, *others = find_videos([str(folder / "videos")])
    command = [sys.executable, "-m", "marlin_sdk.cli", "-o", str(folder / "dump"), "--untrained", "--log-json"]
    command += ["--model", "marlin_vit_small_ytf", "--detector", options.detector, "--device", "cpu"]
    subprocess.run([*command, str(folder / "videos" / "000" / "000000.mp4")], check=True, capture_output=True)
    manifest = folder / "dump" / "manifest.jsonl"
    entry = json.loads(manifest.read_text())
    with manifest.open("w") as file:
        for video in (first, *others[:-1]):
            file.write(json.dumps({**entry, **_named(video)}) + "\n")
            rows = folder / "dump" / _named(video)["file"]
            rows.parent.mkdir(parents=True, exist_ok=True)
            rows.touch()  # a video whose file is gone is processed again
    started = time.time()
    done = subprocess.run([*command, str(folder / "videos")], check=True, capture_output=True, text=True)
    events = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    start = next(event for event in events if event["event"] == "start")
    video = next(event for event in events if event["event"] == "video")
    assert (start["videos"], start["done_before"]) == (1, options.ids), start
    print(f"{options.ids} finished ids: the missing video is begun after {start['time'] - started:.1f} s")
    print(f"(import, model and manifest included), and done after {video['time'] - started:.1f} s")


def _named(video: VideoInput) -> dict[str, str]:
    return {"id": video.id, "source": video.source, "file": f"{video.id}.npz"}


def long(options: argparse.Namespace, folder: Path) -> None:
    """Memory of the main process and of the worker for one long video."""
    path = folder / "long.mp4"
    write_long(path, options.hours)
    settings = ExtractionConfig(detect_every=options.detect_every)
    recipe = Recipe(model=TINY, untrained=True, detector=options.detector, settings=settings)
    model = recipe.load_model("cpu")
    bare_cost(recipe, model, [ASTRONAUT])  # warm-up, so that the baseline includes the model's working memory
    base_mb = resident_mb()
    runner = LocalEngine(recipe, [model], workers=1, limits=WorkerLimits())
    started_s = time.perf_counter()
    with watching_memory() as seen:
        summary = make_dump(find_videos([str(path)]), runner, DumpPlan(folder / "dump", "npz"), recipe.identity(model))
    worker_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(summary)
    print(f"{options.hours:g} h of {WIDTH}x{HEIGHT}, {time.perf_counter() - started_s:.0f} s")
    print(f"main process: {base_mb:.0f} MB with the model, at most {max(seen) - base_mb:.0f} MB more")
    tenth = max(1, len(seen) // 10)
    means = [statistics.fmean(seen[start : start + tenth]) - base_mb for start in range(0, len(seen), tenth)]
    print(f"tenth by tenth: {', '.join(f'{mean:.0f}' for mean in means)} MB more")
    print(f"worker process: at most {worker_mb:.0f} MB")


def rates(options: argparse.Namespace, folder: Path) -> None:
    """CPU time of each step for one window, with a model of published size and random weights."""
    originals = write_distinct(folder)[:4]
    recipe = Recipe(model=options.model, untrained=True, detector=options.detector)
    model = recipe.load_model(options.device)
    cutter = recipe.load_cutter(model.config)
    cv2.setNumThreads(1)
    clips: list[Clip] = []
    for path in (ASTRONAUT, *originals):  # the first is the warm-up
        if path == originals[0]:
            clips.clear()
            started_s = cpu_s()
        with open_video(str(path)) as reader:
            for cut in cutter.cut(reader, recipe.settings):
                clips += cut if isinstance(cut, list) else []
    cut_s = (cpu_s() - started_s) / len(clips)
    print(f"decode, detect and crop: {1000 * cut_s:.0f} ms of one core a window")
    batch = clips[: options.batch_size]
    model.embed_clips(batch)
    seconds = []
    for _ in range(3):
        started = time.perf_counter(), cpu_s()
        model.embed_clips(batch)
        seconds.append(((time.perf_counter() - started[0]) / len(batch), (cpu_s() - started[1]) / len(batch)))
    wall_s, spent_s = min(seconds)
    print(
        f"embed on {model.device}, batches of {len(batch)}: {wall_s:.3f} s a window, {spent_s:.2f} s of processor time"
    )
    sizes = [path.stat().st_size for path in originals]
    print(f"a video: {CLIP_S} s, {len(clips) // len(originals)} windows, {statistics.fmean(sizes) / 1e6:.2f} MB")


def main() -> None:
    """Run one part in its own folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(required=True)
    one = parts.add_parser("engine", help="overhead and memory over many videos")
    one.add_argument("--videos", type=int, default=2000)
    one.add_argument("--workers", type=int, default=1)
    one.add_argument("--format", default="parquet")
    one.set_defaults(part=engine)
    two = parts.add_parser("resume", help="a rerun over many finished videos")
    two.add_argument("--ids", type=int, default=100_000)
    two.set_defaults(part=resume)
    three = parts.add_parser("long", help="one long video")
    three.add_argument("--hours", type=float, default=1.0)
    three.add_argument("--detect-every", type=int, default=4)
    three.set_defaults(part=long)
    four = parts.add_parser("rates", help="what one window costs, for the sums of docs/how-to/scale.md")
    four.add_argument("--model", default="marlin_vit_base_ytf")
    four.add_argument("--device", default="auto")
    four.add_argument("--batch-size", type=int, default=8)
    four.set_defaults(part=rates)
    for part in (one, two, three, four):
        part.add_argument("--detector", default="lbp", help="lbp needs no download; yunet, or a YuNet .onnx file")
        part.add_argument("--folder", help="where the videos are made, several GB free; by default a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="marlin-bench-", dir=options.folder) as folder:
        options.part(options, Path(folder))


if __name__ == "__main__":
    main()
