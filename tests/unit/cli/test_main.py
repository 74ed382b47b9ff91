"""One command for all, which imports only the one that is called."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import click
import pytest
from click.testing import CliRunner

from marlin_sdk import __version__
from marlin_sdk.cli import main as group
from marlin_sdk.cli.main import main

HEAVY = ("torch", "cv2", "av", "huggingface_hub", "matplotlib", "jinja2", "sklearn", "pyarrow", "numpy")
COMMANDS = tuple(f"marlin_sdk.cli.{name}" for name in ("extract", "report", "doctor", "evaluate"))


def loaded_after(*arguments: str) -> tuple[list[str], str]:
    """The heavy packages, and the commands, that a call has imported; and what it printed."""
    code = (
        "import sys\nfrom marlin_sdk.cli.main import main\n"
        f"try: main({list(arguments)!r}, prog_name='marlin-sdk')\n"
        "except SystemExit: pass\n"
        f"names = {HEAVY + COMMANDS!r}\n"
        "print('LOADED', *[name for name in names if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    text, _, loaded = done.stdout.rpartition("LOADED")
    return loaded.split(), text


def test_help_lists_every_command_and_imports_none() -> None:
    loaded, text = loaded_after("--help")
    assert loaded == []
    for name in ("extract", "report", "doctor", "evaluate"):
        assert f"\n  {name} " in text


@pytest.mark.parametrize("name", ["report", "doctor", "extract", "evaluate"])
def test_help_of_a_command_imports_that_one_and_nothing_heavy(name: str) -> None:
    loaded, text = loaded_after(name, "--help")
    assert loaded == [f"marlin_sdk.cli.{name}"]
    assert text.startswith(f"Usage: marlin-sdk {name} ")


def test_every_command_of_the_table_is_there() -> None:
    for place, help_text in group._COMMANDS.values():
        module, _, name = place.partition(":")
        assert isinstance(getattr(import_module(module), name), click.Command)
        assert help_text.endswith(".")


def test_an_unknown_command_is_a_usage_error() -> None:
    result = CliRunner().invoke(main, ["reprot", "x"])
    assert result.exit_code == 2
    assert "reprot" in result.stderr


def test_the_version_is_told() -> None:
    assert __version__ in CliRunner().invoke(main, ["--version"]).stdout


def test_a_command_gets_its_arguments() -> None:
    result = CliRunner().invoke(main, ["report", "/nowhere/at/all"])
    assert result.exit_code == 2
    assert "/nowhere/at/all" in result.stderr
