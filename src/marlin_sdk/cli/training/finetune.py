"""`marlin-sdk finetune`: an encoder and a head on labelled clips."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from marlin_sdk.cli.options import CONTEXT, ends_with_status, output_options, set_up_logging
from marlin_sdk.cli.output import Console
from marlin_sdk.errors import ConfigError

if TYPE_CHECKING:
    from marlin_sdk.report.crops import Strip
    from marlin_sdk.training.finetune.data.table import LabelledTable

__all__ = ["command"]


def _ratios(context: click.Context, parameter: click.Parameter, text: str) -> tuple[float, ...]:
    try:
        ratios = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{text!r}; expected numbers such as .1,.5,1") from error
    if not all(0 < ratio <= 1 for ratio in ratios) or len(set(ratios)) < len(ratios):
        raise click.BadParameter(f"{text!r}; expected different numbers of more than 0, up to 1")
    return ratios


@click.command("finetune", context_settings=CONTEXT)
@click.option("--table", metavar="CSV", required=True, help="Clips: path, id, start_s, end_s, labels, split, group.")
@click.option("--label", help="Label column of the table, or a pattern: 'appearance.*'.")
@click.option(
    "-o", "--output", metavar="DIR", type=click.Path(file_okay=False, path_type=Path), required=True,
    help="Folder for the run: model, head, predictions, card.",
)  # fmt: skip
@click.option("--model", help="Weights to start from, as for marlin-extract.  [default: marlin_vit_base_ytf]")
@click.option("--untrained", is_flag=True, help="Start from random weights of the model's size.")
@click.option("--shards", metavar="DIR", help="Faces that marlin-sdk prepare wrote.  [default: prepared into the run]")
@click.option("--detector", default="yunet", show_default=True, help="To prepare with, as for marlin-extract.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes that prepare videos.  [default: all cores]")
@click.option("--config", "config_file", metavar="YAML", help="Settings of FinetuneConfig; options override them.")
@click.option("--resume", is_flag=True, help="Resume the run in the output folder, with its settings.")
@click.option("--kind", type=click.Choice(["classification", "regression"]), help="Default: by the label's type.")
@click.option("--head", type=click.Choice(["linear", "attentive"]), help="Head.  [default: linear]")
@click.option("--pool", type=click.Choice(["mean", "time"]), help="What it reads of a window.  [default: mean]")
@click.option("--protocol", type=click.Choice(["marlin"]), help="As MARLIN's published code, with what is unsound.")
@click.option(
    "--ratios", default="1", callback=_ratios, metavar="R,R,...", help="Shares of the training groups, a run each."
)
@click.option("--epochs", type=int, help="Passes over the training clips.")
@click.option("--batch-size", type=int, help="Clips per batch on each device.")
@click.option("--accumulate", type=int, help="Batches per optimiser step.")
@click.option("--base-lr", type=float, help="Learning rate of the last block, for 256 clips per step.")
@click.option("--layer-decay", type=float, help="Learning rate of a block as a share of the one above it.")
@click.option("--patience", type=int, help="Epochs without improvement after which the run ends; 0: never.")
@click.option("--sample-rate", type=int, help="Source frames from one frame of a window to the next.")
@click.option("--jitter", "jitter_s", type=float, help="Seconds by which training windows may leave the labelled part.")
@click.option("--mixup", type=float, help="Alpha of mixup; 0 mixes none.")
@click.option(
    "--flip/--no-flip", default=None, help="Mirror half of the clips.  [default: unless a label names a side]"
)
@click.option("--precision", type=click.Choice(["auto", "32-true", "bf16-mixed"]), help="Numerical precision.")
@click.option("--checkpoint-blocks", is_flag=True, default=None, help="Less memory, a third slower.")
@click.option("--accelerator", type=click.Choice(["auto", "cpu", "cuda"]), help="Device type.")
@click.option("--devices", type=int, help="Number of devices on this machine.")
@click.option("--num-workers", type=int, help="Data loader processes per device.")
@click.option("--seed", type=int, help="Random seed of split, order, windows, augmentation and head.")
@click.option("--save-every", type=int, help="Steps between checkpoints.")
@click.option("--cache-dir", metavar="DIR", help="Folder of downloaded weights.")
@click.option("--offline", is_flag=True, help="Do not download weights; use local ones only.")
@click.option("--name", help="Name of the model, for its card.")
@click.option("--licence", help="Licence of the model, for its card: an identifier of the Hub.")
@output_options
def command(
    table: str,
    output: Path,
    config_file: str | None,
    quiet: bool,
    debug: bool,
    protocol: str | None,
    model: str | None,
    untrained: bool,
    cache_dir: str | None,
    offline: bool,
    workers: int | None,
    label: str | None,
    resume: bool,
    shards: str | None,
    detector: str,
    ratios: tuple[float, ...],
    name: str | None,
    licence: str | None,
    **settings: Any,
) -> None:
    """Fine-tune an encoder and a head on the labelled clips of a table.

    A linear probe of the frozen encoder comes first; then its blocks open, the last one first. The epoch that is best
    on the validation part is kept, and tested beside the linear probe. The folder then holds a model for
    Marlin.from_pretrained, a head for `marlin-sdk predict`, predictions for `marlin-sdk evaluate` and `audit`,
    results.json, a card (README.md) and report.html.

    \b
    marlin-sdk finetune --table clips.csv --label emotion -o runs/emotion
    marlin-sdk predict talk.mp4 --head runs/emotion

    Exit status: 0 success, 1 the run failed, 2 invalid usage or settings.
    """
    from marlin_sdk.batch.progress import escape_controls

    console = Console(quiet=quiet, debug=debug)
    set_up_logging(quiet=quiet, package_level=logging.INFO)
    given = {key: value for key, value in settings.items() if value is not None}
    given |= {} if label is None else {"label": label}
    stopped = "stopped by Ctrl-C; --resume continues from the last checkpoint"
    with ends_with_status(console, failed="fine-tuning", interrupted=stopped):
        from marlin_sdk.report.probe import write_probe_page
        from marlin_sdk.training.finetune.run import finetune
        from marlin_sdk.training.prepare.folder import Outcome
        from marlin_sdk.training.start import Start

        config = _config(config_file, given, output if resume else None, protocol, untrained=untrained)

        def report(outcome: Outcome, to_do: int) -> None:
            if outcome.status != "done":
                console.note(f"{outcome.source}: {outcome.status}: {outcome.reason}")

        numbers, clips = finetune(
            config,
            output,
            table=table,
            start=Start(model or "marlin_vit_base_ytf", untrained, cache_dir, offline),
            shards=shards,
            detector=detector,
            ratios=ratios,
            resume=resume,
            workers=workers or os.cpu_count() or 1,
            name=name,
            licence=licence,
            progress=console.bars,
            on_outcome=report,
        )
        if numbers is None:
            return
        page = write_probe_page(numbers, lambda id: _strip(clips, id), output / "report.html")
    if not quiet:
        for line in numbers.evaluations["features"].table().split("\n"):
            click.echo(escape_controls(line))  # labels of a table may hold anything
        for note in [*numbers.suspicions, *numbers.probe.notes]:
            console.note(f"note: {escape_controls(note)}")
        click.echo(f"{page}: the page; {output / 'README.md'}: the card", err=True)


def _config(
    config_file: str | None, given: dict[str, Any], resumed: Path | None, protocol: str | None, *, untrained: bool
) -> Any:
    """Merge settings: options override the file, which overrides those of the resumed run, or for random weights."""
    from marlin_sdk.training.finetune.config import FROM_RANDOM, FinetuneConfig
    from marlin_sdk.training.finetune.protocol import as_published
    from marlin_sdk.training.finetune.run import run_folder
    from marlin_sdk.training.settings import load_settings

    values = {**({} if config_file is None else load_settings(config_file)), **given}
    if resumed is not None:
        saved = run_folder(resumed).saved_settings()
        values = {**{key: saved[key] for key in FinetuneConfig.names() if key in saved}, **values}
    elif "label" not in values:
        raise ConfigError("--label is missing; name a label column of the table")
    elif protocol is not None:
        published = {"epochs": 2000, "batch_size": 32}
        return as_published(FinetuneConfig.from_dict({**published, **values}))
    elif untrained:
        values = {**FROM_RANDOM, **values}
    return FinetuneConfig.from_dict(values)


def _strip(clips: LabelledTable, id: str) -> Strip:
    """The faces of a clip, for the page."""
    from marlin_sdk.errors import VideoDecodeError
    from marlin_sdk.report.crops import Crop, Strip, data_uri

    place = next((one for one in clips.places if one.id == id), None)
    if place is None:
        return Strip(note="No crops: the clip is not there.")
    frames = place.frames()
    chosen = frames[:: max(1, len(frames) // 6)][:6]
    try:
        pixels = place.read(chosen)
    except VideoDecodeError as error:
        return Strip(note=f"No crops: {error}")
    return Strip(
        tuple(
            Crop(place.time_s(int(frame)), 0, data_uri(crop, ".jpg"))
            for frame, crop in zip(chosen, pixels, strict=True)
        )
    )
