"""`marlin-sdk pretrain`: prepared faces in, a model out."""

from __future__ import annotations

import logging
import math
import sys
from pathlib import Path
from typing import Any

import click

from marlin_sdk.cli.output import Speaker
from marlin_sdk.config import PRESETS
from marlin_sdk.errors import ConfigError, MarlinError, MissingExtraError, WeightsError

__all__ = ["command"]

_MASKINGS = ("fasking", "fasking_opp", "tube", "random", "frame")
_SIZES = ", ".join(name.removesuffix("_ytf") for name in PRESETS)


@click.command("pretrain", context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
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
@click.option("--masking", type=click.Choice(_MASKINGS), help="What to hide.")
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
@click.option("-q", "--quiet", is_flag=True, help="Print failures only.")
@click.option("--debug", is_flag=True, help="Show the traceback of a failure.")
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
    say = Speaker(quiet=quiet, debug=debug)
    logging.basicConfig(format="%(message)s", level=logging.ERROR if quiet else logging.WARNING)
    logging.getLogger("marlin_sdk").setLevel(logging.ERROR if quiet else logging.INFO)
    given = {key: value for key, value in settings.items() if value is not None}
    try:
        _run(data, Path(output), config_file, given, init, resume, name, licence, repo, say)
    except (ConfigError, WeightsError, MissingExtraError) as error:
        say.trace(error)
        raise click.UsageError(str(error)) from error
    except (MarlinError, OSError) as error:
        say.failure("stopped", error)
        sys.exit(1)
    except KeyboardInterrupt:
        say.failure("stopped by Ctrl-C; --resume goes on from the last checkpoint", None)
        sys.exit(130)


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
    say: Speaker,
) -> None:
    from marlin_sdk.training.config import PretrainConfig
    from marlin_sdk.training.data import open_clips
    from marlin_sdk.training.pretrain import Run, pretrain
    from marlin_sdk.training.strategy import is_first_process

    config = PretrainConfig.from_dict(_settings(config_file, given, output if resume else None))
    train, val, about = open_clips(data, config)
    run = Run(init=init, resume=resume, name=name, licence=licence, data=about, progress=say.bars)
    result = pretrain(config, output, train=train, val=val, run=run)
    if not is_first_process():
        return
    best = "" if result.best is None else f", {result.best:.5f} on held-out clips"
    loss = "nothing left to do" if math.isnan(result.reconstruction) else f"loss {result.reconstruction:.5f}"
    say.note(f"{result.step} steps done, {loss}{best}: {result.folder}")
    if repo:
        from marlin_sdk.training.export import push_to_hub

        say.note(push_to_hub(result.folder, repo))


def _settings(config_file: str | None, given: dict[str, Any], resumed: Path | None) -> dict[str, Any]:
    """Options before the file's values, these before the preset's, or before those of the run that goes on."""
    from marlin_sdk.training.config import load_config
    from marlin_sdk.training.presets import recipe
    from marlin_sdk.training.run_folder import saved_settings

    values = {**({} if config_file is None else load_config(config_file)), **given}
    if resumed is None:
        return {"preset": "marlin", "model": "marlin_vit_small", **values}
    preset = recipe(str(values.pop("preset"))) if "preset" in values else {}
    return {**saved_settings(resumed), **preset, **values}


if __name__ == "__main__":  # Lightning starts further processes with the command line of the first
    command()
