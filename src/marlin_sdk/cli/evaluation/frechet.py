"""`marlin-sdk frechet`: how far two dumps, or two videos, are apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from marlin_sdk._version import __version__
from marlin_sdk.cli.options import CONTEXT, ends_with_status, output_options, set_up_logging
from marlin_sdk.cli.output import Console
from marlin_sdk.errors import ConfigError

if TYPE_CHECKING:
    from marlin_sdk.evaluation.frechet.sets import FeatureSet

__all__ = ["command"]

Advance = Callable[[str, int, int], None]
_PATH = click.Path(exists=True, path_type=Path)


@click.command("frechet", context_settings=CONTEXT)
@click.argument("a", type=_PATH)
@click.argument("b", type=_PATH)
@click.option(
    "--inception",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Your Inception weights: A and B are then videos, or folders of videos or images, and the distance is FID.",
)
@click.option("--every", type=click.IntRange(min=1), help="With --inception: use one of so many frames. Default: all.")
@click.option("--device", help="With --inception: cpu, cuda or cuda:N. Default: cuda where there is one.")
@click.option(
    "--group", metavar="COLUMN", help="Of dumps: label of what is drawn together. Default: group, else the source."
)
@click.option("--draws", type=int, default=200, show_default=True, help="Draws of groups for the interval.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Random seed of all draws.")
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for frechet.html, with the curve, and frechet.json.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the JSON instead of the table.")
@output_options
def command(
    a: Path,
    b: Path,
    inception: Path | None,
    every: int | None,
    device: str | None,
    group: str | None,
    draws: int,
    seed: int,
    output: Path | None,
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Tell how far two sets are apart, and whether there is enough of them to say so.

    A and B are dumps of marlin-extract, with the same weights and settings: the distance is that of their windows in
    MARLIN's space. With --inception they are videos or folders, and the distance is the FID of their frames.

    \b
    marlin-sdk frechet real/ fake/
    marlin-sdk frechet real.mp4 fake.mp4 --inception pt_inception-2015-12-05-6726825d.pth -o distance/

    Exit status: 0 success, 1 a file cannot be read, 2 invalid usage or sets that cannot be compared.
    """
    from marlin_sdk.batch.progress import escape_controls
    from marlin_sdk.cli.evaluation.staged_bar import staged_bar
    from marlin_sdk.evaluation.frechet.compare import frechet
    from marlin_sdk.evaluation.intervals import check_interval

    console = Console(quiet=quiet, debug=debug)
    set_up_logging(quiet=quiet)
    with ends_with_status(console, failed="frechet", interrupted="stopped by Ctrl-C; nothing was written"):
        check_interval("percentile", draws)  # before hours of decoding
        if inception is None and (every or device):
            raise ConfigError("--every and --device are for frames: give --inception too, or leave them out")
        if inception is not None and group:
            raise ConfigError("--group is a label of dumps; with --inception, each video is a group")
        with staged_bar(quiet=quiet) as advance:
            if inception is None:
                sets = _windows(a, b, group, advance)
            else:
                sets = _frames(a, b, inception, every or 1, device, advance)
            found = frechet(*sets, draws=draws, seed=seed, progress=advance)
        values = {"version": __version__, "inception": _identity(inception), **found.to_json()}
        if as_json:
            click.echo(json.dumps(values))
        elif not quiet:
            click.echo("\n".join(map(escape_controls, found.table().split("\n"))))
        if output is not None:
            from marlin_sdk.report.frechet import write_frechet

            console.note(f"{write_frechet(output, found, values)}: the page; {output / 'frechet.json'}: the numbers")


def _windows(a: Path, b: Path, group: str | None, advance: Advance) -> tuple[FeatureSet, FeatureSet]:
    from marlin_sdk.dump.reading import FeatureDump
    from marlin_sdk.evaluation.frechet.sets import read_dumps

    for path in (a, b):
        if not path.is_dir() and path.suffix not in (".parquet", ".tar"):
            raise ConfigError(f"{path} is no dump; to compare the frames of videos, give your --inception weights")
    return read_dumps(FeatureDump(a), FeatureDump(b), group=group, progress=advance)


def _frames(
    a: Path, b: Path, weights: Path, every: int, device: str | None, advance: Advance
) -> tuple[FeatureSet, FeatureSet]:
    from marlin_sdk.inception.features import inception_features
    from marlin_sdk.inception.network import load_inception

    network = load_inception(weights, device=device or "auto")
    sets = [inception_features(path, network, every=every, progress=advance) for path in (a, b)]
    return sets[0], sets[1]


def _identity(weights: Path | None) -> dict[str, Any] | None:
    if weights is None:
        return None
    from marlin_sdk.weights.identity import file_sha256

    return {"file": str(weights), "sha256": file_sha256(weights)}
