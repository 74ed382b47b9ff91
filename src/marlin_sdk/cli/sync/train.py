"""`marlin-sdk sync train`: learn from videos that are in time."""

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
@click.option(
    "--model",
    default="marlin_vit_small_ytf",
    show_default=True,
    help="Encoder to start from: name, repo, folder or file, as for marlin-extract.",
)
@click.option("--untrained", is_flag=True, help="Start from random weights of the size of --model.")
@click.option("--shards", metavar="DIR", help="Faces of VIDEOS that `prepare --fps 25` wrote.  [default: prepare them]")
@click.option("--detector", default="yunet", show_default=True, help="As for marlin-sdk prepare.")
@click.option("--table", metavar="CSV", help="Columns source, identity, split, as for marlin-sdk prepare.")
@click.option("--val-share", type=float, default=0.1, show_default=True, help="Share of identities held out.")
@click.option("--workers", type=int, default=1, show_default=True, help="Processes that prepare videos.")
@click.option("--config", "config_file", metavar="YAML", help="Settings of SyncTrainConfig; options override them.")
@click.option("--resume", is_flag=True, help="Resume the run in the output folder, with its settings.")
@click.option("--max-steps", type=int, help="Total number of steps, instead of epochs.")
@click.option("--epochs", type=int, help="Passes over the face tracks.")
@click.option("--batch-size", type=int, help="Face tracks per batch on each device.")
@click.option("--windows", type=int, help="Windows of each face track in a batch.")
@click.option("--base-lr", type=float, help="Learning rate for 256 tracks per step.")
@click.option("--encoder-lr", type=float, help="That of the encoder, as a share; 0 leaves it as it is.")
@click.option("--precision", type=click.Choice(["auto", "32-true", "bf16-mixed"]), help="Numerical precision.")
@click.option("--accelerator", type=click.Choice(["auto", "cpu", "cuda"]), help="Device type.")
@click.option("--devices", type=int, help="Number of devices on this machine.")
@click.option("--num-workers", type=int, help="Data loader processes per device.")
@click.option("--seed", type=int, help="Random seed of weights, order, windows and augmentation.")
@click.option("--save-every", type=int, help="Steps between checkpoints.")
@click.option("--val-every", type=int, help="Steps between validations on held-out tracks.")
@click.option("--cache-dir", metavar="DIR", help="Folder of downloaded weights.")
@click.option("--offline", is_flag=True, help="Do not download weights; use local ones only.")
@output_options
def command(
    videos: tuple[str, ...],
    output: str,
    model: str,
    untrained: bool,
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
    """Train a network that hears whether sound and mouth are in time.

    VIDEOS are folders or files with faces and sound; they need no labels, but to be in time themselves. DIR gets the
    model for `marlin-sdk sync score`. If it is stopped, --resume continues.

    \b
    marlin-sdk sync train videos/ -o runs/sync
    marlin-sdk sync train videos/ -o runs/sync --model marlin_vit_base_ytf --accelerator cuda

    Exit status: 0 success, 1 the run failed, 2 invalid usage or settings, 130 stopped by Ctrl-C.
    """
    console = Console(quiet=quiet, debug=debug)
    set_up_logging(quiet=quiet, package_level=logging.INFO)
    given = {key: value for key, value in settings.items() if value is not None}
    with ends_with_status(console, interrupted="stopped by Ctrl-C; --resume continues from the last checkpoint"):
        from marlin_sdk.training.settings import merge_settings
        from marlin_sdk.training.start import Start
        from marlin_sdk.training.strategy import is_first_process
        from marlin_sdk.training.sync.config import SyncTrainConfig
        from marlin_sdk.training.sync.run import run_folder, train_sync

        def report(outcome: Outcome, to_do: int) -> None:
            if outcome.reason:
                console.note(f"{outcome.source}: {outcome.reason}")

        saved = run_folder(output).saved_settings() if resume else {}
        result = train_sync(
            videos,
            output,
            SyncTrainConfig.from_dict(merge_settings(config_file, given, saved, without=("start",))),
            start=Start(model, untrained, cache_dir, offline),
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
            loss = "nothing left to do" if math.isnan(result.loss) else f"loss {result.loss:.3f}"
            held_out = ""
            if found := result.metrics:
                near, error_ms = found["within_1"], found["error_ms"]
                held_out = f"; held-out tracks: {near:.1%} within a frame, median error {error_ms:.0f} ms"
            console.note(f"{result.step} steps done, {loss}{held_out}: {result.folder}")


if __name__ == "__main__":  # Lightning starts more processes with the command line of the first
    command()
