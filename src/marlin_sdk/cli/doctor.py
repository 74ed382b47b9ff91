"""`marlin-sdk doctor`: check this machine, and say how to fix what is missing."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from marlin_sdk._version import __version__

if TYPE_CHECKING:
    from marlin_sdk.doctor.finding import Finding

_MARKS = {"ok": ("ok", "green"), "note": ("note", "yellow"), "fail": ("FAIL", "red")}
_NAME_WIDTH = 16


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--offline", is_flag=True, help="Do not try to reach the Hub.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(offline: bool, as_json: bool) -> None:
    """Check this machine, and say how to fix what is missing.

    Checks versions, devices, the video decoder, detector files, access to the Hub and free disk space, and runs a
    small model whose output is known.

    Exit status: 0 all required checks passed, 1 a required check failed.
    """
    from marlin_sdk.doctor.checks import run_checks

    found: list[Finding] = []
    if not as_json:
        click.echo(click.style(f"marlin-sdk {__version__}", bold=True))
    for finding in run_checks(offline=offline):
        if not as_json:
            _print(finding, new_part=not found or found[-1].part != finding.part)
        found.append(finding)
    failed = sum(finding.state == "fail" for finding in found)
    notes = sum(finding.state == "note" for finding in found)
    if as_json:
        findings = [asdict(finding) for finding in found]
        click.echo(json.dumps({"version": __version__, "ok": not failed, "findings": findings}, indent=1))
    else:
        noted = f"; notes: {notes}" if notes else ""
        verdict = f"Failed checks: {failed}{noted}." if failed else f"All required checks passed{noted}."
        click.echo("\n" + click.style(verdict, fg="red" if failed else "green", bold=True))
    sys.exit(1 if failed else 0)


def _print(finding: Finding, *, new_part: bool) -> None:
    if new_part:
        click.echo("\n" + click.style(finding.part, bold=True))
    mark, colour = _MARKS[finding.state]
    width = min(shutil.get_terminal_size().columns, 110)
    name = f"{finding.name:{_NAME_WIDTH}}"
    indent = " " * (8 + _NAME_WIDTH + 1)
    text = textwrap.fill(
        finding.text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    ).lstrip()
    click.echo(f"  {click.style(f'{mark:5}', fg=colour)} {name} {text}")
    if finding.remedy:
        click.echo(
            textwrap.fill(
                f"-> {finding.remedy}",
                width,
                initial_indent=indent,
                subsequent_indent=f"{indent}   ",
                break_on_hyphens=False,
                break_long_words=False,
            )
        )
