"""`marlin-sdk sync`: is the sound in time with the mouth?"""

from __future__ import annotations

import click

from marlin_sdk.cli.options import CONTEXT
from marlin_sdk.cli.sync import score, train

__all__ = ["command"]


@click.group("sync", context_settings=CONTEXT)
def command() -> None:
    """Say whether the sound of a video is in time with the mouth, and by how much it is off.

    \b
    marlin-sdk sync train videos/ -o runs/sync
    marlin-sdk sync score talk.mp4 --model runs/sync
    """


command.add_command(train.command)
command.add_command(score.command)
