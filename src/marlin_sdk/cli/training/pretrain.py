"""`marlin-sdk pretrain`: pretrain a model on prepared faces."""

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
@click.option("--data", metavar="DIR", required=True, help="Folder that `marlin-sdk prepare` wrote.")
@click.option("-o", "--output", metavar="DIR", required=True, help="Folder for the run and its model.")
@click.option("--model", help=f"Size: {_SIZES}; a config file may set others.  [default: marlin_vit_small]")
@click.option(
    "--preset", type=click.Choice(["marlin", "videomae", "short"]), help="Settings to start from.  [default: marlin]"
)
@click.option("--config", "config_file", metavar="YAML", help="Settings of PretrainConfig; options override them.")
@click.option("--init", metavar="WEIGHTS", help="Start from MARLIN or VideoMAE weights: name, repo, folder or file.")
@click.option("--resume", is_flag=True, help="Resume the run in the output folder, with its settings.")
@click.option("--max-steps", type=int, help="Total number of steps, instead of epochs.")
@click.option("--epochs", type=int, help="Passes over the data.")
@click.option("--batch-size", type=int, help="Clips per batch on each device.")
@click.option("--accumulate", type=int, help="Batches per optimiser step.")
@click.option("--masking", type=click.Choice(MASKINGS), help="Masking strategy.")
@click.option("--mask-ratio", type=float, help="Share of the tubelets to mask.")
@click.option("--adv-weight", type=float, help="Weight of the adversarial loss; 0 disables it.")
@click.option("--base-lr", type=float, help="Learning rate for 256 clips per step.")
@click.option("--precision", type=click.Choice(["auto", "32-true", "bf16-mixed"]), help="Numerical precision.")
@click.option("--strategy", type=click.Choice(["auto", "ddp", "fsdp"]), help="Strategy for several devices.")
@click.option("--accelerator", type=click.Choice(["auto", "cpu", "cuda"]), help="Device type.")
@click.option("--devices", type=int, help="Number of devices on this machine.")
@click.option("--num-workers", type=int, help="Data loader processes per device.")
@click.option("--seed", type=int, help="Random seed of weights, order, windows and masks.")
@click.option("--save-every", type=int, help="Steps between checkpoints.")
@click.option("--val-every", type=int, help="Steps between validations on held-out clips.")
@click.option("--probe", metavar="CSV", help="Labelled windows (source, start_frame, end_frame, label, part).")
@click.option("--probe-data", metavar="DIR", help="Prepared folder of the labelled videos.  [default: that of --data]")
@click.option("--probe-every", type=int, help="Steps between two linear probes of the encoder on them.")
@click.option("--name", help="Name of the model, for its card.")
@click.option("--licence", help="Licence of the model, for its card: an identifier of the Hub.")
@click.option("--push-to-hub", "repo", metavar="OWNER/NAME", help="Upload the model at the end.")
@output_options
def command(
    data: str,
    output: str,
    config_file: str | None,
    init: str | None,
    resume: bool,
    probe: str | None,
    probe_data: str | None,
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

    Exit status: 0 success, 1 the run failed, 2 invalid usage or settings.
    """
    console = Console(quiet=quiet, debug=debug)
    set_up_logging(quiet=quiet, package_level=logging.INFO)
    given = {key: value for key, value in settings.items() if value is not None}
    with ends_with_status(console, interrupted="stopped by Ctrl-C; --resume continues from the last checkpoint"):
        labelled = None if probe is None else (probe_data or data, probe)
        _run(data, Path(output), config_file, given, init, resume, labelled, name, licence, repo, console)


def _run(
    data: str,
    output: Path,
    config_file: str | None,
    given: dict[str, Any],
    init: str | None,
    resume: bool,
    labelled: tuple[str, str] | None,
    name: str | None,
    licence: str | None,
    repo: str | None,
    console: Console,
) -> None:
    from marlin_sdk.training.pretrain.config import PretrainConfig
    from marlin_sdk.training.pretrain.data import open_clips
    from marlin_sdk.training.pretrain.run import Run, pretrain
    from marlin_sdk.training.probe import open_labelled
    from marlin_sdk.training.strategy import is_first_process

    config = PretrainConfig.from_dict(_settings(config_file, given, output if resume else None))
    train, val, about = open_clips(data, config)
    probe = None
    if labelled is not None:
        probe = open_labelled(
            *labelled,
            clip_frames=config.model.n_frames,
            tubelet_size=config.model.tubelet_size,
            trained_on=train.identities,
        )
        console.note(f"probe: {probe}")
    run = Run(init=init, resume=resume, name=name, licence=licence, data=about, probe=probe, progress=console.bars)
    result = pretrain(config, output, train=train, val=val, run=run)
    if not is_first_process():
        return
    best = "" if result.best is None else f", {result.best:.5f} on held-out clips"
    loss = "nothing left to do" if math.isnan(result.reconstruction) else f"loss {result.reconstruction:.5f}"
    console.note(f"{result.step} steps done, {loss}{best}: {result.folder}")
    if repo:
        from marlin_sdk.weights.upload import push_to_hub

        console.note(push_to_hub(result.folder, repo))


def _settings(config_file: str | None, given: dict[str, Any], resumed: Path | None) -> dict[str, Any]:
    """Merge settings: options override the file, which overrides the preset or the resumed run."""
    from marlin_sdk.training.pretrain.presets import recipe
    from marlin_sdk.training.pretrain.run import run_folder
    from marlin_sdk.training.settings import load_settings

    values = {**({} if config_file is None else load_settings(config_file)), **given}
    if resumed is None:
        return {"preset": "marlin", "model": "marlin_vit_small", **values}
    preset = recipe(str(values.pop("preset"))) if "preset" in values else {}
    return {**run_folder(resumed).saved_settings(), **preset, **values}


if __name__ == "__main__":  # Lightning starts more processes with the command line of the first
    command()
