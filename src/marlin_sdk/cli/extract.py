"""`marlin-extract`: videos in, their features out, in one folder that can be resumed."""

from __future__ import annotations

import sys
from typing import Any, get_args

import click

from marlin_sdk._version import __version__
from marlin_sdk.cli.output import Console, Stop, exit_at_once
from marlin_sdk.config import PRESETS, Faces, Reduction, Tail
from marlin_sdk.errors import ConfigError, MissingExtraError, WeightsError
from marlin_sdk.runtime import RuntimeName

_CROP_FACE: dict[str, Any] = {"auto": {}, "yes": {"crop_face": True}, "no": {"crop_face": False}}
_SETTINGS = (
    "faces", "sample_rate", "fps", "stride", "tail", "detect_every", "smooth", "reduction", "keep_seq", "batch_size",
    "compat", "source_fps",
)  # fmt: skip
_RECIPE = ("model", "untrained", "detector", "dtype", "runtime", "calibration", "revision", "cache_dir")


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.argument("inputs", metavar="[INPUT]...", nargs=-1)
@click.option("-o", "--output", metavar="DIR", required=True, help="Folder for the features; - prints JSON lines.")
@click.option(
    "--list", "list_file", metavar="FILE", type=click.Path(), help="A text file that names videos, one a line."
)
@click.option(
    "--table",
    metavar="FILE",
    type=click.Path(),
    help="CSV with a column path; id, start_s, end_s, track are read, other columns carried through.",
)
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
    "format",
    type=click.Choice(["npz", "npy", "safetensors", "parquet", "webdataset"]),
    default="npz",
    show_default=True,
    help="A file for each video, or shards that hold many.",
)
@click.option("--shard-size", type=int, default=20_000, show_default=True, help="Rows of a shard, about.")
@click.option("--retry-failed/--no-retry-failed", default=True, show_default=True, help="In a rerun.")
@click.option("--overwrite", is_flag=True, help="Make the dump anew; what it holds is replaced.")
@click.option("--dry-run", is_flag=True, help="List what would be done, windows and estimated time.")
@click.option("--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True, help="What runs it.")
@click.option("--ray-address", metavar="ADDRESS", help="Of a running Ray cluster; else one is started here.")
@click.option("--shard", metavar="K/N", default="1/1", help="Take the K-th of N parts of the videos (a job array).")
@click.option("--workers", type=int, help="Processes that decode and find faces; by default from the cores.")
@click.option("--timeout", type=float, default=300.0, show_default=True, help="Seconds a worker may be silent.")
@click.option("--max-worker-memory", metavar="MB", type=int, help="A worker that takes more is replaced.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N, or several: cuda:0,cuda:1.")
@click.option(
    "--dtype", default="float32", show_default=True, help="float32, bfloat16, float16, or int8 with openvino."
)
@click.option(
    "--runtime",
    type=click.Choice(get_args(RuntimeName)),
    default="torch",
    show_default=True,
    help="Who multiplies; openvino is faster on a CPU.",
)
@click.option(
    "--calibrate",
    "calibration",
    metavar="VIDEO",
    multiple=True,
    help="For --dtype int8, may be given again: videos like yours; else a built-in set.",
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
@click.option("--log-json", is_flag=True, help="Print progress as JSON lines on stderr.")
@click.option("--debug", is_flag=True, help="Show the traceback of a failure.")
@click.version_option(__version__, prog_name="marlin-extract")
def main(quiet: bool, debug: bool, **options: Any) -> None:
    """Turn face videos into MARLIN embeddings.

    INPUT is a video file, a URL, a folder of videos, a pattern in quotes ("clips/**/*.mp4"), a folder of frames, or -
    for names on standard input. Each window of 16 frames becomes a row: its feature, times, boxes and scores. The
    folder mirrors the inputs. A rerun does only what is missing or failed.

    \b
    marlin-extract talk.mp4 -o features/
    marlin-extract videos/ -o features/ --model marlin_vit_small_ytf --device cuda
    marlin-extract --table segments.csv -o features/ --format parquet
    marlin-extract talk.mp4 -o - | jq .start_s

    Exit status: 0 all done, 1 some failed, 2 the command cannot be used as it stands, 130 stopped by Ctrl-C.
    """
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
        console.failure("stopped; what is finished is whole, and a rerun goes on from there", None)
        from marlin_sdk.batch.local import ENCODER_THREADS

        exit_at_once(130, ENCODER_THREADS)
    except BrokenPipeError:
        raise  # whoever read the lines has enough; click ends quietly
    except Exception as error:
        console.failure("stopped", error)
        sys.exit(1)
    sys.exit(1 if failed else 0)


def _run(options: dict[str, Any], console: Console, *, quiet: bool, debug: bool) -> int:
    """Do what is asked; the number of videos that failed."""
    from marlin_sdk.batch.inputs import deduplicate
    from marlin_sdk.batch.recipe import Recipe
    from marlin_sdk.cli import dump, json_lines
    from marlin_sdk.config import ExtractionConfig
    from marlin_sdk.dump.lock import Shard

    settings = ExtractionConfig(**{name: options[name] for name in _SETTINGS}, **_CROP_FACE[options["crop_face"]])
    recipe = Recipe(local_files_only=options["offline"], settings=settings, **{name: options[name] for name in _RECIPE})
    if options["output"] == "-":
        if options["dry_run"] or options["overwrite"] or options["engine"] != "local":
            raise ConfigError("-o - keeps no folder; --dry-run, --overwrite and --engine ray need -o DIR")
        shard = Shard.parse(options["shard"])
        videos = [video for video in deduplicate(dump.gather_inputs(options, known={})) if shard.takes(video.id)]
        return json_lines.print_videos(recipe, videos, options["device"], console)
    return dump.extract_to_folder(recipe, options, console, quiet=quiet, debug=debug)
