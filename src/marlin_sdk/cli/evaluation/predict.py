"""`marlin-sdk predict`: a fitted head on new videos."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from marlin_sdk.cli.options import CONTEXT, ends_with_status, output_options, set_up_logging
from marlin_sdk.cli.output import UNTRAINED, Console, check_stdout, print_json
from marlin_sdk.errors import ConfigError, WeightsError

if TYPE_CHECKING:
    from marlin_sdk.inputs.videos import VideoInput
    from marlin_sdk.prediction.predictor import Predictor
    from marlin_sdk.prediction.result import LabelPrediction, VideoPrediction

    Output = Callable[[VideoInput, VideoPrediction], None]

__all__ = ["command"]

_MAX_NAME = 40  # characters of a video's name in the table


@click.command("predict", context_settings=CONTEXT)
@click.argument("videos", metavar="VIDEO...", nargs=-1, required=True)
@click.option("--head", metavar="DIR", required=True, help="Output of marlin-sdk probe.")
@click.option(
    "-o",
    "--output",
    "outputs",
    metavar="FILE",
    multiple=True,
    help="Repeatable: .json or .csv of all videos, .mp4, .mkv or .mov of one, a folder of films; - prints JSON lines.",
)
@click.option("--label", "labels", metavar="NAME", multiple=True, help="Only this label, or pattern; repeatable.")
@click.option("--windows", is_flag=True, help="Print each window too.")
@click.option("--model", help="As for marlin-extract, such as a local copy. Default: the one that the head names.")
@click.option("--detector", help="As for marlin-extract. Default: the one that the head names.")
@click.option(
    "--calibrate",
    "calibration",
    metavar="VIDEO",
    multiple=True,
    help="Video that the int8 model of the head's dump was calibrated with, repeatable.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--cache-dir", metavar="DIR", help="Folder of downloaded weights.")
@click.option("--offline", is_flag=True, help="Do not download weights; use local ones only.")
@output_options
def command(
    videos: tuple[str, ...],
    head: str,
    outputs: tuple[str, ...],
    windows: bool,
    offline: bool,
    quiet: bool,
    debug: bool,
    **options: Any,
) -> None:
    """Predict the labels of videos with a head that marlin-sdk probe has fitted.

    Model, detector and settings are those of the dump that the head was fitted on; a model that gives other features is
    refused. VIDEO is a video file, a URL, a folder of videos, or a quoted pattern.

    \b
    marlin-sdk predict talk.mp4 --head probe/
    marlin-sdk predict videos/ --head probe/ -o scores.csv
    marlin-sdk predict talk.mp4 --head probe/ -o talk.json -o film.mp4

    Exit status: 0 success, 1 some videos failed, 2 invalid usage or settings, 130 stopped by Ctrl-C.
    """
    console = Console(quiet=quiet, debug=debug)
    set_up_logging(quiet=quiet)
    with ends_with_status(console, interrupted="stopped by Ctrl-C; only finished films were written"):
        from marlin_sdk.inputs.videos import find_videos
        from marlin_sdk.prediction.predictor import Predictor

        found = find_videos(videos)
        if "-" in outputs:
            check_stdout()
        _check_outputs(outputs, found)
        predictor = Predictor.from_head(head, local_files_only=offline, **options)
        if predictor.model.is_untrained:
            console.note(UNTRAINED)
        with ExitStack() as stack:
            writers = [stack.enter_context(_output(name, predictor, console)) for name in outputs]
            if "-" not in outputs and not quiet:
                writers.append(_Table(found, predictor, windows=windows).print)
            failed = _predict(predictor, found, writers, console)
    if failed:
        sys.exit(1)


def _check_outputs(outputs: Sequence[str], videos: Sequence[VideoInput]) -> None:
    """Check that the outputs can be told apart, suffice, and overwrite no video."""
    from marlin_sdk.video.writer import WRITABLE_SUFFIXES

    paths = [Path(name).resolve() for name in outputs]
    if len(set(paths)) < len(paths):
        raise ConfigError(f"two outputs are the same file: {', '.join(outputs)}")
    sources = {Path(video.source).resolve() for video in videos}
    for name, path in zip(outputs, paths, strict=True):
        if path in sources and not path.is_dir():
            raise ConfigError(f"{name} is one of the videos; choose another output")
        if path.suffix.lower() in WRITABLE_SUFFIXES and len(videos) > 1:
            raise ConfigError(f"{name} is the film of one video, and there are {len(videos)}; name a folder")
        if path.suffix and path.suffix.lower() not in (".json", ".csv", *WRITABLE_SUFFIXES) and not path.is_dir():
            raise ConfigError(f"{name} is none of .json, .csv, {', '.join(sorted(WRITABLE_SUFFIXES))}, or a folder")


@contextmanager
def _output(name: str, predictor: Predictor, console: Console) -> Iterator[Output]:
    """What writes to one of the outputs."""
    from marlin_sdk.prediction.files import csv_file, json_file
    from marlin_sdk.prediction.film import MAX_LABELS, write_film

    path = Path(name)
    if name == "-":
        yield lambda video, prediction: print_json({"id": video.id, **prediction.to_dict()})
    elif path.suffix.lower() in (".json", ".csv"):
        is_csv = path.suffix.lower() == ".csv"
        with csv_file(path, predictor.heads) if is_csv else json_file(path) as write:
            yield lambda video, prediction: write(video.id, prediction)
    else:
        labels = list(predictor.heads.heads)
        if len(labels) > MAX_LABELS:
            shown = ", ".join(labels[:MAX_LABELS])
            console.note(f"a film shows {MAX_LABELS} of {len(labels)} labels: {shown}; choose others with --label")

        def film(video: VideoInput, prediction: VideoPrediction) -> None:
            target = path if path.suffix and not path.is_dir() else path / f"{video.id}.mp4"
            target.parent.mkdir(parents=True, exist_ok=True)
            write_film(video.source, prediction, target, source_fps=predictor.settings.source_fps)

        yield film


def _predict(predictor: Predictor, videos: Sequence[VideoInput], writers: Sequence[Output], console: Console) -> int:
    """Predict the videos one after another; return the number that failed."""
    from marlin_sdk.video.reader import display_name

    failed = 0
    for video in videos:
        try:
            prediction = predictor.predict(video.source, progress=console.bars)
            for write in writers:
                write(video, prediction)
        except (BrokenPipeError, WeightsError):
            raise  # nobody reads on; or of the model or its detector: every video would fail
        except Exception as error:  # one bad video must not stop the others
            failed += 1
            console.failure(display_name(video.source), error)
            continue
        for warning in prediction.features.warnings:
            console.note(f"warning: {display_name(video.source)}: {warning}")
        if skipped := prediction.features.skipped:
            reason = skipped[0].reason
            console.note(f"{display_name(video.source)}: {len(skipped)} windows skipped (the first: {reason})")
    console.note(f"{len(videos) - failed} of {len(videos)} videos done, {failed} failed")
    return failed


class _Table:
    """Predictions as lines of aligned columns, printed as they come."""

    def __init__(self, videos: Sequence[VideoInput], predictor: Predictor, *, windows: bool) -> None:
        heads = predictor.heads.heads
        values = [name for head in heads.values() for name in head.classes]
        self._widths = [
            min(_MAX_NAME, max(len("0000.00 - 0000.00 s") + 2, *(len(video.id) for video in videos))),
            max(len("label"), *(len(label) for label in heads)),
            max(len("predicted"), *(len(value) for value in values), 0),
            len("probability"),
        ]
        self._windows, self._started = windows, False

    def print(self, video: VideoInput, prediction: VideoPrediction) -> None:
        """Print the lines of a video, of its faces if there are several, and of its windows if asked for."""
        if not self._started:
            self._line("video", "label", "predicted", "probability", "windows")
            self._started = True
        self._labels(video.id, prediction.labels.items(), len(prediction.timeline))
        for track, labels in prediction.tracks.items() if len(prediction.tracks) > 1 else ():
            count = sum(window.track_id == track for window in prediction.timeline)
            self._labels(f"  face {track}", labels.items(), count)
        for window in prediction.timeline if self._windows else ():
            self._labels(f"  {window.start_s:.2f} - {window.end_s:.2f} s", window.labels.items(), prediction.context)

    def _labels(self, name: str, labels: Any, windows: int) -> None:
        for label, said in labels:
            self._line(name, label, _value(said), _probability(said), str(windows))
            name = ""

    def _line(self, *cells: str) -> None:
        name = cells[0] if len(cells[0]) <= self._widths[0] else f"...{cells[0][3 - self._widths[0] :]}"
        padded = [cell.ljust(width) for cell, width in zip((name, *cells[1:]), self._widths, strict=False)]
        click.echo("  ".join([*padded, *cells[len(padded) :]]))


def _value(said: LabelPrediction) -> str:
    return said.value if isinstance(said.value, str) else f"{said.value:.4g}"


def _probability(said: LabelPrediction) -> str:
    return "" if said.probability is None else f"{said.probability:.3f}"
