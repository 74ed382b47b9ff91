"""The result of one check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "State"]

State = Literal["ok", "note", "fail"]
"""Passed; worth knowing, but nothing required is missing; the package does not work as it is."""


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        part: part of the package or the machine.
        name: what was checked.
        state: whether it passed.
        text: what was found.
        remedy: how to fix it; given for each failure.
    """

    part: str
    name: str
    state: State
    text: str
    remedy: str = ""
