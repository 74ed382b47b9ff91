"""`marlin-sdk pretrain`: prepared faces in, a model out."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import click

from marlin_sdk.cli.options import CONTEXT, MASKINGS, ends_with_status, output_options, set_up_logging
from marlin_sdk.cli.output import Console
from marlin_sdk.config import PRESETS

__all__ = ["command"]

_SIZES = ", ".join(name.removesuffix("_ytf") for name in PRESETS)


@click.command("pretrain", context_settings=CONTEXT)
@click.option("--data", metavar="DIR", required=True, help="What `marlin-sdk prepare` wrote.")
@click.option("-o", "--output", metavar="DIR", required=True, help="Folder of the run and of its model.")
@click.option("--model", help=f"Size: {_SIZES}. A config file may give other sizes.  [default: marlin_vit_small]")
@click.option("--preset", type=click.Choice(["marlin", "videomae"]), help="Published settings.  [default: marlin]")
@click.option("--config", "config_file", metavar="YAML", help="Settings of PretrainConfig; options go before them.")
@click.option("--init", metavar="WEIGHTS", help="Start from MARLIN or VideoMAE weights: name, repo, folder, file.")
@click.option("--resume", is_flag=True, help="Go on with the run in the output folder, with its own settings.")
@click.option("--max-steps", type=int, help="Steps in all, instead of epochs.")
@click.option("--epochs", type=int, help="Passes over the data.")
@click.option("--batch-size", type=int, help="Clips at once on each device.")
@click.option("--accumulate", type=int, help="Batches that make one step.")
@click.option("--masking", type=click.Choice(MASKINGS), help="What to hide.")
@click.option("--mask-ratio", type=float, help="Share that is hidden.")
@click.option("--adv-weight", type=float, help="Weight of the discriminator's loss; 0 leaves it out.")
@click.option("--base-lr", type=float, help="Learning rate for 256 clips a step.")
@click.option("--precision", type=click.Choice(["auto", "32-true", "bf16-mixed"]), help="Of arithmetic.")
@click.option("--strategy", type=click.Choice(["auto", "ddp", "fsdp"]), help="Over several devices.")
@click.option("--accelerator", type=click.Choice(["auto", "cpu", "cuda"]), help="Kind of device.")
@click.option("--devices", type=int, help="Devices of this machine.")
@click.option("--num-workers", type=int, help="Processes that read data, for each device.")
@click.option("--seed", type=int, help="Of weights, order, windows and masks.")
@click.option("--save-every", type=int, help="Steps between two checkpoints.")
@click.option("--val-every", type=int, help="Steps between two looks at the held-out clips.")
@click.option("--name", help="Of the model, for its card.")
@click.option("--licence", help="Of the model, for its card: an identifier of the Hub's list.")
@click.option("--push-to-hub", "repo", metavar="OWNER/NAME", help="Upload the model at the end.")
@output_options
def command(
    data: str,
    output: str,
    config_file: str | None,
    init: str | None,
    resume: bool,
    name: str | None,
    licence: str | None,
    repo: str | None,
    quiet: bool,
    debug: bool,
    **settings: Any,
) -> None:
    """Pretrain a MARLIN model on prepared faces.

    \b
    marlin-sdk prepare videos/ -o data/
    marlin-sdk pretrain --data data/ --model marlin_vit_small -o runs/mine
    marlin-extract talk.mp4 -o features/ --model runs/mine

    Exit status: 0 done, 1 the run failed, 2 the command cannot be used as it stands.
    """
    console = Console(quiet=quiet, debug=debug)
    set_up_logging(quiet=quiet, package_level=logging.INFO)
    given = {key: value for key, value in settings.items() if value is not None}
    with ends_with_status(console, interrupted="stopped by Ctrl-C; --resume goes on from the last checkpoint"):
        _run(data, Path(output), config_file, given, init, resume, name, licence, repo, console)


def _run(
    data: str,
    output: Path,
    config_file: str | None,
    given: dict[str, Any],
    init: str | None,
    resume: bool,
    name: str | None,
    licence: str | None,
    repo: str | None,
    console: Console,
) -> None:
    from marlin_sdk.training.pretrain.config import PretrainConfig
    from marlin_sdk.training.pretrain.data import open_clips
    from marlin_sdk.training.pretrain.run import Run, pretrain
    from marlin_sdk.training.strategy import is_first_process

    config = PretrainConfig.from_dict(_settings(config_file, given, output if resume else None))
    train, val, about = open_clips(data, config)
    run = Run(init=init, resume=resume, name=name, licence=licence, data=about, progress=console.bars)
    result = pretrain(config, output, train=train, val=val, run=run)
    if not is_first_process():
        return
    best = "" if result.best is None else f", {result.best:.5f} on held-out clips"
    loss = "nothing left to do" if math.isnan(result.reconstruction) else f"loss {result.reconstruction:.5f}"
    console.note(f"{result.step} steps done, {loss}{best}: {result.folder}")
    if repo:
        from marlin_sdk.training.pretrain.publish import push_to_hub

        console.note(push_to_hub(result.folder, repo))


def _settings(config_file: str | None, given: dict[str, Any], resumed: Path | None) -> dict[str, Any]:
    """Options before the file's values, these before the preset's, or before those of the run that goes on."""
    from marlin_sdk.training.pretrain.config import load_config
    from marlin_sdk.training.pretrain.presets import recipe
    from marlin_sdk.training.pretrain.run import run_folder

    values = {**({} if config_file is None else load_config(config_file)), **given}
    if resumed is None:
        return {"preset": "marlin", "model": "marlin_vit_small", **values}
    preset = recipe(str(values.pop("preset"))) if "preset" in values else {}
    return {**run_folder(resumed).saved_settings(), **preset, **values}


if __name__ == "__main__":  # Lightning starts further processes with the command line of the first
    command()
