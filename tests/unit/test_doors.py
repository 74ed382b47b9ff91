"""The subpackages: each `__init__.py` describes its contents, and lists in `__all__` what others may import."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.conftest import ROOT

SRC = ROOT / "src"
ROOT_PACKAGE = SRC / "marlin_sdk"
PACKAGES = sorted(path.parent for path in ROOT_PACKAGE.rglob("__init__.py") if path.parent != ROOT_PACKAGE)


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(SRC).with_suffix("").parts)


def package_of(module: str) -> str:
    """The innermost package of a module."""
    path = SRC / module.replace(".", "/")
    return dotted(path if path.is_dir() else path.parent)


def imports_of(path: Path) -> Iterator[tuple[str, str]]:
    """The modules of this project that a file imports from, each with the imported name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("marlin_sdk."):
            for alias in node.names:
                yield node.module, alias.name


@pytest.mark.parametrize("folder", PACKAGES, ids=dotted)
def test_package_has_a_one_line_description_and_a_list_of_exports(folder: Path) -> None:
    package = import_module(dotted(folder))
    assert package.__doc__
    assert "\n" not in package.__doc__.strip()
    assert sorted(package.__all__) == sorted(set(package.__all__))
    for name in package.__all__:
        assert hasattr(package, name) or find_spec(f"{package.__name__}.{name}"), name


def test_packages_import_only_what_others_export() -> None:
    violations = []
    for path in sorted(ROOT_PACKAGE.rglob("*.py")):
        own = package_of(dotted(path))
        for module, name in imports_of(path):
            package = package_of(module)
            if package in (own, "marlin_sdk"):
                continue
            inner = module.removeprefix(f"{package}.") if module != package else name
            if inner not in import_module(package).__all__ or name.startswith("_"):
                violations.append(f"{dotted(path)}: {module}.{name}, which {package}.__all__ does not list")
    assert violations == []


def test_packages_have_few_files_and_files_are_short() -> None:
    large = [dotted(folder) for folder in PACKAGES if len(list(folder.glob("*.py"))) > 14]
    files = ROOT_PACKAGE.rglob("*.py")
    long = [dotted(path) for path in files if len(path.read_text(encoding="utf-8").splitlines()) > 350]
    assert (large, long) == ([], [])
