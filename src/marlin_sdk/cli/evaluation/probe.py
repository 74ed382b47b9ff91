"""`marlin-sdk probe`: what the features of a dump know of a label."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import click

from marlin_sdk.cli.options import CONTEXT, ends_with_status, output_options
from marlin_sdk.cli.output import Console
from marlin_sdk.evaluation.intervals import Interval, check_interval
from marlin_sdk.evaluation.probe.heads import HeadName
from marlin_sdk.evaluation.probe.samples import Pooling
from marlin_sdk.evaluation.probe.targets import Kind


def _ratios(context: click.Context, parameter: click.Parameter, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{text!r}; expected numbers such as .01,.1,1") from error


@click.command("probe", context_settings=CONTEXT)
@click.argument("dump", type=click.Path(exists=True, path_type=Path))
@click.option("--label", required=True, help="Label column of the table, or a pattern: 'appearance.*'.")
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("probe"),
    show_default=True,
    help="Folder for the results; a run that was stopped goes on there.",
)
@click.option("--kind", type=click.Choice(get_args(Kind)), help="Default: by the label's type.")
@click.option(
    "--classes",
    default="",
    callback=lambda _context, _parameter, text: tuple(part.strip() for part in text.split(",") if part.strip()),
    metavar="A,B,...",
    help="The classes to tell apart; videos of others are left out. Default: all.",
)
@click.option(
    "--head",
    type=click.Choice([name for name in get_args(HeadName) if name != "marlin"]),
    help="Default: logistic, or ridge for numbers.",
)
@click.option(
    "--protocol",
    type=click.Choice(["marlin"]),
    help="The linear probe of MARLIN's published code, with what is unsound in it.",
)
@click.option("--pooling", type=click.Choice(get_args(Pooling)), help="Of a video's windows. Default: mean.")
@click.option("--folds", type=int, help="Stratified folds by group, in place of the table's split.")
@click.option("--leave-one-group-out", is_flag=True, help="A fold for each group.")
@click.option(
    "--ratios", default="1", callback=_ratios, metavar="R,R,...", help="Shares of the training groups: .01,.1,.5,1."
)
@click.option("--seeds", type=int, default=5, show_default=True, help="Draws of each share below 1.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Random seed of the folds.")
@click.option(
    "--against",
    metavar="DUMP2",
    type=click.Path(exists=True, path_type=Path),
    help="Another dump of the same videos, such as an untrained encoder's, compared in pairs.",
)
@click.option("--draws", type=int, default=2000, show_default=True, help="Draws of groups for the intervals.")
@click.option(
    "--interval",
    type=click.Choice(get_args(Interval)),
    default="percentile",
    show_default=True,
    help="Kind of interval.",
)
@click.option("--jobs", type=click.IntRange(min=1), help="Processes. Default: all cores, one for little work.")
@click.option("--overwrite", is_flag=True, help="Discard what another probe has left in the folder.")
@output_options
def command(
    dump: Path, output: Path, against: Path | None, protocol: str | None, quiet: bool, debug: bool, **options: Any
) -> None:
    """Train a head on frozen features, and say what it is worth.

    DUMP is a folder that marlin-extract has written from a --table with labels. The head is fitted on the training
    part, and judged on the test part, beside a constant, shuffled labels, and the metadata of the files. The folder
    then holds predictions.parquet, results.json, the head, a card (README.md) and report.html.

    \b
    marlin-sdk probe features/ --label emotion -o probe/
    marlin-sdk probe features/ --label 'appearance.*' --folds 5 --ratios .01,.1,.5,1 --against untrained/
    """
    from marlin_sdk.batch.progress import escape_controls
    from marlin_sdk.cli.evaluation.staged_bar import staged_bar
    from marlin_sdk.dump.reading import FeatureDump
    from marlin_sdk.evaluation.probe.card import write_card
    from marlin_sdk.evaluation.probe.outcome import measure_probe, write_results
    from marlin_sdk.evaluation.probe.run import ProbeSettings, run_probe
    from marlin_sdk.report.probe import strips_of, write_probe_page

    if protocol is not None:
        if options["head"] or options["pooling"] not in (None, "mean"):
            raise click.UsageError("--protocol marlin decides head and pooling; give neither")
        options["head"] = protocol
    draws, interval = options.pop("draws"), options.pop("interval")
    jobs, overwrite = options.pop("jobs"), options.pop("overwrite")
    console = Console(quiet=quiet, debug=debug)
    stopped = "stopped by Ctrl-C; what is finished is kept, and the same command goes on from there"
    with ends_with_status(console, failed="the probe", interrupted=stopped), staged_bar(quiet=quiet) as advance:
        check_interval(interval, draws)
        opened = FeatureDump(dump)
        probe = run_probe(
            opened,
            output,
            ProbeSettings(**options),
            against=FeatureDump(against) if against else None,
            overwrite=overwrite,
            jobs=jobs,
            advance=advance,
        )
        outcome = measure_probe(probe, draws=draws, interval=interval, advance=advance)
        write_results(outcome)
        write_card(outcome)
        page = write_probe_page(outcome, strips_of(opened), output / "report.html")
    if not quiet:
        for line in outcome.evaluations["features"].table().split("\n"):
            click.echo(escape_controls(line))  # labels of a table may hold anything
        for note in [*outcome.suspicions, *probe.notes]:
            console.note(f"note: {escape_controls(note)}")
        click.echo(f"{page}: the page; {output / 'README.md'}: the card", err=True)
