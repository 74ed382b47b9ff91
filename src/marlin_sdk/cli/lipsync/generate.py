"""`marlin-sdk lipsync generate`: a film of a face that speaks with another sound."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from marlin_sdk.cli.options import CONTEXT, ends_with_status, output_options, set_up_logging
from marlin_sdk.cli.output import Console

if TYPE_CHECKING:
    from marlin_sdk.lipsync.film import LongerSound

__all__ = ["command"]


@click.command("generate", context_settings=CONTEXT)
@click.option("--face", metavar="VIDEO", required=True, help="The video with the face.")
@click.option("--audio", metavar="FILE", required=True, help="The new sound, or a video with it.")
@click.option("--model", metavar="DIR", required=True, help="Output of marlin-sdk lipsync train.")
@click.option("-o", "--output", metavar="FILE", required=True, help="The film: .mp4, .mkv or .mov.")
@click.option(
    "--longer", type=click.Choice(["loop", "stop"]), default="loop", show_default=True,
    help="Where the sound is longer than the picture: start the picture again, or stop the sound.",
)  # fmt: skip
@click.option(
    "--no-mark", is_flag=True,
    help='Do not write "synthetic" into the picture; the metadata of the film say so all the same.',
)  # fmt: skip
@click.option("--detector", default="yunet", show_default=True, help="As for marlin-extract.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@output_options
def command(
    face: str,
    audio: str,
    model: str,
    output: str,
    longer: LongerSound,
    no_mark: bool,
    detector: str,
    device: str,
    quiet: bool,
    debug: bool,
) -> None:
    """Make the lips of a face video fit another sound.

    The most prominent face is made; others are left as they are. The film has 25 frames a second, ends with the sound,
    and says that it is synthetic. Ask the person whose face it is.

    \b
    marlin-sdk lipsync generate --face talk.mp4 --audio speech.wav --model runs/lips -o dubbed.mp4

    Exit status: 0 success, 1 failure, 2 invalid usage or settings, 130 stopped by Ctrl-C.
    """
    console = Console(quiet=quiet, debug=debug)
    set_up_logging(quiet=quiet)
    with ends_with_status(console, failed=face, interrupted="stopped by Ctrl-C; nothing was written"):
        from marlin_sdk.face.detectors import load_detector
        from marlin_sdk.lipsync.film import write_lips
        from marlin_sdk.lipsync.maker import LipMaker

        made = write_lips(
            face,
            audio,
            output,
            LipMaker.from_folder(model, device=device),
            load_detector(detector),
            longer=longer,
            mark=not no_mark,
            progress=console.bars,
        )
        for note in made.notes:
            console.note(note)
        console.note(f"{made.made} of {made.frames} frames with made lips: {made.path}")
