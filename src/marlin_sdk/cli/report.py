"""`marlin-sdk report`: show a folder of features as one HTML page."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from marlin_sdk.errors import ConfigError, MarlinError


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="HTML file to write; an existing one is replaced.",
)
@click.option("--first", type=int, default=100, show_default=True, help="Videos shown from the start of the manifest.")
@click.option("--sample", type=int, default=100, show_default=True, help="Videos drawn at random from the rest.")
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed of the sample.")
@click.option("--crops", type=int, default=8, show_default=True, help="Face crops per video; 0 opens no source video.")
@click.option("-q", "--quiet", is_flag=True, help="Print only failures.")
def main(folder: Path, output: Path, first: int, sample: int, seed: int, crops: int, quiet: bool) -> None:
    """Show a folder of features as one HTML page.

    DIR is a folder written by marlin-extract. The page shows the number of videos and windows, failures and their
    reasons, and throughput; and for the first hundred videos and a random sample of a hundred more, faces, timeline,
    self-similarity and a map of their windows. It is self-contained, and has about 4 MB however large the folder is.

    \b
    marlin-sdk report features/
    marlin-sdk report features/ -o report.html --first 20 --sample 0
    """
    from tqdm.auto import tqdm

    from marlin_sdk.report.page import ReportOptions, write_report

    try:
        options = ReportOptions(first=first, sample=sample, seed=seed, crops=crops)
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    shows = sys.stderr.isatty() and not quiet
    with tqdm(total=0, unit="video", disable=not shows, leave=False) as bar:

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        try:
            shown = write_report(folder, output, options, progress=advance)
        except MarlinError as error:
            bar.close()
            click.echo(click.style(f"failed: {error} ({type(error).__name__})", fg="red"), err=True)
            sys.exit(1)
    if not quiet:
        size_mb = output.stat().st_size / 1e6
        click.echo(f"{output}: {shown:,} videos in detail, {size_mb:.1f} MB", err=True)
