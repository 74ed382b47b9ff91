"""`marlin-sdk`: the commands under one name."""

from __future__ import annotations

from importlib import import_module

import click

from marlin_sdk._version import __version__

# Each command: its function, and what it does. Only the command that is called is imported.
_COMMANDS = {
    "extract": ("marlin_sdk.cli.extract:main", "Turn face videos into embeddings (also called marlin-extract)."),
    "data": ("marlin_sdk.cli.evaluation.data:command", "Write the clips of a public data set as a table."),
    "prepare": (
        "marlin_sdk.cli.training.prepare:command",
        "Find, crop and parse faces, for training.",
    ),
    "pretrain": ("marlin_sdk.cli.training.pretrain:command", "Pretrain a model on the output of `prepare`."),
    "finetune": ("marlin_sdk.cli.training.finetune:command", "Fine-tune a model and a head on labelled clips."),
    "reconstruct": ("marlin_sdk.cli.reconstruct:command", "Show how a model reconstructs a masked face."),
    "report": ("marlin_sdk.cli.report:main", "Show a folder of features as one HTML page."),
    "probe": ("marlin_sdk.cli.evaluation.probe:command", "Train a head on features, and say what it is worth."),
    "predict": (
        "marlin_sdk.cli.evaluation.predict:command",
        "Put a head that `probe` has fitted to use on new videos.",
    ),
    "evaluate": (
        "marlin_sdk.cli.evaluation.evaluate:main",
        "Score a file of predictions, of any model, with intervals.",
    ),
    "audit": (
        "marlin_sdk.cli.evaluation.audit:command",
        "Show where faces, features and a head lose, and for whom.",
    ),
    "sync": ("marlin_sdk.cli.sync.group:command", "Say whether the sound of a video is in time with the mouth."),
    "frechet": (
        "marlin_sdk.cli.evaluation.frechet:command",
        "Tell how far two dumps, or two videos, are apart.",
    ),
    "lipsync": ("marlin_sdk.cli.lipsync.group:command", "Make the lips of a face video fit another sound."),
    "download": ("marlin_sdk.cli.download:command", "Fetch all that a machine without a network needs."),
    "doctor": ("marlin_sdk.cli.doctor:main", "Check this machine, and say how to fix what is missing."),
}


class _LazyGroup(click.Group):
    """A group that imports a command when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="marlin-sdk")
def main() -> None:
    """A face video in, MARLIN features out.

    See `marlin-sdk COMMAND --help` for each command.
    """
    from marlin_sdk.cli.output import open_missing_streams

    open_missing_streams()
