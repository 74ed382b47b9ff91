"""`marlin-extract`: videos in, one file of features for each out."""

from __future__ import annotations

import json
import logging
import math
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from marlin_sdk._version import __version__
from marlin_sdk.config import PRESETS, Faces, Reduction, Tail
from marlin_sdk.errors import ConfigError, DownloadError, FeatureFileError, MarlinError

if TYPE_CHECKING:
    from marlin_sdk.batch.inputs import VideoInput
    from marlin_sdk.pipeline import Marlin

_CROP_FACE = {"auto": "auto", "yes": True, "no": False}


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True)
@click.option("-o", "--output", metavar="DIR", required=True, help="Folder for the features; - prints JSON lines.")
@click.option(
    "--model",
    default="marlin_vit_base_ytf",
    show_default=True,
    help=f"{', '.join(PRESETS)}, a Hub repo, a folder or a checkpoint file.",
)
@click.option(
    "--untrained", is_flag=True, help="Random weights of the model's size: no download, features without meaning."
)
@click.option(
    "--format",
    "suffix",
    type=click.Choice(["npz", "npy", "safetensors"]),
    default="npz",
    show_default=True,
    help="File format.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--dtype", default="float32", show_default=True, help="float32, bfloat16 or float16.")
@click.option(
    "--detector",
    default="yunet",
    show_default=True,
    help="yunet, lbp (no download), sfd, blazeface, retinaface, scrfd, or a YuNet .onnx file.",
)
@click.option(
    "--crop-face",
    type=click.Choice(list(_CROP_FACE)),
    default="auto",
    show_default=True,
    help="auto: unless the video is 224x224 already.",
)
@click.option(
    "--faces",
    type=click.Choice(get_args(Faces)),
    default="largest",
    show_default=True,
    help="The most prominent face of each window, or a row for each.",
)
@click.option(
    "--sample-rate", type=int, default=2, show_default=True, help="Source frames from one step of a clip to the next."
)
@click.option("--fps", type=float, help="Steps a second, by time, instead of --sample-rate.")
@click.option("--stride", type=int, default=16, show_default=True, help="Steps from one window to the next.")
@click.option(
    "--tail",
    type=click.Choice(get_args(Tail)),
    default="pad",
    show_default=True,
    help="Keep the last partial window, or drop it.",
)
@click.option(
    "--detect-every",
    type=int,
    default=4,
    show_default=True,
    help="Look for faces on every k-th step; track in between.",
)
@click.option("--smooth/--no-smooth", default=True, show_default=True, help="Median-smooth the boxes of a track.")
@click.option(
    "--reduction",
    type=click.Choice(get_args(Reduction)),
    default="none",
    show_default=True,
    help="One vector for the whole video.",
)
@click.option("--keep-seq", is_flag=True, help="Keep the 1568 tokens of each window.")
@click.option("--batch-size", type=int, default=8, show_default=True, help="Clips embedded at once.")
@click.option("--compat", type=click.Choice(["marlin_pytorch"]), help="Windows, boxes and rounding of that package.")
@click.option("--source-fps", type=float, help="Frame rate of a folder of images.")
@click.option("--cache-dir", metavar="DIR", help="Where downloads lie.")
@click.option("--offline", is_flag=True, help="Touch no network.")
@click.option("-q", "--quiet", is_flag=True, help="Print failures only.")
@click.option("--debug", is_flag=True, help="Show the traceback of a failure.")
@click.version_option(__version__, prog_name="marlin-extract")
def main(
    inputs: tuple[str, ...],
    output: str,
    model: str,
    untrained: bool,
    suffix: str,
    device: str,
    dtype: str,
    detector: str,
    crop_face: str,
    cache_dir: str | None,
    offline: bool,
    quiet: bool,
    debug: bool,
    **settings: Any,
) -> None:
    """Turn face videos into MARLIN embeddings.

    INPUT is a video file, a URL, a folder of videos or a folder of frames. Each video becomes one file under the output
    folder, with a row for every 16-frame window: its feature, times, boxes and scores.

    \b
    marlin-extract talk.mp4 -o features/
    marlin-extract videos/ -o features/ --model marlin_vit_small_ytf --device cuda
    marlin-extract talk.mp4 -o - | jq .start_s

    Exit status: 0 all done, 1 some failed, 2 the command cannot be used as it stands.
    """
    settings["crop_face"] = _CROP_FACE[crop_face]
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    try:
        _check_settings(settings)
        folder = None if output == "-" else _output_folder(Path(output))
    except MarlinError as error:
        raise click.UsageError(str(error)) from error
    say = _Speaker(quiet=quiet, debug=debug)
    try:
        network = _load(
            model, untrained, device=device, dtype=dtype, detector=detector, cache_dir=cache_dir, offline=offline
        )
        if untrained:
            say.note("untrained weights (seed 0): these features mean nothing")
        failed = _run(network, inputs, folder, suffix, settings, say)
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    except MarlinError as error:
        say.failure("stopped", error)
        failed = 1
    except KeyboardInterrupt:
        say.failure("stopped by Ctrl-C; finished files are whole", None)
        sys.exit(130)
    sys.exit(1 if failed else 0)


def _check_settings(settings: dict[str, Any]) -> None:
    from marlin_sdk.config import ExtractionConfig

    ExtractionConfig(**settings)


def _output_folder(folder: Path) -> Path:
    from marlin_sdk.atomic import atomic_path

    try:
        with atomic_path(folder / ".writable"):
            pass
        (folder / ".writable").unlink()
    except OSError as error:
        raise FeatureFileError(f"cannot write to {folder}: {error.strerror}; choose another -o") from error
    return folder


def _load(
    model: str, untrained: bool, *, device: str, dtype: str, detector: str, cache_dir: str | None, offline: bool
) -> Marlin:
    from marlin_sdk.pipeline import Marlin

    if untrained:
        return Marlin.untrained(model, device=device, dtype=dtype, detector=detector)
    return Marlin.from_pretrained(
        model, device=device, dtype=dtype, detector=detector, cache_dir=cache_dir, local_files_only=offline
    )


def _run(
    model: Marlin, inputs: tuple[str, ...], folder: Path | None, suffix: str, settings: dict[str, Any], say: _Speaker
) -> int:
    """Embed every video; the number that failed."""
    from tqdm.auto import tqdm

    from marlin_sdk.batch.inputs import find_videos

    videos = find_videos(inputs)
    failed = rows = skipped = 0
    started_s = time.perf_counter()
    bar = tqdm(videos, unit="video", disable=not say.bars, position=0)
    for video in bar:
        try:
            if folder is None:
                rows += _print_rows(model, video, settings)
                continue
            result = model.extract(video.source, progress=say.bars, **settings)
            path = result.save(folder / f"{video.name}.{suffix}")
        except (FeatureFileError, DownloadError, ConfigError):
            raise  # it would fail for every other video too
        except Exception as error:  # one bad video must not cost the others
            failed += 1
            say.failure(video.source, error)
            continue
        rows += len(result)
        skipped += len(result.skipped)
        for warning in result.warnings:
            say.note(f"warning: {video.source}: {warning}")
        say.note(f"{video.source} -> {path}  {tuple(result.features.shape)}, {len(result.skipped)} windows skipped")
    bar.close()
    say.note(
        f"{len(videos) - failed} of {len(videos)} videos done: {rows} rows, {skipped} windows skipped, "
        f"{failed} failed, {time.perf_counter() - started_s:.1f} s"
    )
    return failed


def _print_rows(model: Marlin, video: VideoInput, settings: dict[str, Any]) -> int:
    """Print a video's rows as JSON lines, each as soon as it is there; how many."""
    common = {"source": video.source, "model": model.name, "untrained": model.is_untrained}
    if settings["reduction"] != "none":
        result = model.extract(video.source, **settings)
        _print_json({**common, "rows": len(result), "feature": result.features.tolist()})
        return len(result)
    count = 0
    for row in model.stream(video.source, **settings):
        scores = [None if math.isnan(score) else round(score, 4) for score in row.face_score.tolist()]
        _print_json(
            {
                **common,
                "start_s": row.start_s,
                "end_s": row.end_s,
                "track_id": row.track_id,
                "frame_index": row.frame_index.tolist(),
                "frame_valid": row.frame_valid.tolist(),
                "boxes": row.boxes.tolist(),
                "face_score": scores,
                "feature": row.feature.tolist(),
            }
        )
        count += 1
    return count


def _print_json(line: dict[str, Any]) -> None:
    click.echo(json.dumps(line))
    sys.stdout.flush()


class _Speaker:
    """What a person sees on stderr, above the progress bars."""

    def __init__(self, *, quiet: bool, debug: bool) -> None:
        self._quiet = quiet
        self._debug = debug
        self.bars = sys.stderr.isatty() and not quiet

    def note(self, text: str) -> None:
        if not self._quiet:
            self._write(text)

    def failure(self, what: str, error: Exception | None) -> None:
        self._write(click.style(f"failed: {what}" if error is None else f"failed: {what}: {_reason(error)}", fg="red"))
        if self._debug and error is not None:
            self._write("".join(traceback.format_exception(error)))

    def _write(self, text: str) -> None:
        from tqdm.auto import tqdm

        with tqdm.external_write_mode(file=sys.stderr):
            click.echo(text, err=True)


def _reason(error: Exception) -> str:
    known = isinstance(error, MarlinError)
    return f"{error} ({type(error).__name__})" if known else f"unexpected {error!r}; --debug shows where"
