"""For mkdocs: writes the options of each command into the page that asks for them, so that it stays true."""

from __future__ import annotations

import enum
from typing import Any

import click

from marlin_sdk.cli import doctor, download, extract, reconstruct, report
from marlin_sdk.cli.evaluation import audit, data, evaluate, frechet, predict, probe
from marlin_sdk.cli.lipsync import evaluate as lipsync_evaluate
from marlin_sdk.cli.lipsync import generate as lipsync_generate
from marlin_sdk.cli.lipsync import train as lipsync_train
from marlin_sdk.cli.sync import score, train
from marlin_sdk.cli.training import finetune, prepare, pretrain

PLACES = {
    "<!-- options of marlin-extract -->": extract.main,
    "<!-- options of marlin-sdk data -->": data.command,
    "<!-- options of marlin-sdk prepare -->": prepare.command,
    "<!-- options of marlin-sdk pretrain -->": pretrain.command,
    "<!-- options of marlin-sdk finetune -->": finetune.command,
    "<!-- options of marlin-sdk reconstruct -->": reconstruct.command,
    "<!-- options of marlin-sdk predict -->": predict.command,
    "<!-- options of marlin-sdk report -->": report.main,
    "<!-- options of marlin-sdk probe -->": probe.command,
    "<!-- options of marlin-sdk evaluate -->": evaluate.main,
    "<!-- options of marlin-sdk audit -->": audit.command,
    "<!-- options of marlin-sdk sync train -->": train.command,
    "<!-- options of marlin-sdk sync score -->": score.command,
    "<!-- options of marlin-sdk frechet -->": frechet.command,
    "<!-- options of marlin-sdk lipsync train -->": lipsync_train.command,
    "<!-- options of marlin-sdk lipsync generate -->": lipsync_generate.command,
    "<!-- options of marlin-sdk lipsync evaluate -->": lipsync_evaluate.command,
    "<!-- options of marlin-sdk download -->": download.command,
    "<!-- options of marlin-sdk doctor -->": doctor.main,
}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by mkdocs with the source of each page."""
    for place, command in PLACES.items():
        if place in markdown:
            markdown = markdown.replace(place, option_table(command))
    return markdown


def option_table(command: click.Command) -> str:
    """A row for each option: how it is written, its default, what it does."""
    rows = ["| option | default | what it does |", "| --- | --- | --- |"]
    rows += [_row(option) for option in command.params if isinstance(option, click.Option)]
    return "\n".join(rows)


def _row(option: click.Option) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    if isinstance(option.type, click.Choice):
        names += "<br>" + " \\| ".join(f"`{choice}`" for choice in option.type.choices)
    elif option.metavar or not option.is_flag:
        names += f" {option.metavar or option.type.name.upper()}"
    shown = "required" if option.required else _default(option)
    return f"| {names} | {shown} | {option.help} |"


def _default(option: click.Option) -> str:
    value = option.default
    # click marks "no default" with an enum member since 8.3, with None before.
    if value is None or value is False or isinstance(value, enum.Enum) or callable(value):
        return ""
    return f"`{option.opts[0].removeprefix('--') if value is True else value}`"
