"""`marlin-sdk reconstruct`: show how a model reconstructs a masked video, as a video and a contact sheet."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from marlin_sdk.cli.options import CONTEXT, MASKINGS, ends_with_status, output_options, set_up_logging
from marlin_sdk.cli.output import Console
from marlin_sdk.config import DEFAULT_MODEL, PRESETS
from marlin_sdk.errors import ConfigError, NoFaceError, VideoDecodeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from marlin_sdk.clips.cut import Clip
    from marlin_sdk.marlin import Marlin
    from marlin_sdk.reconstruction import Reconstruction
    from marlin_sdk.video.reader import VideoReader

__all__ = ["command"]

_SHEET_WINDOWS = 4


@click.command("reconstruct", context_settings=CONTEXT)
@click.argument("video")
@click.option("-o", "--output", metavar="FILE", required=True, help="Video to write: .mp4, .mkv or .mov.")
@click.option("--sheet", metavar="PNG", help="Contact sheet to write.  [default: the output's name, with .png]")
@click.option(
    "--model",
    default=DEFAULT_MODEL,
    show_default=True,
    help=f"{', '.join(PRESETS)}, the folder of a run, or a checkpoint with a decoder.",
)
@click.option("--masking", type=click.Choice(MASKINGS), default="fasking", show_default=True, help="Masking strategy.")
@click.option("--ratio", type=float, default=0.9, show_default=True, help="Share of the tubelets to mask.")
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed of the first window's mask.")
@click.option(
    "--max-windows", type=int, default=16, show_default=True, help="Maximum number of windows of 16 frames to show."
)
@click.option(
    "--normalised", is_flag=True, help="The model was trained on normalised tubelets (presets videomae, short)."
)
@click.option("--detector", default="yunet", show_default=True, help="As for marlin-extract.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--offline", is_flag=True, help="Do not download weights; use local ones only.")
@output_options
def command(
    video: str,
    output: str,
    sheet: str | None,
    model: str,
    masking: str,
    ratio: float,
    seed: int,
    max_windows: int,
    normalised: bool,
    detector: str,
    device: str,
    offline: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Mask most of each window of a face video, and show how a model reconstructs it.

    Side by side: the original, the visible part, the reconstruction around it, and a heat map of the error.

    \b
    marlin-sdk reconstruct talk.mp4 -o out.mp4 --model runs/mine

    Exit status: 0 success, 1 the video failed, 2 invalid usage or settings.
    """
    console = Console(quiet=quiet, debug=debug)
    set_up_logging(quiet=quiet)
    target = Path(output)
    with ends_with_status(console, failed=video, interrupted="stopped by Ctrl-C; nothing was written"):
        if max_windows < 1:
            raise ConfigError(f"--max-windows is {max_windows}; expected at least 1")
        sheet_path = Path(sheet) if sheet else target.with_suffix(".png")
        _check_targets(video, target, sheet_path)
        _check_normalised(Path(model), normalised)
        network = _load(model, detector=detector, device=device, local_files_only=offline)
        options = {"masking": masking, "ratio": ratio, "normalised_target": normalised}
        _write(network, video, target, sheet_path, seed, max_windows, options, console)


def _check_targets(video: str, *targets: Path) -> None:
    """Check that no output overwrites the input video or the other output."""
    paths = [path.resolve() for path in (Path(video), *targets)]
    if len(set(paths)) < len(paths):
        raise ConfigError(f"VIDEO, --output and --sheet must be different files; got {', '.join(map(str, paths))}")


def _check_normalised(run: Path, normalised: bool) -> None:
    """Check that `--normalised` matches what the run was trained on."""
    saved = run / "pretrain.yaml"
    if not saved.is_file():
        return
    from marlin_sdk.training.settings import load_settings

    trained = bool(load_settings(saved).get("normalise_target", False))
    if trained != normalised:
        negation, remedy = ("", "add") if trained else ("not ", "remove")
        raise ConfigError(f"{run} was {negation}trained on normalised tubelets (pretrain.yaml); {remedy} --normalised")


def _load(model: str, **options: Any) -> Marlin:
    from marlin_sdk.marlin import Marlin

    return Marlin.from_pretrained(model, decoder=True, **options)


def _write(
    model: Marlin,
    video: str,
    target: Path,
    sheet: Path,
    seed: int,
    max_windows: int,
    options: dict[str, Any],
    console: Console,
) -> None:
    import numpy as np

    from marlin_sdk.reconstruction import contact_sheet, heading, panels, save_png
    from marlin_sdk.video.reader import open_video
    from marlin_sdk.video.writer import write_video

    above = heading(model.config)
    shown: list[Reconstruction] = []
    titles: list[str] = []
    errors: list[float] = []

    with open_video(video) as reader:

        def frames() -> Iterator[NDArray[np.uint8]]:
            for index, clip in zip(range(max_windows), _clips(reader, model), strict=False):
                result = model.reconstruct(clip.pixels, seed=seed + index, **options)
                errors.append(result.mean_error)
                if index < _SHEET_WINDOWS:
                    shown.append(result)
                    titles.append(f"window {index + 1}: {clip.start_s:.2f} to {clip.end_s:.2f} s")
                for picture, valid in zip(panels(result, model.config), clip.frame_valid, strict=True):
                    if valid:
                        yield np.concatenate([above, picture])

        count = write_video(frames(), target, fps=(reader.fps or 25.0) / 2)
    save_png(contact_sheet(shown, model.config, titles=titles), sheet)
    mean = sum(errors) / len(errors)
    console.note(f"{video} -> {target}, {sheet}: {len(errors)} windows, {count} frames, mean squared error {mean:.5f}")


def _clips(reader: VideoReader, model: Marlin) -> Iterator[Clip]:
    """The windows of the most prominent face, as `marlin-extract` cuts them."""
    from marlin_sdk.clips.cut import cut_clips
    from marlin_sdk.config import ExtractionConfig
    from marlin_sdk.features import SkippedWindow

    source = iter(reader)
    first = next(source, None)
    if first is None:
        raise VideoDecodeError(f"{reader.name} has no frame that can be decoded")
    size_px = model.config.img_size
    cropped = (first.height, first.width) == (size_px, size_px)
    seen = 0
    for cut in cut_clips(chain([first], source), ExtractionConfig(), model.config, None if cropped else model.detector):
        if not isinstance(cut, SkippedWindow):
            seen += 1
            yield from cut
    if not seen:
        raise NoFaceError(f"{reader.name}: no window shows a face for at least half of its frames")
