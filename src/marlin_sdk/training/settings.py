"""Settings of training runs: checks of values, and their YAML form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from marlin_sdk.atomic import atomic_path
from marlin_sdk.errors import ConfigError, MissingExtraError

__all__ = [
    "check_choice",
    "check_flag",
    "check_integer",
    "check_number",
    "is_number",
    "load_settings",
    "merge_settings",
    "save_settings",
]


def check_integer(name: str, value: object, minimum: int) -> None:
    """Check that a setting is an integer of at least `minimum`.

    Raises:
        ConfigError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise ConfigError(f"{name} is {value!r}; expected an integer of at least {minimum}{_yaml_hint(value)}")


def check_number(name: str, value: object, low: float, high: float, *, closed: bool = False) -> None:
    """Check that a setting is a finite number between `low` and `high`, or equal to one of them if `closed`.

    Raises:
        ConfigError: it is not.
    """
    fits = is_number(value) and value != float("inf")
    if not fits or not (low <= value <= high if closed else low < value < high):  # type: ignore[operator]
        limits = f"[{low}, {high}]" if closed else f"({low}, {high})"
        raise ConfigError(f"{name} is {value!r}; expected a number in {limits}{_yaml_hint(value)}")


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Check that a setting is one of some words.

    Raises:
        ConfigError: it is not.
    """
    if value not in choices:
        raise ConfigError(f"{name} is {value!r}; expected one of {', '.join(choices)}")


def check_flag(name: str, value: object) -> None:
    """Check that a setting is true or false.

    Raises:
        ConfigError: it is not.
    """
    if not isinstance(value, bool):
        raise ConfigError(f"{name} is {value!r}; expected true or false")


def is_number(value: object) -> bool:
    """Whether a value is an int or a float, and no bool."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _yaml_hint(value: object) -> str:
    """A hint for a string that Python parses as a number, but YAML 1.1 does not: 1e-4."""
    try:
        return f"; YAML reads {value} as text: write {float(value)}" if isinstance(value, str) else ""
    except ValueError:
        return ""


def load_settings(path: str | Path) -> dict[str, Any]:
    """Read the settings of a YAML file.

    Raises:
        ConfigError: no such file, not YAML, or not a mapping.
        MissingExtraError: PyYAML is not installed.
    """
    yaml = _yaml()
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {error}") from error
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigError(f"{path} is not a mapping of settings to values")
    return values


def merge_settings(
    config_file: str | Path | None, given: Mapping[str, Any], saved: Mapping[str, Any], *, without: Sequence[str]
) -> dict[str, Any]:
    """Merge settings: options override the file, which overrides the resumed run.

    Args:
        config_file: a YAML file.
        given: options.
        saved: of the resumed run; empty for a new one.
        without: entries of `saved` that are no settings.
    Raises:
        ConfigError: as in `load_settings`.
    """
    resumed = {key: value for key, value in saved.items() if key not in without}
    return {**resumed, **({} if config_file is None else load_settings(config_file)), **given}


def save_settings(values: Mapping[str, Any], path: Path) -> None:
    """Write settings as YAML, atomically.

    Raises:
        OSError: they cannot be written.
        MissingExtraError: PyYAML is not installed.
    """
    with atomic_path(path) as part:
        part.write_text(_yaml().safe_dump(dict(values), sort_keys=False), encoding="utf-8")


def _yaml() -> Any:
    try:
        import yaml
    except ImportError as error:
        raise MissingExtraError("A config file of a training run", "train") from error
    return yaml
