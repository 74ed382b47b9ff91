"""`marlin-sdk evaluate`: score a file of predictions, of any model."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from marlin_sdk._version import __version__
from marlin_sdk.errors import ConfigError, MarlinError

if TYPE_CHECKING:
    from marlin_sdk.evaluation.intervals import Interval
    from marlin_sdk.evaluation.results import Evaluation, Level

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("predictions", type=_FILE)
@click.argument("other", type=_FILE, required=False)
@click.option(
    "--metric",
    "metrics",
    metavar="NAME",
    multiple=True,
    help="Metric to compute, such as auc, uar or ccc; repeat for several. All that the task has by default.",
)
@click.option(
    "--level",
    "levels",
    type=click.Choice(["video", "window"]),
    multiple=True,
    help="Average the scores over the windows of a video, or not. Both by default, if there are windows.",
)
@click.option("--draws", type=int, default=2000, show_default=True, help="Draws of groups for the intervals.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Random seed of the draws.")
@click.option(
    "--interval",
    type=click.Choice(["percentile", "bca"]),
    default="percentile",
    show_default=True,
    help="How intervals follow from the draws; bca corrects bias and skewness, and takes longer.",
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="JSON file to write, with the rows of single labels too; an existing one is replaced.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the JSON instead of the table.")
@click.option("-q", "--quiet", is_flag=True, help="Print only failures.")
def main(
    predictions: Path,
    other: Path | None,
    metrics: tuple[str, ...],
    levels: tuple[Level, ...],
    draws: int,
    seed: int,
    interval: Interval,
    output: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Score a file of predictions, of any model, with intervals.

    PREDICTIONS is a Parquet file with the columns id, y_true and score_..., and if it has them group, window, split,
    fold, seed, ratio and label. With OTHER, predictions for the same videos, both are compared. Intervals are of 95 %,
    by drawing groups with replacement.

    \b
    marlin-sdk evaluate predictions.parquet
    marlin-sdk evaluate mine.parquet theirs.parquet --metric auc -o results.json
    """
    from marlin_sdk.atomic import atomic_path
    from marlin_sdk.batch.progress import escape_controls

    try:
        evaluations = _evaluate(
            predictions, other, levels, quiet, metrics=metrics, draws=draws, seed=seed, interval=interval
        )
        files = {"predictions": str(predictions), "other": None if other is None else str(other)}
        found = {"version": __version__, **files, "evaluations": [one.to_json() for one in evaluations]}
        if output is not None:
            with atomic_path(output) as part:
                part.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    except (MarlinError, OSError) as error:
        text = escape_controls(f"failed: {error} ({type(error).__name__})")
        click.echo(click.style(text, fg="red"), err=True)
        sys.exit(1)
    if as_json:
        click.echo(json.dumps(found))
    elif not quiet:
        lines = "\n\n".join(one.table() for one in evaluations).split("\n")
        click.echo("\n".join(map(escape_controls, lines)))


def _evaluate(
    predictions: Path,
    other: Path | None,
    levels: tuple[Level, ...],
    quiet: bool,
    *,
    interval: Interval,
    **settings: Any,
) -> list[Evaluation]:
    """The evaluation at each level."""
    from tqdm.auto import tqdm

    from marlin_sdk.evaluation.evaluate import evaluate
    from marlin_sdk.evaluation.levels import has_windows
    from marlin_sdk.evaluation.predictions import read_predictions

    sides = [read_predictions(path) for path in (predictions, other) if path is not None]
    if not levels:
        levels = ("video", "window") if has_windows(sides[0]) else ("video",)
    settings["metrics"] = settings["metrics"] or None
    evaluations = []
    with tqdm(total=0, unit="part", disable=not sys.stderr.isatty() or quiet, leave=False) as bar:

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        for level in levels:
            evaluations.append(evaluate(*sides, level=level, interval=interval, progress=advance, **settings))
    return evaluations
