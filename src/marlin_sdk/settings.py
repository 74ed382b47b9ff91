"""The settings of an extraction as keyword arguments: read, and shown by `help()`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from difflib import get_close_matches
from inspect import Parameter, signature
from typing import Any, TypeVar

from marlin_sdk.config import ExtractionConfig, ExtractionSettings
from marlin_sdk.errors import ConfigError

__all__ = ["read_settings", "spell_out_settings"]

_Method = TypeVar("_Method", bound=Callable[..., Any])


def read_settings(settings: ExtractionSettings) -> ExtractionConfig:
    """The config that keyword arguments ask for.

    Raises:
        ConfigError: a setting that there is none of, or a value that cannot be used.
    """
    known = [field.name for field in fields(ExtractionConfig)]
    for name in settings:
        if name not in known:
            meant = "".join(f"; did you mean {close!r}?" for close in get_close_matches(name, known, n=1))
            raise ConfigError(f"unknown setting {name!r}{meant}; the settings are {', '.join(known)}")
    return ExtractionConfig(**settings)


def spell_out_settings(method: _Method) -> _Method:
    """Let `help()` and notebooks show each setting with its default, where the source says `**settings`."""
    shown = signature(method)
    first = [parameter for parameter in shown.parameters.values() if parameter.kind is Parameter.POSITIONAL_OR_KEYWORD]
    last = [parameter for parameter in shown.parameters.values() if parameter.kind is Parameter.KEYWORD_ONLY]
    settings = [
        Parameter(field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=field.type)
        for field in fields(ExtractionConfig)
    ]
    vars(method)["__signature__"] = shown.replace(parameters=[*first, *settings, *last])
    return method
