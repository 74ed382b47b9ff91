"""`marlin-sdk lipsync`: lips for another sound."""

from __future__ import annotations

import click

from marlin_sdk.cli.lipsync import evaluate, generate, train
from marlin_sdk.cli.options import CONTEXT

__all__ = ["command"]


@click.group("lipsync", context_settings=CONTEXT)
def command() -> None:
    """Make the lips of a face video fit another sound. Films are marked as synthetic.

    \b
    marlin-sdk sync train videos/ -o runs/sync
    marlin-sdk lipsync train videos/ -o runs/lips --sync runs/sync
    marlin-sdk lipsync generate --face talk.mp4 --audio speech.wav --model runs/lips -o dubbed.mp4
    marlin-sdk lipsync evaluate held-out/ --model runs/lips --sync runs/sync -o report.json

    Read docs/explanation/synthetic-faces.md first: whose face, and with whose consent?
    """


command.add_command(train.command)
command.add_command(generate.command)
command.add_command(evaluate.command)
