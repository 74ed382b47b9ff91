"""`marlin-sdk data`: the table of a public data set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from marlin_sdk.batch.progress import escape_controls
from marlin_sdk.cli.options import CONTEXT, ends_with_status, output_options
from marlin_sdk.cli.output import Console
from marlin_sdk.datasets.catalogue import DATA_SETS, Option, data_set
from marlin_sdk.errors import ConfigError

if TYPE_CHECKING:
    from marlin_sdk.datasets.table import Table

__all__ = ["command"]


@click.command("data", context_settings=CONTEXT)
@click.argument("name", required=False)
@click.argument("root", required=False, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="CSV to write; an existing one is replaced.",
)
@click.option("--task", help="Labels to read: celebv-hq, grid.")
@click.option("--fold", help="Fold that is the test part: crema-d, dfew, mafw, ravdess.")
@click.option("--compression", help="Of the videos: faceforensics.")
@click.option("--methods", help="Manipulations, with commas between them: faceforensics.")
@click.option("--modality", help="With or without sound: ravdess.")
@click.option("--view", help="Side from which faces are filmed: mead.")
@click.option("--part", help="Lists to read: lrs2.")
@click.option("--group", help="What must not straddle splits: grid.")
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Of the split of a data set without an official one."
)
@click.option(
    "--check", "checks", is_flag=True, help="Open each video, leave out what cannot be used, and count labels by split."
)
@output_options
def command(
    name: str | None,
    root: Path | None,
    output: Path | None,
    seed: int,
    checks: bool,
    quiet: bool,
    debug: bool,
    **options: str | None,
) -> None:
    """Write the clips of an unpacked data set as a table for marlin-extract --table.

    Without NAME, lists the data sets. With NAME alone, says what its folder must look like, and its options. With its
    folder ROOT, writes a CSV with a row for each clip: file, id, times, labels, split and group.

    \b
    marlin-sdk data
    marlin-sdk data celeb-df
    marlin-sdk data celeb-df /data/Celeb-DF-v2 -o clips.csv --check
    marlin-extract --table clips.csv -o features/

    Exit status: 0 success, 1 the table cannot be written, 2 invalid usage, or a folder that is not that data set.
    """
    console = Console(quiet=quiet, debug=debug)
    with ends_with_status(console, interrupted="stopped by Ctrl-C; nothing was written"):
        if name is None:
            click.echo("\n".join(_catalogue()))
            return
        if root is None:
            click.echo("\n".join(_facts(name)))
            return
        if output is None:
            raise ConfigError("-o FILE is missing; expected the CSV to write")
        table = _read(name, root, seed, {key: value for key, value in options.items() if value}, console, checks)
        table.write(output)
        splits = ", ".join(f"{split or 'none'} {count:,}" for split, count in table.splits.items())
        console.note(f"{output}: {len(table.clips):,} clips; split by {table.split_by}: {splits}")
        if checks and not quiet:
            click.echo("\n".join(map(escape_controls, _counts(table))))


def _read(name: str, root: Path, seed: int, options: dict[str, str], console: Console, checks: bool) -> Table:
    from marlin_sdk.datasets.reading import read

    table = read(name, root, seed=seed, **options)
    if checks:
        table = _checked(table, console)
    for sentence in table.left_out():
        console.warn(sentence)
    for note in table.notes:
        console.note(note)
    return table


def _checked(table: Table, console: Console) -> Table:
    from tqdm.auto import tqdm

    from marlin_sdk.datasets.checking import check
    from marlin_sdk.video.reader import open_video

    def duration_of(path: Path) -> float | None:
        with open_video(path) as video:
            return video.duration_s

    files = len({clip.path for clip in table.clips})
    with tqdm(total=files, unit="file", disable=not console.bars, leave=False) as bar:
        return check(table, duration_of, on_file=bar.update)


def _catalogue() -> Iterator[str]:
    width = max(map(len, DATA_SETS))
    for name, entry in DATA_SETS.items():
        yield f"{name:{width}}  {entry.title}: {entry.labels}"
        yield f"{'':{width}}  licence: {entry.licence}; ask: {entry.source}"


def _facts(name: str) -> Iterator[str]:
    entry = data_set(name)
    yield f"{entry.title}: {entry.labels}"
    yield f"licence: {entry.licence}; ask: {entry.source}"
    yield f"expected in its folder: {entry.expected}"
    for key, option in entry.options.items():
        yield f"--{key}  {_values(option)}"
    yield ""
    yield f"marlin-sdk data {name} FOLDER -o clips.csv"


def _values(option: Option) -> str:
    values = ", ".join(option.values)
    return f"{'some' if option.several else 'one'} of {values}  [default: {option.default}]"


def _counts(table: Table) -> Iterator[str]:
    from marlin_sdk.datasets.checking import count

    groups = {split: len({clip.group for clip in table.clips if clip.split == split} - {""}) for split in table.splits}
    cells = [
        ["", "", *(split or "none" for split in table.splits)],
        ["clips", "", *map(str, table.splits.values())],
        ["groups", "", *map(str, groups.values())],
        *([line.label, line.value, *map(str, line.clips)] for line in count(table)),
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for label, value, *numbers in cells:
        right = (f"{number:>{width}}" for number, width in zip(numbers, widths[2:], strict=True))
        yield "  ".join([f"{label:{widths[0]}}", f"{value:{widths[1]}}", *right]).rstrip()
