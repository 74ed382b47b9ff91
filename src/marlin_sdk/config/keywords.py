"""A config as keyword arguments: parsed from them, and shown by `help()` in place of `**settings`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from difflib import get_close_matches
from inspect import Parameter, cleandoc, signature
from typing import TYPE_CHECKING, Any, TypeVar

from marlin_sdk.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["document_keywords", "read_keywords"]

_Config = TypeVar("_Config", bound="DataclassInstance")
_Method = TypeVar("_Method", bound=Callable[..., Any])
_REST = re.compile(r"^( +)(settings|options): .*\n(?:\1 .*\n)*", re.MULTILINE)


def read_keywords(config: type[_Config], keywords: Mapping[str, Any]) -> _Config:
    """Make a config from keyword arguments.

    Raises:
        ConfigError: an unknown name, or an invalid value.
    """
    known = [field.name for field in fields(config)]
    for name in keywords:
        if name not in known:
            hint = "".join(f"; did you mean {close!r}?" for close in get_close_matches(name, known, n=1))
            raise ConfigError(f"unknown setting {name!r}{hint}; the settings are {', '.join(known)}")
    return config(**keywords)


def document_keywords(config: type[DataclassInstance]) -> Callable[[_Method], _Method]:
    """Let `help()` and notebooks show each field of a config, its default and its meaning, in place of `**settings`.

    Args:
        config: a dataclass whose docstring describes its fields under "Attributes:".
    """

    def decorate(method: _Method) -> _Method:
        original = signature(method)
        parameters = list(original.parameters.values())
        first = [one for one in parameters if one.kind is Parameter.POSITIONAL_OR_KEYWORD]
        last = [one for one in parameters if one.kind is Parameter.KEYWORD_ONLY]
        own = [
            Parameter(field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=field.type)
            for field in fields(config)
        ]
        vars(method)["__signature__"] = original.replace(parameters=[*first, *own, *last])
        if method.__doc__ and config.__doc__:  # python -OO removes both
            method.__doc__ = _REST.sub(lambda match: _field_entries(config.__doc__, match[1]), method.__doc__, count=1)
        return method

    return decorate


def _field_entries(docstring: str | None, indent: str) -> str:
    """The entries of a docstring's "Attributes:", indented like those of "Args:"."""
    attributes = cleandoc(docstring or "").partition("Attributes:\n")[2]
    lines = []
    for line in attributes.splitlines():
        if line and not line.startswith("    "):
            break  # the next section
        lines.append(f"{indent}{line[4:]}\n" if line else "")
    return "".join(lines)
