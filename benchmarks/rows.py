"""The benchmark rows of the table."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.bench import BASE, LARGE, SIZES, SMALL, Bench, Goal, Variant, entrant
from benchmarks.contest import (
    REFERENCE,
    Contestant,
    UnavailableError,
    Worker,
    compare,
    take_turns,
    timed_process,
)
from benchmarks.inputs import ROOT, hour_video
from benchmarks.machine import measure_gemm
from benchmarks.peer.check import check_reference

__all__ = ["ROWS", "Row"]

DEFAULT = Variant("torch fp32", {})
TORCH_BF16 = Variant("torch bf16", {"dtype": "bfloat16"})
OPENVINO = Variant("openvino fp32", {"runtime": "openvino"})
OPENVINO_BF16 = Variant("openvino bf16", {"runtime": "openvino", "dtype": "bfloat16"})
OPENVINO_INT8 = Variant("openvino int8", {"runtime": "openvino", "dtype": "int8"})
ONNX = Variant("onnx fp32", {"runtime": "onnx"})


@dataclass(frozen=True)
class Row:
    """A row, or a group of rows that are measured in turn.

    Attributes:
        title: its name in the table.
        measure: returns at least `contestants`, by label.
    """

    title: str
    measure: Callable[[Bench], dict[str, Any]]


def _encoder(model: str, clips: int, variants: Sequence[Variant], goals: Mapping[str, Goal], bench: Bench) -> Any:
    pixels = bench.clips(min(clips, 2) if bench.quick else clips)
    return {
        "model": model,
        "unit": "clip",
        "contestants": bench.contest(bench.contestants(model, variants, goals, "encode", clips=str(pixels))),
    }


def _video(
    model: str, size: str, windows: int, variants: Sequence[Variant], goals: Mapping[str, Goal], bench: Bench
) -> Any:
    video = bench.video(size, windows)
    entrants = bench.contestants(model, variants, goals, "extract", video=str(video), crop=size in SIZES)
    return {"model": model, "unit": "window", "video": video.name, "contestants": bench.contest(entrants)}


def _pieces(bench: Bench) -> dict[str, Any]:
    entrants = bench.contestants(BASE, [DEFAULT], {}, "pieces", video=str(bench.video("720p", 2)))
    try:
        answers = take_turns(entrants, bench.rounds, bench.say)
    finally:
        for entrant in entrants:
            entrant.close()
    results = compare(entrants, answers)
    return {"model": BASE, "unit": "window", "contestants": _with_pieces(results, answers)}


def _breakdown(bench: Bench) -> dict[str, Any]:
    pixels = str(bench.clips(2))
    entrants = [
        entrant(variant.label, partial(bench.start_sdk, BASE, False, variant.options), "breakdown", {"clips": pixels})
        for variant in (DEFAULT, TORCH_BF16)
    ]
    try:
        answers = take_turns(entrants, 2, bench.say)
    finally:
        for entrant in entrants:
            entrant.close()
    return {"model": BASE, "unit": "clip", "contestants": _with_pieces(compare(entrants, answers), answers)}


def _with_pieces(results: dict[str, Any], answers: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    for label, result in results.items():
        if "error" not in result:
            rounds = [answer["pieces"] for answer in answers[label]]
            result["pieces"] = {piece: median(one[piece] for one in rounds) for piece in rounds[0]}
            result.pop("count", None)
    return results


def _commands(commands: Mapping[str, tuple[Sequence[str | Path], Goal | None]], bench: Bench) -> dict[str, Any]:
    """Time whole processes, from start to end."""
    entrants = []
    for label, (command, goal) in commands.items():
        peer = bench.peer if label == REFERENCE else None
        folders = [*peer.import_path, ROOT] if peer else [ROOT / "src"]
        environment = {
            "PYTHONPATH": ":".join(map(str, folders)),
            "OMP_NUM_THREADS": str(bench.threads),
            "PYTHONWARNINGS": "ignore",
        }
        run = partial(timed_process, command, environment)
        entrants.append(Contestant(label, run, goal, prepare=run))
    return {"unit": "process", "contestants": bench.contest(entrants)}


def _python(bench: Bench, code: str, theirs: bool = False) -> list[str | Path]:
    return [bench.peer.python if theirs and bench.peer else sys.executable, "-c", code]


def _import(bench: Bench) -> dict[str, Any]:
    reference = {REFERENCE: (_python(bench, "import marlin_pytorch", theirs=True), None)} if bench.peer else {}
    return _commands(
        {
            **reference,
            "import marlin_sdk": (_python(bench, "import marlin_sdk"), (10.0, 30.0)),
            "marlin-extract --help": ([sys.executable, "-m", "marlin_sdk.cli", "--help"], (10.0, 30.0)),
            "from marlin_sdk import Marlin": (_python(bench, "from marlin_sdk import Marlin"), None),
        },
        bench,
    )


def _first(bench: Bench) -> dict[str, Any]:
    """A new process that loads ViT-B and embeds a pre-cropped video of one window."""
    weights, video = str(bench.checkpoint(BASE)), str(bench.video("224", 1))
    theirs = f"from marlin_pytorch import Marlin; Marlin.from_file({BASE!r}, {weights!r}).extract_video({video!r})"
    reference = {REFERENCE: (_python(bench, theirs, theirs=True), None)} if bench.peer else {}
    ours = {
        variant.label: (
            _python(
                bench,
                f"from marlin_sdk import Marlin; Marlin.from_pretrained({weights!r}, device='cpu', "
                f"**{dict(variant.options)!r}).extract_video({video!r}, tail='drop')",
            ),
            (2.0, 4.0),
        )
        for variant in (DEFAULT, TORCH_BF16, OPENVINO_BF16)
    }
    return _commands({**reference, **ours}, bench)


def _memory(bench: Bench) -> dict[str, Any]:
    """An hour of uncropped video: every frame is decoded, faces are tracked throughout, some windows are embedded.

    The reference gets 20 s, because it embeds every window and would take hours for an hour of video.
    """
    media, clips = bench.work / "media", str(bench.clips(1))
    hour, short = hour_video(media, 60 if bench.quick else 3600), hour_video(media, 8 if bench.quick else 20)
    settings = {"stride": 64 if bench.quick else 1280}
    asked: dict[str, tuple[Callable[[], Worker], Path, dict[str, Any]]] = {
        DEFAULT.label: (partial(bench.start_sdk, BASE, True, DEFAULT.options), hour, {"settings": settings})
    }
    if bench.peer:
        asked[REFERENCE] = (partial(bench.start_peer, BASE, True), short, {})
    results: dict[str, Any] = {}
    for label, (start, video, more) in asked.items():
        measured = entrant(label, start, "memory", {"video": str(video), "crop": True, "clips": clips, **more})
        try:
            measured.prepare()
            results[label] = {"video": video.name, **_flatness(measured.measure()["samples"])}
        except UnavailableError as error:
            results[label] = {"error": str(error)}
        finally:
            measured.close()
        bench.say(f"{label}: {results[label].get('peak_mb', 'failed')} MB above the model")
    return {"model": BASE, "unit": "MB", "goal_mb": [400, 200], "settings": settings, "contestants": results}


def _flatness(samples: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Peak memory, the peak of each tenth of the time, and some of the samples."""
    tenth = max(1, len(samples) // 10)
    peaks = [max(mb for _, mb in samples[start : start + tenth]) for start in range(0, len(samples), tenth)][:10]
    return {
        "peak_mb": max(mb for _, mb in samples),
        "peaks_mb": peaks,
        "samples": samples[:: max(1, len(samples) // 200)],
    }


def _gemm(bench: Bench) -> dict[str, Any]:
    import torch

    torch.set_num_threads(bench.threads)
    least_s = 0.2 if bench.quick else 2.0
    kinds = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.int8}
    return {
        "unit": "GFLOP/s",
        "contestants": {},
        "gflops": {kind: measure_gemm(dtype, least_s=least_s) for kind, dtype in kinds.items()},
    }


def _check(bench: Bench) -> dict[str, Any]:
    """Check the setup of the reference: its features and boxes must equal its recorded output from elsewhere."""
    return {"unit": "check", "contestants": {}, **check_reference(bench)}


FAST = (DEFAULT, TORCH_BF16, OPENVINO_BF16, OPENVINO_INT8)
ALL = (DEFAULT, TORCH_BF16, OPENVINO, OPENVINO_BF16, OPENVINO_INT8, ONNX)
ENCODER_GOALS = {
    "torch fp32": (1.6, 1.8),
    "openvino fp32": (1.6, 1.8),
    "torch bf16": (3.3, 3.7),
    "openvino bf16": (3.3, 3.7),
    "openvino int8": (4.5, 6.0),
}
BF16 = ("torch bf16", "openvino bf16")

ROWS: Mapping[str, Row] = {
    "gemm": Row("matrix products, the floor", _gemm),
    "check": Row("the reference against its golden numbers", _check),
    "encoder-small": Row("encoder, ViT-S", partial(_encoder, SMALL, 4, ALL, {})),
    "encoder-base": Row("encoder, ViT-B", partial(_encoder, BASE, 2, ALL, ENCODER_GOALS)),
    "encoder-large": Row("encoder, ViT-L", partial(_encoder, LARGE, 1, FAST, {})),
    "cropped-base": Row(
        "end to end, pre-cropped 224, ViT-B",
        partial(_video, BASE, "224", 3, FAST, {**dict.fromkeys(BF16, (3.0, 3.5)), "openvino int8": (4.0, 5.5)}),
    ),
    "wild-240p": Row("end to end, 240p, ViT-S", partial(_video, SMALL, "240p", 3, FAST, {})),
    "wild-360p": Row("end to end, 360p, ViT-S", partial(_video, SMALL, "360p", 3, FAST, {})),
    "wild-720p-small": Row(
        "end to end, 720p, ViT-S", partial(_video, SMALL, "720p", 4, FAST, dict.fromkeys(BF16, (7.0, 10.0)))
    ),
    "wild-720p-base": Row(
        "end to end, 720p, ViT-B", partial(_video, BASE, "720p", 3, FAST, dict.fromkeys(BF16, (5.0, 7.0)))
    ),
    "wild-1080p-base": Row(
        "end to end, 1080p, ViT-B", partial(_video, BASE, "1080p", 3, FAST, dict.fromkeys(BF16, (6.0, 10.0)))
    ),
    "import": Row("import, and --help", _import),
    "first": Row("first embedding, new process, ViT-B", _first),
    "memory": Row("memory above the model, one hour, ViT-B", _memory),
    "pieces": Row("the pieces, 720p, ViT-B", _pieces),
    "breakdown": Row("a clip by kind of operator, ViT-B", _breakdown),
}
"""By the name for --rows."""
