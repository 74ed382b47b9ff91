"""`marlin-extract`: videos in, one file of features for each out."""

from __future__ import annotations

import errno
import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from marlin_sdk._version import __version__
from marlin_sdk.cli.output import Speaker, Stop, numbers, print_json
from marlin_sdk.config import PRESETS, Faces, Reduction, Tail
from marlin_sdk.errors import ConfigError, DownloadError, FeatureFileError, MissingExtraError, WeightsError

if TYPE_CHECKING:
    from marlin_sdk.batch.inputs import VideoInput
    from marlin_sdk.features import SkippedWindow
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
@click.option("--revision", help="Branch, tag or commit of a Hub repo.")
@click.option("--cache-dir", metavar="DIR", help="Where downloaded weights lie.")
@click.option("--offline", is_flag=True, help="Download no weights: use only those that are here.")
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
    revision: str | None,
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
    say = Speaker(quiet=quiet, debug=debug)
    logging.basicConfig(format="%(message)s", level=logging.ERROR if quiet else logging.WARNING)
    try:
        _check_settings(settings)
        folder = None if output == "-" else _output_folder(output)
        videos = _find_videos(inputs)
        network = _load(
            model,
            untrained,
            device=device,
            dtype=dtype,
            detector=detector,
            revision=revision,
            cache_dir=cache_dir,
            local_files_only=offline,
        )
        if untrained:
            say.note("untrained weights (seed 0): these features mean nothing")
        failed = _run(network, videos, folder, suffix, settings, say)
    except (ConfigError, WeightsError, MissingExtraError, FeatureFileError) as error:
        say.trace(error)
        raise click.UsageError(str(error)) from error
    except Stop as stop:
        say.failure("stopped", stop.reason)
        failed = 1
    except DownloadError as error:
        say.failure("stopped", error)
        failed = 1
    except KeyboardInterrupt:
        say.failure("stopped by Ctrl-C; finished files are whole", None)
        sys.exit(130)
    except BrokenPipeError:
        raise  # whoever read the lines has enough; click ends quietly
    except Exception as error:
        say.failure("stopped", error)
        failed = 1
    sys.exit(1 if failed else 0)


def _check_settings(settings: dict[str, Any]) -> None:
    from marlin_sdk.config import ExtractionConfig

    ExtractionConfig(**settings)


def _output_folder(name: str) -> Path:
    from marlin_sdk.atomic import atomic_path

    if not name:
        raise ConfigError("-o is empty; expected a folder, or - for JSON lines")
    probe = Path(name) / ".writable"
    try:
        with atomic_path(probe):
            pass
        probe.unlink()
    except OSError as error:
        raise FeatureFileError(f"cannot write to {name}: {error.strerror}; choose another -o") from error
    return Path(name)


def _find_videos(inputs: tuple[str, ...]) -> list[VideoInput]:
    from marlin_sdk.batch.inputs import find_videos

    return find_videos(inputs)


def _load(model: str, untrained: bool, *, revision: str | None, **options: Any) -> Marlin:
    from marlin_sdk.pipeline import Marlin

    if untrained:
        return Marlin.untrained(model, **options)
    return Marlin.from_pretrained(model, revision=revision, **options)


def _run(
    model: Marlin, videos: list[VideoInput], folder: Path | None, suffix: str, settings: dict[str, Any], say: Speaker
) -> int:
    """Embed every video, and sum up at the end, however it ends; the number of videos that failed."""
    from tqdm.auto import tqdm

    done = failed = rows = skipped = 0
    started_s = time.perf_counter()
    bar = tqdm(videos, unit="video", disable=not say.bars, position=0)
    try:
        for video in bar:
            try:
                if folder is None:
                    counts = _print_rows(model, video, settings, say)
                else:
                    counts = _save(model, video, folder / f"{video.name}.{suffix}", settings, say)
            except (BrokenPipeError, Stop, DownloadError, WeightsError, MissingExtraError):
                raise  # the detector, which is made when first needed, would fail for every other video too
            except Exception as error:  # one bad video must not cost the others
                failed += 1
                say.failure(video.source, error)
                if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.ENOSPC:
                    raise Stop(error) from error
                continue
            done, rows, skipped = done + 1, rows + counts[0], skipped + counts[1]
    finally:
        bar.close()
        left = len(videos) - done - failed
        say.note(
            f"{done} of {len(videos)} videos done: {rows} rows, {skipped} windows skipped, {failed} failed, "
            + f"{left} not done, " * bool(left)
            + f"{time.perf_counter() - started_s:.1f} s"
        )
    return failed


def _save(model: Marlin, video: VideoInput, path: Path, settings: dict[str, Any], say: Speaker) -> tuple[int, int]:
    """Write a video's file; the number of rows, and of windows skipped."""
    result = model.extract(video.source, progress=say.bars, **settings)
    result.save(path)
    for warning in result.warnings:
        say.note(f"warning: {video.source}: {warning}")
    say.note(f"{video.source} -> {path}  {tuple(result.features.shape)}, {len(result.skipped)} windows skipped")
    return len(result), len(result.skipped)


def _print_rows(model: Marlin, video: VideoInput, settings: dict[str, Any], say: Speaker) -> tuple[int, int]:
    """Print a video's rows as JSON lines, each as soon as it is there; the number of rows, and of windows skipped."""
    common = {"source": video.source, "model": model.name, "untrained": model.is_untrained}
    if settings["reduction"] != "none":
        result = model.extract(video.source, progress=say.bars, **settings)
        for warning in result.warnings:
            say.note(f"warning: {video.source}: {warning}")
        print_json({**common, "rows": len(result), "feature": numbers(result.features)})
        return len(result), len(result.skipped)
    skipped: list[SkippedWindow] = []
    count = 0
    for row in model.stream(video.source, on_skip=skipped.append, progress=say.bars, **settings):
        arrays = {name: numbers(value) for name, value in vars(row).items() if hasattr(value, "tolist")}
        print_json({**common, "start_s": row.start_s, "end_s": row.end_s, "track_id": row.track_id, **arrays})
        count += 1
    for window in skipped:
        say.note(f"skipped: {video.source}: {window.start_s:.2f} - {window.end_s:.2f} s: {window.reason}")
    return count, len(skipped)
