"""`marlin-sdk download`: what a machine without a network needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from marlin_sdk.cli.options import CONTEXT, ends_with_status, output_options, set_up_logging
from marlin_sdk.cli.output import Console
from marlin_sdk.config import DEFAULT_MODEL, PRESETS
from marlin_sdk.errors import ConfigError

if TYPE_CHECKING:
    from marlin_sdk.weights.downloads import Asset

__all__ = ["command"]


@click.command("download", context_settings=CONTEXT)
@click.option(
    "--model",
    "models",
    multiple=True,
    help=f"{', '.join(PRESETS)}, or a Hub repo; may be repeated.  [default: {DEFAULT_MODEL}]",
)
@click.option(
    "--detector",
    "detectors",
    multiple=True,
    help="yunet, sfd, blazeface, retinaface or scrfd; may be repeated.  [default: yunet]",
)
@click.option("--recogniser", is_flag=True, help="SFace too, for --identify.")
@click.option("--decoder", is_flag=True, help="Weights with the decoder, for reconstruct.")
@click.option("--revision", help="Branch, tag or commit of a Hub repo.")
@click.option("-o", "--output", metavar="DIR", help="Folder to carry to the other machine.  [default: the caches]")
@output_options
def command(
    models: tuple[str, ...],
    detectors: tuple[str, ...],
    recogniser: bool,
    decoder: bool,
    revision: str | None,
    output: str | None,
    quiet: bool,
    debug: bool,
) -> None:
    """Download all that a machine without a network needs.

    Without -o, the files go into the caches of this machine, where --offline finds them: on a cluster, call it on the
    login node. With -o, they go into DIR, with SHA256SUMS; copy DIR over, and pass its paths. A second call downloads
    only what is missing.

    \b
    marlin-sdk download
    marlin-sdk download --model marlin_vit_small_ytf -o weights/
    marlin-extract talk.mp4 -o features/ --offline --model ./weights/marlin_vit_small_ytf \\
        --detector weights/face_detection_yunet_2023mar.onnx

    Exit status: 0 success, 1 a download failed, 2 invalid usage or settings.
    """
    console = Console(quiet=quiet, debug=debug)
    set_up_logging(quiet=quiet)
    with ends_with_status(console, interrupted="stopped by Ctrl-C; the same command resumes"):
        if output is not None and not output.strip():
            raise ConfigError("-o is empty; expected a folder")
        folder = None if output is None else Path(output)
        assets = _assets(detectors or ("yunet",), recogniser=recogniser)  # an unknown name stops before any download
        _download(models or (DEFAULT_MODEL,), assets, decoder, revision, folder, console)


def _assets(detectors: tuple[str, ...], *, recogniser: bool) -> list[Asset]:
    from marlin_sdk.face.detectors import detector_assets
    from marlin_sdk.weights.downloads import SFACE

    assets = [asset for detector in detectors for asset in detector_assets(detector)]
    return [*assets, SFACE] if recogniser else assets


def _download(
    models: tuple[str, ...],
    assets: list[Asset],
    decoder: bool,
    revision: str | None,
    folder: Path | None,
    console: Console,
) -> None:
    from marlin_sdk.weights.bundle import download_assets, download_model
    from marlin_sdk.weights.integrity import write_checksums

    files = [
        path for model in models for path in download_model(model, decoder=decoder, revision=revision, folder=folder)
    ]
    files += download_assets(assets, folder=folder)
    if folder is not None:
        files.append(write_checksums(folder, files))
    for path in files:
        console.note(str(path))
