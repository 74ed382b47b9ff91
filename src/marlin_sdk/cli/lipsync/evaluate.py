"""`marlin-sdk lipsync evaluate`: what a network that makes lips is worth, on videos that it has not seen."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from marlin_sdk.cli.options import CONTEXT, ends_with_status, output_options, set_up_logging
from marlin_sdk.cli.output import Console
from marlin_sdk.errors import ConfigError, MarlinError

if TYPE_CHECKING:
    from marlin_sdk.evaluation.frechet.results import Frechet
    from marlin_sdk.face.detections import FaceDetector
    from marlin_sdk.lipsync.clips import TalkingClip
    from marlin_sdk.lipsync.maker import LipMaker
    from marlin_sdk.lipsync.measuring import LipsReport, Number

__all__ = ["command"]


@click.command("evaluate", context_settings=CONTEXT)
@click.argument("videos", metavar="VIDEO...", nargs=-1, required=True)
@click.option("--model", metavar="DIR", required=True, help="Output of marlin-sdk lipsync train.")
@click.option("--sync", metavar="DIR", help="Output of marlin-sdk sync train, which says whether lips are in time.")
@click.option("--seen", metavar="DIR", help="Shards of the training, for baselines that copy.  [default: MODEL/shards]")
@click.option("--syncnet", metavar="FILE", help="Your own SyncNet v2 weights, for LSE-D and LSE-C.")
@click.option("--encoder", metavar="MODEL", help="MARLIN encoder, for a Fréchet distance of real and made faces.")
@click.option("-o", "--output", metavar="FILE", help="All numbers, .json.")
@click.option("--films", metavar="DIR", help="Keep films of the first 8 clips: real above made.")
@click.option("--detector", default="yunet", show_default=True, help="As for marlin-extract.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@output_options
def command(
    videos: tuple[str, ...],
    model: str,
    sync: str | None,
    seen: str | None,
    syncnet: str | None,
    encoder: str | None,
    output: str | None,
    films: str | None,
    detector: str,
    device: str,
    quiet: bool,
    debug: bool,
) -> None:
    """Measure made lips on videos that were not trained on.

    The lips of each VIDEO (a file, a folder of videos, or a quoted pattern) are made for its own sound, which shows how
    like the true ones they are, and for the sound of the next video, which shows whether they follow it. Intervals of
    95 % are from drawing videos with replacement.

    \b
    marlin-sdk lipsync evaluate held-out/ --model runs/lips --sync runs/sync -o report.json

    Exit status: 0 success, 1 some videos failed, 2 invalid usage or settings, 130 stopped by Ctrl-C.
    """
    console = Console(quiet=quiet, debug=debug)
    set_up_logging(quiet=quiet)
    with ends_with_status(console, interrupted="stopped by Ctrl-C; nothing was written"):
        from marlin_sdk.bars import bar_class
        from marlin_sdk.face.detectors import load_detector
        from marlin_sdk.lipsync.maker import LipMaker
        from marlin_sdk.lipsync.measuring import measure_lips
        from marlin_sdk.runtime.torch import resolve_device
        from marlin_sdk.sync.files import load_sync
        from marlin_sdk.training.lipsync.seen import read_seen

        if output is not None and Path(output).suffix.lower() != ".json":
            raise ConfigError(f"{output} is not .json")
        maker = LipMaker.from_folder(model, device=device)
        judge, facts = (None, None) if sync is None else load_sync(sync)
        mouths = None
        if seen is not None or (Path(model) / "shards").is_dir():
            mouths = read_seen(model, seen, size_px=maker.size_px)
        else:
            console.note("without --seen, nothing is compared with the mouths of the training")
        finder = load_detector(detector)
        found, failed = _read(videos, maker, finder, console)
        clips = [clip for _, clip in found]
        meta = {
            "model": maker.facts.weights_sha256,
            "judge": facts.weights_sha256 if facts is not None else None,
            "judged_in_training": facts is not None and facts.weights_sha256 == maker.facts.sync,
        }
        judge = None if judge is None else judge.to(resolve_device(device))
        with bar_class()(total=len(clips), unit="clip", leave=False, disable=not console.bars) as bar:
            report = measure_lips(clips, maker, judge=judge, seen=mouths, meta=meta, advance=bar.update)
        values: dict[str, Any] = report.to_dict()
        if syncnet is not None:
            from marlin_sdk.cli.lipsync.lse import lse_of_films

            values["lse"] = lse_of_films([path for path, _ in found], maker, finder, syncnet, device=device)
        distance = None if encoder is None else _distance(clips, maker, encoder, device)
        values["frechet"] = None if distance is None else distance.to_json()
        if films is not None:
            from marlin_sdk.lipsync.beside import write_beside

            for clip in clips[:8]:
                write_beside(clip, maker, Path(films) / f"{clip.name}.mp4")
        if output is not None:
            from marlin_sdk.sync.result import write_json

            write_json([values], Path(output))
        if not quiet:
            _say(report, values.get("lse"))
            if distance is not None:
                click.echo(f"\nFréchet distance of real and made faces by {encoder}:\n{distance.table()}")
    if failed:
        sys.exit(1)


def _read(
    videos: Sequence[str], maker: LipMaker, detector: FaceDetector, console: Console
) -> tuple[list[tuple[str, TalkingClip]], int]:
    """Paths and clips of the videos that have a face and sound, and the number of the others."""
    from marlin_sdk.inputs.videos import find_videos
    from marlin_sdk.lipsync.clips import read_clip

    found, failed = [], 0
    for video in find_videos(videos):
        path = str(video.source)
        try:
            found.append((path, read_clip(path, maker.size_px, detector, min_frames=maker.num_frames)))
        except MarlinError as error:
            failed += 1
            console.failure(path, error)
    return found, failed


def _distance(clips: Sequence[TalkingClip], maker: LipMaker, encoder: str, device: str) -> Frechet:
    """Between the faces of the clips and those made for their own sound."""
    from marlin_sdk.lipsync.distance import frechet_of_faces
    from marlin_sdk.runtime.torch import resolve_device
    from marlin_sdk.training.start import Start

    network, _ = Start(encoder).load(0)
    network.to(resolve_device(device)).eval()
    return frechet_of_faces(clips, lambda clip: maker.make(clip.crops, clip.heard, start_s=clip.start_s), network)


def _say(report: LipsReport, lse: Mapping[str, Any] | None) -> None:
    click.echo(f"{len(report.clips)} clips; means with 95 % intervals, drawn by clips\n")
    _table("the mouth", report.mouths)
    click.echo("error of made lips minus that of (below 0: made ones are better)")
    for name, number in report.differences.items():
        click.echo(f"  {name:44} {number}")
    if report.timing:
        click.echo("")
        _table("judged by the synchronisation model", report.timing)
        click.echo("share of lag 0 (above 0: lips follow their sound)")
        for name, number in report.timing_differences.items():
            click.echo(f"  {name:84} {number}")
        if report.meta["judged_in_training"]:
            click.echo("  (this model also judged the lips in their training: another one says more)")
    for name, numbers in (lse or {}).items():
        click.echo(f"{name}: LSE-D {numbers['lse_d']:.3f}, LSE-C {numbers['lse_c']:.3f}")


def _table(title: str, rows: Mapping[str, Mapping[str, Number]]) -> None:
    width = max(len(name) for name in [title, *rows]) + 2
    names = list(next(iter(rows.values())))
    click.echo(f"{title:{width}}" + "".join(f"{name:28}" for name in names))
    for row, numbers in rows.items():
        click.echo(f"{row:{width}}" + "".join(f"{numbers[name]!s:28}" for name in names))
    click.echo("")
