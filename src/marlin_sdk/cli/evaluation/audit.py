"""`marlin-sdk audit`: where finding faces, features and a head lose, and for whom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from marlin_sdk.cli.options import CONTEXT, ends_with_status, output_options, set_up_logging
from marlin_sdk.cli.output import Console
from marlin_sdk.config import DEFAULT_MODEL, PRESETS
from marlin_sdk.errors import ConfigError

if TYPE_CHECKING:
    from marlin_sdk.evaluation.audit.by_group import DumpAudit
    from marlin_sdk.stress.results import StressTest

__all__ = ["command"]

Advance = Callable[[str, int, int], None]
_FOLDER = click.Path(exists=True, path_type=Path)


@click.command("audit", context_settings=CONTEXT)
@click.argument("videos", nargs=-1)
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("audit"),
    show_default=True,
    help="Folder for audit.html and audit.json.",
)
@click.option("--model", help=f"{', '.join(PRESETS)}, or a path. Default: that of --head, without one {DEFAULT_MODEL}.")
@click.option("--untrained", is_flag=True, help="Random weights of the model's size, for a trial without a download.")
@click.option("--detector", help="As for marlin-extract. Default: that of --head, without one yunet.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--offline", is_flag=True, help="Do not download weights; use local ones only.")
@click.option("--seconds", type=float, default=10.0, show_default=True, help="How much of each video is spoilt.")
@click.option(
    "--only", multiple=True, metavar="NAME", help="Only this perturbation: gamma, blur, 'crop offset'; repeatable."
)
@click.option("--head", metavar="DIR", type=_FOLDER, help="Output of a probe, whose scores are compared too.")
@click.option("--dump", metavar="DIR", type=_FOLDER, help="A dump with labels, to be divided by --by.")
@click.option("--predictions", metavar="FILE", type=_FOLDER, help="Predictions of a head for videos of the dump.")
@click.option("--by", multiple=True, metavar="COLUMN", help="A label column of the dump; repeatable, at most three.")
@click.option("--skin", is_flag=True, help="Measure the apparent skin tone of the dump's sources, if still there.")
@click.option("--draws", type=int, default=2000, show_default=True, help="Draws of subjects for the intervals.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Random seed of draws and folds."
)
@output_options
def command(
    videos: tuple[str, ...],
    output: Path,
    model: str | None,
    untrained: bool,
    detector: str | None,
    device: str,
    offline: bool,
    seconds: float,
    only: tuple[str, ...],
    head: Path | None,
    dump: Path | None,
    predictions: Path | None,
    by: tuple[str, ...],
    skin: bool,
    draws: int,
    seed: int,
    quiet: bool,
    debug: bool,
) -> None:
    """Show where finding faces, features and a head lose, and for whom.

    VIDEOS (files, folders) are spoilt in eight ways, each more and more, and compared with themselves. A --dump is
    divided by your own columns: faces found, and with --predictions the errors of a head. Each part can be had alone.

    \b
    marlin-sdk audit videos/ -o audit/ --head probe/
    marlin-sdk audit --dump features/ --predictions probe/predictions.parquet --by sex --by age

    Exit status: 0 success, 1 nothing could be measured, 2 invalid usage or settings.
    """
    from marlin_sdk.cli.evaluation.staged_bar import staged_bar

    console = Console(quiet=quiet, debug=debug)
    set_up_logging(quiet=quiet)
    with ends_with_status(console, failed="audit", interrupted="stopped by Ctrl-C; nothing was written"):
        _check(videos, head, dump, predictions, by, skin)
        _check_names(only)
        if head is not None and untrained:
            raise ConfigError("--head knows its weights, untrained ones too; give it without --untrained")
        with staged_bar(quiet=quiet) as advance:
            divided = stress = None
            if dump is not None:
                divided = _divide(dump, by, predictions, skin=skin, draws=draws, seed=seed, advance=advance)
            if videos:
                options = {"device": device, "local_files_only": offline}
                if head is None:
                    subject = _load(model or DEFAULT_MODEL, untrained, detector=detector or "yunet", **options)
                else:
                    subject = _with_head(head, model=model, detector=detector, **options)
                stress = _stress(subject, videos, only, seconds, advance)
        from marlin_sdk.report.audit import write_audit

        page = write_audit(output, stress=stress, dump=divided)
        for name, reason in stress.left_out if stress else ():
            console.warn(f"left out: {name}: {reason}")
        console.note(f"{page}: the page; {output / 'audit.json'}: the numbers")


def _check(
    videos: Sequence[str],
    head: Path | None,
    dump: Path | None,
    predictions: Path | None,
    by: Sequence[str],
    skin: bool,
) -> None:
    if dump is None and (by or predictions or skin):
        raise ConfigError("--by, --predictions and --skin divide a dump: give --dump too")
    if not videos and dump is None:
        raise ConfigError("nothing to audit: give VIDEOS for a stress test, or --dump and --by")
    if dump is not None and not by:
        raise ConfigError("--dump is divided by label columns: give --by, such as --by sex --by age")
    if head is not None and not videos:
        raise ConfigError("--head is compared on spoilt VIDEOS: give some; for a dump, give its --predictions")


def _check_names(only: Sequence[str]) -> None:
    from marlin_sdk.stress.perturbations import PERTURBATIONS

    known = [way.name for way in PERTURBATIONS]
    if unknown := sorted(set(only) - set(known)):
        raise ConfigError(f"--only {unknown[0]!r} is no perturbation; expected one of {', '.join(known)}")


def _divide(
    folder: Path,
    by: Sequence[str],
    predictions: Path | None,
    *,
    skin: bool,
    draws: int,
    seed: int,
    advance: Advance,
) -> DumpAudit:
    from marlin_sdk.dump.reading import FeatureDump
    from marlin_sdk.evaluation.audit.by_group import audit_dump
    from marlin_sdk.evaluation.audit.cells import read_videos
    from marlin_sdk.evaluation.predictions import read_predictions

    dump = FeatureDump(folder)
    read_videos(dump, by)  # refuses a column before hours are spent on others
    tones = None
    if skin:
        from marlin_sdk.stress.appearance import dump_tones

        tones = dump_tones(dump, progress=lambda *n: advance("apparent skin tone", *n))
    scored = read_predictions(predictions) if predictions else None
    return audit_dump(dump, by, predictions=scored, tones=tones, draws=draws, seed=seed, advance=advance)


def _load(model: str, untrained: bool, **options: Any) -> dict[str, Any]:
    """What is tested, as arguments of `stress_test`: a model."""
    from marlin_sdk.marlin import Marlin

    return {"model": Marlin.untrained(model, **options) if untrained else Marlin.from_pretrained(model, **options)}


def _with_head(folder: Path, **options: Any) -> dict[str, Any]:
    """The same for a head, with the model and the settings that it was fitted on."""
    from marlin_sdk.prediction.predictor import Predictor

    predictor = Predictor.from_head(folder, **options)
    return {"model": predictor.model, "heads": predictor.heads, "settings": predictor.settings}


def _stress(
    subject: dict[str, Any], videos: Sequence[str], only: Sequence[str], seconds: float, advance: Advance
) -> StressTest:
    from marlin_sdk.stress.perturbations import PERTURBATIONS
    from marlin_sdk.stress.run import stress_test

    chosen = [way for way in PERTURBATIONS if not only or way.name in only]
    return stress_test(**subject, videos=_expand(videos), seconds=seconds, perturbations=chosen, advance=advance)


def _expand(videos: Sequence[str]) -> list[str]:
    """The videos of folders; a folder without one is read as images."""
    from marlin_sdk.video.folders import videos_below

    found: list[str] = []
    for name in videos:
        below = list(videos_below(name)) if Path(name).is_dir() else []
        found += below or [name]
    return found
