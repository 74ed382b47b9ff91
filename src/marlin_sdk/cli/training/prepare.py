"""`marlin-sdk prepare`: turn videos into shards of cropped and parsed faces."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from marlin_sdk.cli.options import CONTEXT, ends_with_status, output_options, set_up_logging
from marlin_sdk.cli.output import Console

if TYPE_CHECKING:
    from marlin_sdk.training.prepare.run import PrepareResult

__all__ = ["command"]

_CROP_FACE = {"auto": "auto", "yes": True, "no": False}


@click.command("prepare", context_settings=CONTEXT)
@click.argument("videos", metavar="VIDEOS...", nargs=-1, required=True)
@click.option("-o", "--output", metavar="DIR", required=True, help="Folder for the data; the same command resumes.")
@click.option("--workers", type=int, help="Number of worker processes.  [default: one per core]")
@click.option(
    "--detector",
    default="yunet",
    show_default=True,
    help="yunet, lbp (no download), sfd, blazeface, retinaface, scrfd, or a YuNet .onnx file.",
)
@click.option(
    "--parser",
    default="landmarks",
    show_default=True,
    help="Face parser: landmarks, landmarks68, segformer (or NAME:FILE), precomputed:DIR of .npy label maps, or none.",
)
@click.option(
    "--crop-face",
    type=click.Choice(list(_CROP_FACE)),
    default="auto",
    show_default=True,
    help="auto: crop unless the video has the size of a crop already.",
)
@click.option(
    "--faces",
    type=click.Choice(["all", "largest"]),
    default="all",
    show_default=True,
    help="All faces, or the most prominent face of each video.",
)
@click.option("--fps", type=float, help="Resample to this frame rate first.")
@click.option(
    "--detect-every", type=int, default=4, show_default=True, help="Detect faces in every k-th frame; track in between."
)
@click.option(
    "--min-face",
    "min_face_px",
    type=int,
    default=48,
    show_default=True,
    help="Skip faces smaller than this, in pixels.",
)
@click.option(
    "--min-frames", type=int, default=31, show_default=True, help="Skip shorter tracks; a clip spans 31 frames."
)
@click.option(
    "--segment-frames",
    type=int,
    default=240,
    show_default=True,
    help="Split longer tracks into samples of this length.",
)
@click.option("--size", "size_px", type=int, default=224, show_default=True, help="Side of the crops, in pixels.")
@click.option(
    "--patch-size",
    "patch_px",
    type=int,
    default=16,
    show_default=True,
    help="Side of the cells of the region maps, in pixels.",
)
@click.option("--quality", type=int, default=95, show_default=True, help="WebP quality of the crops.")
@click.option(
    "--identity",
    type=click.Choice(["auto", "source", "folder"]),
    default="auto",
    show_default=True,
    help="One person per video or per folder; auto: the name in YouTube Faces, else source.",
)
@click.option(
    "--table", metavar="CSV", help="Columns source, identity, split, for videos that --identity does not fit."
)
@click.option(
    "--val-share", type=float, default=0.1, show_default=True, help="Share of identities held out for validation."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed of the split.")
@click.option("--retry", is_flag=True, help="Retry videos that gave no faces, even if they are unchanged.")
@output_options
def command(
    videos: tuple[str, ...],
    output: str,
    workers: int | None,
    crop_face: str,
    table: str | None,
    retry: bool,
    quiet: bool,
    debug: bool,
    **settings: Any,
) -> None:
    """Find, crop and parse the faces of videos for pretraining.

    VIDEOS are folders or files; a folder frame_images_DB/NAME/NUMBER/*.jpg is read as YouTube Faces. DIR gets shards of
    WebP crops with their regions, split by identity, and manifest.jsonl, with the outcome of each video. If it is
    stopped, the same command resumes.

    \b
    marlin-sdk prepare videos/ -o data/
    marlin-sdk prepare YouTubeFaces/ -o data/ --faces largest --workers 32

    Exit status: 0 success, 1 some videos are broken or no faces were found, 2 invalid usage or settings.
    """
    console = Console(quiet=quiet, debug=debug)
    set_up_logging(quiet=quiet)
    with ends_with_status(console, interrupted="stopped by Ctrl-C; the same command resumes"):
        result = _run(videos, output, workers, table, retry, console, crop_face=_CROP_FACE[crop_face], **settings)
    sys.exit(1 if result.failed else 0)


def _run(
    videos: tuple[str, ...],
    output: str,
    workers: int | None,
    table: str | None,
    retry: bool,
    console: Console,
    **settings: Any,
) -> PrepareResult:
    from tqdm.auto import tqdm

    from marlin_sdk.training.prepare.config import PrepareConfig
    from marlin_sdk.training.prepare.folder import Outcome
    from marlin_sdk.training.prepare.run import prepare

    with tqdm(unit="video", disable=not console.bars) as bar:

        def report(outcome: Outcome, to_do: int) -> None:
            bar.total = to_do
            bar.update()
            if outcome.status == "broken":
                console.failure(f"{outcome.source}: {outcome.reason}", None)
            elif outcome.status != "done":
                console.note(f"{outcome.source}: {outcome.reason}")
            for warning in outcome.warnings:
                console.note(f"warning: {outcome.source}: {warning}")

        result = prepare(
            list(videos),
            Path(output),
            PrepareConfig(**settings),
            workers=_cores() if workers is None else workers,
            table=table,
            retry=retry,
            on_outcome=report,
        )
    for note in result.notes:
        console.note(note)
    done = sum(outcome.status == "done" for outcome in result.outcomes)
    before = f" ({result.before} done before)" if result.before else ""
    console.note(
        f"{done} of {len(result.outcomes)} videos gave faces{before}, {len(result.failed)} broken. "
        f"{output}: {result.samples.get('train', 0)} samples to train on, {result.samples.get('val', 0)} held out"
    )
    return result


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if __name__ == "__main__":
    command()
