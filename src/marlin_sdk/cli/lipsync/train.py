"""`marlin-sdk lipsync train`: learn to make lips from videos that are in time."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

import click

from marlin_sdk.cli.options import CONTEXT, ends_with_status, output_options, set_up_logging
from marlin_sdk.cli.output import Console

if TYPE_CHECKING:
    from marlin_sdk.training.prepare.folder import Outcome

__all__ = ["command"]


@click.command("train", context_settings=CONTEXT)
@click.argument("videos", metavar="VIDEOS...", nargs=-1, required=True)
@click.option("-o", "--output", metavar="DIR", required=True, help="Folder for the run and its model.")
@click.option("--sync", metavar="DIR", help="Output of marlin-sdk sync train, which judges whether lips are in time.")
@click.option(
    "--encoder",
    default="marlin_vit_small_ytf",
    show_default=True,
    help="MARLIN encoder to start from: name, repo, folder or file, as for marlin-extract.",
)
@click.option("--no-pretraining", is_flag=True, help="The fair control: random weights of the size of --encoder.")
@click.option("--shards", metavar="DIR", help="Faces of VIDEOS that `prepare --fps 25` wrote.  [default: prepare them]")
@click.option("--detector", default="yunet", show_default=True, help="As for marlin-sdk prepare.")
@click.option("--table", metavar="CSV", help="Columns source, identity, split, as for marlin-sdk prepare.")
@click.option("--val-share", type=float, default=0.1, show_default=True, help="Share of identities held out.")
@click.option("--workers", type=int, default=1, show_default=True, help="Processes that prepare videos.")
@click.option("--config", "config_file", metavar="YAML", help="Settings of LipsTrainConfig; options override them.")
@click.option("--resume", is_flag=True, help="Resume the run in the output folder, with its settings.")
@click.option("--size", "size_px", type=int, help="Side of the faces that are made, in pixels.")
@click.option("--width", type=int, help="Channels of the decoder's first step.")
@click.option("--sync-weight", type=float, help="Weight of the synchronisation loss, from --sync-from on.")
@click.option("--sync-from", type=float, help="Fraction of the steps before which that weight is 0.")
@click.option("--adversarial-weight", type=float, help="Weight of the critic's loss; 0 trains none.")
@click.option("--max-steps", type=int, help="Total number of steps, instead of epochs.")
@click.option("--epochs", type=int, help="Passes over the face tracks.")
@click.option("--batch-size", type=int, help="Face tracks per batch on each device.")
@click.option("--base-lr", type=float, help="Learning rate for 256 windows per step.")
@click.option("--encoder-lr", type=float, help="That of the encoder, as a share; 0 leaves it as it is.")
@click.option("--precision", type=click.Choice(["auto", "32-true", "bf16-mixed"]), help="Numerical precision.")
@click.option("--accelerator", type=click.Choice(["auto", "cpu", "cuda"]), help="Device type.")
@click.option("--devices", type=int, help="Number of devices on this machine.")
@click.option("--num-workers", type=int, help="Data loader processes per device.")
@click.option("--seed", type=int, help="Random seed of weights, order and windows.")
@click.option("--save-every", type=int, help="Steps between checkpoints.")
@click.option("--val-every", type=int, help="Steps between validations on held-out tracks.")
@click.option("--cache-dir", metavar="DIR", help="Folder of downloaded weights.")
@click.option("--offline", is_flag=True, help="Do not download weights; use local ones only.")
@output_options
def command(
    videos: tuple[str, ...],
    output: str,
    sync: str | None,
    encoder: str,
    no_pretraining: bool,
    shards: str | None,
    detector: str,
    table: str | None,
    val_share: float,
    workers: int,
    config_file: str | None,
    resume: bool,
    cache_dir: str | None,
    offline: bool,
    quiet: bool,
    debug: bool,
    **settings: Any,
) -> None:
    """Train a network that makes lips for a sound.

    VIDEOS are folders or files with faces and sound; they need no labels, but to be in time. DIR gets the model for
    `marlin-sdk lipsync generate`. If it is stopped, --resume continues.

    \b
    marlin-sdk lipsync train videos/ -o runs/lips --sync runs/sync
    marlin-sdk lipsync train videos/ -o runs/control --sync runs/sync --no-pretraining

    Exit status: 0 success, 1 the run failed, 2 invalid usage or settings, 130 stopped by Ctrl-C.
    """
    console = Console(quiet=quiet, debug=debug)
    set_up_logging(quiet=quiet, package_level=logging.INFO)
    given = {key: value for key, value in settings.items() if value is not None}
    with ends_with_status(console, interrupted="stopped by Ctrl-C; --resume continues from the last checkpoint"):
        from marlin_sdk.training.lipsync.config import LipsTrainConfig
        from marlin_sdk.training.lipsync.run import run_folder, train_lips
        from marlin_sdk.training.settings import merge_settings
        from marlin_sdk.training.start import Start
        from marlin_sdk.training.strategy import is_first_process

        def report(outcome: Outcome, to_do: int) -> None:
            if outcome.reason:
                console.note(f"{outcome.source}: {outcome.reason}")

        saved = run_folder(output).saved_settings() if resume else {}
        result = train_lips(
            videos,
            output,
            LipsTrainConfig.from_dict(merge_settings(config_file, given, saved, without=("start", "sync"))),
            start=Start(encoder, no_pretraining, cache_dir, offline),
            sync=sync,
            shards=shards,
            detector=detector,
            table=table,
            val_share=val_share,
            workers=workers,
            resume=resume,
            progress=console.bars,
            on_outcome=report,
        )
        if is_first_process():
            for note in result.notes:
                console.note(note)
            loss = "nothing left to do" if math.isnan(result.loss) else f"error of pixels {result.loss:.4f}"
            held_out = ""
            if found := result.metrics:
                held_out = (
                    f"; held-out tracks: error of the mouth {found['mouth']:.4f}, of the reference's mouth "
                    f"{found['reference_mouth']:.4f}"
                )
            console.note(f"{result.step} steps done, {loss}{held_out}: {result.folder}")


if __name__ == "__main__":  # Lightning starts more processes with the command line of the first
    command()
