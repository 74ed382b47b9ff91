"""`marlin-extract -o DIR`: turn the options of the command into a run of the batch engine."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from marlin_sdk.batch.estimate import estimate_run
from marlin_sdk.batch.local import LocalEngine
from marlin_sdk.batch.progress import choose_progress
from marlin_sdk.batch.recipe import Recipe
from marlin_sdk.batch.run import Engine, default_workers, make_dump
from marlin_sdk.batch.workers import WorkerLimits
from marlin_sdk.cli.output import UNTRAINED, Console
from marlin_sdk.dump.lock import Shard
from marlin_sdk.dump.manifest import ids_by_source, read_manifest
from marlin_sdk.dump.plan import DumpPlan
from marlin_sdk.dump.recovery import without_missing
from marlin_sdk.dump.settings import check_settings
from marlin_sdk.errors import ConfigError
from marlin_sdk.inputs.tables import read_list, read_table
from marlin_sdk.inputs.videos import VideoInput, deduplicate, find_videos
from marlin_sdk.processes import stop_on_signals

__all__ = ["extract_to_folder", "gather_inputs"]


def extract_to_folder(recipe: Recipe, options: Mapping[str, Any], console: Console, *, quiet: bool, debug: bool) -> int:
    """Create or resume a dump.

    Returns:
        Number of videos that failed in this run.
    """
    plan = _plan(options)
    limits = WorkerLimits(timeout_s=options["timeout"], max_memory_mb=options["max_worker_memory"])
    entries = {} if plan.overwrite else read_manifest(plan.folder)
    videos = gather_inputs(options, known=ids_by_source(entries))
    devices = [device.strip() for device in options["device"].split(",")]
    on_ray = options["engine"] == "ray"
    model = recipe.load_model("cpu" if on_ray else devices[0])  # the head of a cluster may have no GPU
    if recipe.untrained:
        console.note(UNTRAINED)
    if not plan.overwrite:
        check_settings(plan, recipe.identity(model))  # before anything is downloaded or started
    workers = options["workers"]
    if workers is None:
        workers = default_workers(len(videos), on_gpu=model.device.type == "cuda")
    if options["dry_run"]:
        estimate_run(recipe, model, plan, videos, without_missing(plan.folder, entries), workers=workers).show()
        return 0
    progress = choose_progress(quiet=quiet, as_json=options["log_json"], debug=debug)
    engine: Engine
    if on_ray:
        from marlin_sdk.batch.ray import RayEngine

        engine = RayEngine(
            recipe, address=options["ray_address"], actors=options["workers"], device=options["device"], limits=limits
        )
    else:
        models = [model, *(recipe.load_model(device) for device in devices[1:])]
        engine = LocalEngine(recipe, models, workers=workers, limits=limits)

    def announce(name: str) -> None:
        console.warn(f"{name}: finishing the videos in flight; repeat to stop immediately. A rerun resumes from here.")

    with stop_on_signals(announce) as drain:
        summary = make_dump(videos, engine, plan, recipe.identity(model), progress=progress, drain=drain)
    if drain.is_set() and summary.left:
        raise KeyboardInterrupt
    return summary.failed


def gather_inputs(options: Mapping[str, Any], *, known: Mapping[str, str]) -> Sequence[VideoInput]:
    """Collect the videos of the arguments, the list and the table, without duplicates.

    Args:
        options: options of the command.
        known: ids of an earlier run, by source.
    Raises:
        ConfigError: no input is given, or a list or table cannot be read.
    """
    names = [name for name in options["inputs"] if name != "-"]
    found = [find_videos(names, known=known)]
    if "-" in options["inputs"]:
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(errors="surrogateescape")  # file names may not be valid text
        found.append(find_videos(read_list(sys.stdin), base=Path(), known=known))
    if options["list_file"] is not None:
        path = Path(options["list_file"])
        try:
            with path.open(encoding="utf-8", errors="surrogateescape") as file:
                found.append(find_videos(read_list(file, beside=path.parent), base=path.parent, known=known))
        except OSError as error:
            raise ConfigError(f"list {path} cannot be read: {error}") from error
    if options["table"] is not None:
        found.append(read_table(Path(options["table"]), known=known, columns=_columns(options["columns"])))
    elif options["columns"]:
        raise ConfigError(f"--column {options['columns'][0]} is for a table; give --table FILE")
    if not (options["inputs"] or options["list_file"] or options["table"]):
        raise ConfigError("no INPUT; give a video, a folder, a pattern, --list FILE, --table FILE, or - for stdin")
    found = list(filter(None, found))
    alone = len(found) == 1 and options["table"] is None  # then they are unique
    return found[0] if alone else deduplicate(chain.from_iterable(found))


def _columns(pairs: Sequence[str]) -> dict[str, str]:
    """Columns of the table and their known names, of FOUND=KNOWN."""
    columns: dict[str, str] = {}
    for pair in pairs:
        found, equals, meant = pair.rpartition("=")
        if not equals or not found or columns.get(found, meant) != meant:
            raise ConfigError(f"--column {pair}: expected FOUND=KNOWN, as in start=start_s, once for each column")
        columns[found] = meant
    return columns


def _plan(options: Mapping[str, Any]) -> DumpPlan:
    if not options["output"]:
        raise ConfigError("-o is empty; expected a folder, or - for JSON lines")
    if options["shard_size"] < 1:
        raise ConfigError(f"shard-size is {options['shard_size']}; expected at least 1 row")
    if options["reduction"] != "none" and options["format"] in ("parquet", "webdataset"):
        raise ConfigError(f"{options['format']} stores one row per window; use --format npz with --reduction")
    return DumpPlan(
        folder=Path(options["output"]),
        format=options["format"],
        shard=Shard.parse(options["shard"]),
        shard_rows=options["shard_size"],
        retry_failed=options["retry_failed"],
        overwrite=options["overwrite"],
    )
