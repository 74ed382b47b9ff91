"""Nothing is skipped but what the list in tests/conftest.py allows."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from tests.conftest import ALLOWED_SKIPS

TESTS = Path(__file__).parents[1]
WAYS_OUT = {"skip", "skipif", "xfail", "importorskip", "exit"}


def ways_out(source: str) -> list[str]:
    """Each place where a test could be passed over, as its code."""
    return [ast.unparse(node) for node in ast.walk(ast.parse(source)) if leads_out(node)]


def leads_out(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.module in ("pytest", "unittest")
    if isinstance(node, ast.Attribute):
        code = ast.unparse(node)
        return code.endswith("SkipTest") or (node.attr in WAYS_OUT and code.startswith("pytest."))
    return isinstance(node, ast.Name) and node.id == "SkipTest"


@pytest.mark.parametrize(
    "source",
    [
        "@pytest.mark.skip(reason='x')\ndef test(): ...",
        "@pytest.mark.skipif(True, reason='x')\ndef test(): ...",
        "pytestmark = pytest.mark.xfail",
        "cv2 = pytest.importorskip('cv2')",
        "def test():\n    pytest.skip('x')",
        "from pytest import skip as s",
        "raise unittest.SkipTest",
    ],
)
def test_every_way_out_is_found(source: str) -> None:
    assert ways_out(source)


def test_only_the_lists_own_skips_are_in_the_tests() -> None:
    found = {path: ways_out(path.read_text(encoding="utf-8")) for path in TESTS.rglob("*.py")}
    assert {path.relative_to(TESTS).as_posix(): places for path, places in found.items() if places} == {
        "conftest.py": ["pytest.skip", "pytest.skip", "pytest.mark.skip"]
    }


def test_list_of_allowed_skips_is_this_one() -> None:
    assert ALLOWED_SKIPS == {
        "reference data": "needs the reference data of ../shared (MARLIN_SHARED)",
        "gpu": "needs a CUDA device",
        "browser": "needs a Chromium browser (chromium or google-chrome on the PATH)",
        "shellcheck": "needs shellcheck on the PATH",
    }


def test_skips_of_this_run_are_on_the_list(request: pytest.FixtureRequest) -> None:
    reasons = {
        marker.kwargs["reason"]
        for item in request.session.items
        for marker in item.iter_markers()
        if marker.name in ("skip", "skipif", "xfail")
    }
    assert reasons <= set(ALLOWED_SKIPS.values())
