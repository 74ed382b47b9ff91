"""`marlin-extract`: turn videos into features, in a resumable folder."""

from __future__ import annotations

import sys
from typing import Any, get_args

import click

from marlin_sdk._version import __version__
from marlin_sdk.cli.output import Console, Stop, check_stdout, exit_at_once, open_missing_streams
from marlin_sdk.config import DEFAULT_MODEL, PRESETS, Faces, Pool, Reduction, Tail
from marlin_sdk.errors import ConfigError, MissingExtraError, WeightsError
from marlin_sdk.runtime import RuntimeName

_CROP_FACE: dict[str, Any] = {"auto": {}, "yes": {"crop_face": True}, "no": {"crop_face": False}}
_SETTINGS = (
    "faces", "sample_rate", "fps", "stride", "tail", "detect_every", "smooth", "identify",
    "reduction", "pool", "keep_seq", "batch_size",
    "compat", "source_fps",
)  # fmt: skip
_RECIPE = ("model", "untrained", "detector", "recogniser", "dtype", "runtime", "calibration", "revision", "cache_dir")


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.argument("inputs", metavar="[INPUT]...", nargs=-1)
@click.option("-o", "--output", metavar="DIR", required=True, help="Folder for the features; - prints JSON lines.")
@click.option("--list", "list_file", metavar="FILE", type=click.Path(), help="Text file with one input per line.")
@click.option(
    "--table",
    metavar="FILE",
    type=click.Path(),
    help="CSV with a column path; optional: id, start_s, end_s, track; other columns are labels.",
)
@click.option(
    "--column",
    "columns",
    metavar="FOUND=KNOWN",
    multiple=True,
    help="Read a column of the table as a known one, repeatable: --column start=start_s.",
)
@click.option(
    "--model",
    default=DEFAULT_MODEL,
    show_default=True,
    help=f"{', '.join(PRESETS)}, a Hub repo, a folder or a checkpoint file.",
)
@click.option(
    "--untrained", is_flag=True, help="Random weights of the model's size: no download, meaningless features."
)
@click.option(
    "--format",
    "format",
    type=click.Choice(["npz", "npy", "safetensors", "parquet", "webdataset"]),
    default="npz",
    show_default=True,
    help="One file per video, or shards of many videos.",
)
@click.option("--shard-size", type=int, default=20_000, show_default=True, help="Approximate rows per shard.")
@click.option(
    "--retry-failed/--no-retry-failed", default=True, show_default=True, help="Retry failed videos in a rerun."
)
@click.option("--overwrite", is_flag=True, help="Start over; an existing dump is replaced.")
@click.option("--dry-run", is_flag=True, help="Print the videos to embed, their windows and the estimated time.")
@click.option("--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True, help="Batch engine.")
@click.option("--ray-address", metavar="ADDRESS", help="Address of a running Ray cluster; default: start one here.")
@click.option("--shard", metavar="K/N", default="1/1", help="Process the K-th of N parts of the videos (job array).")
@click.option("--workers", type=int, help="Number of worker processes; default: half the cores.")
@click.option(
    "--timeout",
    type=float,
    default=300.0,
    show_default=True,
    help="Seconds without a heartbeat until a worker is replaced.",
)
@click.option("--max-worker-memory", metavar="MB", type=int, help="Replace a worker that takes more memory.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N, or several: cuda:0,cuda:1.")
@click.option(
    "--dtype", default="float32", show_default=True, help="float32, bfloat16, float16, or int8 with openvino."
)
@click.option(
    "--runtime",
    type=click.Choice(get_args(RuntimeName)),
    default="torch",
    show_default=True,
    help="Inference backend; openvino is faster on a CPU.",
)
@click.option(
    "--calibrate",
    "calibration",
    metavar="VIDEO",
    multiple=True,
    help="Video to calibrate --dtype int8 with, repeatable; default: a built-in set.",
)
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
    help="auto: crop unless the video is 224x224 already.",
)
@click.option(
    "--faces",
    type=click.Choice(get_args(Faces)),
    default="largest",
    show_default=True,
    help="The most prominent face of each window, the outermost on one side, or one row per face.",
)
@click.option(
    "--sample-rate", type=int, default=2, show_default=True, help="Source frames from one clip frame to the next."
)
@click.option("--fps", type=float, help="Clip frames per second, instead of --sample-rate.")
@click.option("--stride", type=int, default=16, show_default=True, help="Clip frames from one window to the next.")
@click.option(
    "--tail",
    type=click.Choice(get_args(Tail)),
    default="pad",
    show_default=True,
    help="Pad the last partial window, or drop it.",
)
@click.option(
    "--detect-every",
    type=int,
    default=4,
    show_default=True,
    help="Detect faces in every k-th clip frame; track in between.",
)
@click.option(
    "--smooth/--no-smooth", default=True, show_default=True, help="Smooth the boxes of a track with a median filter."
)
@click.option(
    "--identify", is_flag=True, help="Give the tracks of one person, across cuts, the same person_id (needs SFace)."
)
@click.option(
    "--recogniser",
    metavar="FILE",
    default="sface",
    show_default=True,
    help="Face recogniser of --identify: sface, or its .onnx file.",
)
@click.option(
    "--reduction",
    type=click.Choice(get_args(Reduction)),
    default="none",
    show_default=True,
    help="Reduce the windows of a video to one vector.",
)
@click.option(
    "--pool",
    type=click.Choice(get_args(Pool)),
    default="mean",
    show_default=True,
    help="One vector per window; per two frames of it; or for eyes, nose, mouth and skin (needs landmarks: yunet).",
)
@click.option("--keep-seq", is_flag=True, help="Keep the 1568 tokens of each window.")
@click.option("--batch-size", type=int, default=8, show_default=True, help="Clips per batch.")
@click.option(
    "--compat", type=click.Choice(["marlin_pytorch"]), help="Reproduce windows, boxes and rounding of that package."
)
@click.option("--source-fps", type=float, help="Frame rate of a folder of images.")
@click.option("--revision", help="Branch, tag or commit of a Hub repo.")
@click.option("--cache-dir", metavar="DIR", help="Folder of downloaded weights.")
@click.option("--offline", is_flag=True, help="Do not download weights; use local ones only.")
@click.option("-q", "--quiet", is_flag=True, help="Print only failures.")
@click.option("--log-json", is_flag=True, help="Print progress as JSON lines on stderr.")
@click.option("--debug", is_flag=True, help="Print the traceback of each failure.")
@click.version_option(__version__, prog_name="marlin-extract")
def main(quiet: bool, debug: bool, **options: Any) -> None:
    """Turn face videos into MARLIN embeddings.

    INPUT is a video file, a URL, a folder of videos, a quoted pattern ("clips/**/*.mp4"), a folder of frames, or - to
    read inputs from stdin. Each window of 16 frames becomes one row: feature, times, boxes and scores. DIR mirrors the
    folders of the inputs. A rerun embeds only what is missing or failed.

    \b
    marlin-extract talk.mp4 -o features/
    marlin-extract videos/ -o features/ --model marlin_vit_small_ytf --device cuda
    marlin-extract --table segments.csv -o features/ --format parquet
    marlin-extract talk.mp4 -o - | jq .start_s

    Exit status: 0 success, 1 some videos failed, 2 invalid usage or settings, 130 stopped by Ctrl-C.
    """
    open_missing_streams()
    console = Console(quiet=quiet, debug=debug, as_json=options["log_json"])
    try:
        with console.shows_logs():
            failed = _run(options, console, quiet=quiet, debug=debug)
    except (ConfigError, WeightsError, MissingExtraError) as error:
        console.refuse(error)
    except Stop as stop:
        console.failure("stopped", stop.reason)
        sys.exit(1)
    except KeyboardInterrupt:
        console.failure("stopped; finished videos are kept, and a rerun resumes from there", None)
        from marlin_sdk.batch.local import ENCODER_THREADS

        exit_at_once(130, ENCODER_THREADS)
    except BrokenPipeError:
        raise  # the reader has closed the pipe; click exits quietly
    except Exception as error:
        console.failure("stopped", error)
        sys.exit(1)
    sys.exit(1 if failed else 0)


def _run(options: dict[str, Any], console: Console, *, quiet: bool, debug: bool) -> int:
    """Run the command; return the number of videos that failed."""
    from marlin_sdk.batch.recipe import Recipe
    from marlin_sdk.cli import dump, json_lines
    from marlin_sdk.config import ExtractionConfig
    from marlin_sdk.dump.lock import Shard

    settings = ExtractionConfig(**{name: options[name] for name in _SETTINGS}, **_CROP_FACE[options["crop_face"]])
    recipe = Recipe(local_files_only=options["offline"], settings=settings, **{name: options[name] for name in _RECIPE})
    if options["output"] == "-":
        check_stdout()
        if options["dry_run"] or options["overwrite"] or options["engine"] != "local":
            raise ConfigError("-o - writes no folder; --dry-run, --overwrite and --engine ray need -o DIR")
        if options["identify"]:
            raise ConfigError("-o - prints rows before a video's persons are known; --identify needs -o DIR")
        shard = Shard.parse(options["shard"])
        videos = [video for video in dump.gather_inputs(options, known={}) if shard.takes(video.id)]
        return json_lines.print_videos(recipe, videos, options["device"], console)
    return dump.extract_to_folder(recipe, options, console, quiet=quiet, debug=debug)
