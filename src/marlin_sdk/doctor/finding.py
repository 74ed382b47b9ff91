"""What one check found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "State"]

State = Literal["ok", "note", "fail"]
"""Fine; worth knowing, but nothing necessary is missing; the package does not work as it is."""


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        part: of the package or the machine.
        name: of what was looked at.
        state: whether it will do.
        text: what was found.
        remedy: what to do about it; given for each failure.
    """

    part: str
    name: str
    state: State
    text: str
    remedy: str = ""
