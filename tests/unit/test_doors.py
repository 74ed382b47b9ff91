"""The rooms of the package: each has a door that says what is inside, and lists what others may take."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.conftest import ROOT

SRC = ROOT / "src"
HOUSE = SRC / "marlin_sdk"
ROOMS = sorted(path.parent for path in HOUSE.rglob("__init__.py") if path.parent != HOUSE)


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(SRC).with_suffix("").parts)


def room_of(module: str) -> str:
    """The innermost room that a module lies in."""
    path = SRC / module.replace(".", "/")
    return dotted(path if path.is_dir() else path.parent)


def imports_of(path: Path) -> Iterator[tuple[str, str]]:
    """The modules of ours that a file imports, each with the name that it takes."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("marlin_sdk."):
            for alias in node.names:
                yield node.module, alias.name


@pytest.mark.parametrize("room", ROOMS, ids=dotted)
def test_door_says_what_is_inside_and_what_others_may_take(room: Path) -> None:
    door = import_module(dotted(room))
    assert door.__doc__
    assert "\n" not in door.__doc__.strip()
    assert sorted(door.__all__) == sorted(set(door.__all__))
    for name in door.__all__:
        assert hasattr(door, name) or find_spec(f"{door.__name__}.{name}"), name


def test_rooms_take_only_what_doors_list() -> None:
    trespasses = []
    for path in sorted(HOUSE.rglob("*.py")):
        own = room_of(dotted(path))
        for module, name in imports_of(path):
            room = room_of(module)
            if room in (own, "marlin_sdk"):
                continue
            inner = module.removeprefix(f"{room}.") if module != room else name
            if inner not in import_module(room).__all__ or name.startswith("_"):
                trespasses.append(f"{dotted(path)}: {module}.{name}, which the door of {room} does not list")
    assert trespasses == []


def test_rooms_are_not_overfull_and_files_not_long() -> None:
    crowded = [dotted(room) for room in ROOMS if len(list(room.glob("*.py"))) > 14]
    long = [dotted(path) for path in HOUSE.rglob("*.py") if len(path.read_text(encoding="utf-8").splitlines()) > 350]
    assert (crowded, long) == ([], [])
