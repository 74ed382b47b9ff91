"""The names that `import marlin_sdk` exports, and its import time."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import marlin_sdk
from marlin_sdk import errors

SLOW = (
    "torch",
    "cv2",
    "av",
    "huggingface_hub",
    "face_alignment",
    "skimage",
    "requests",
    "safetensors",
    "pyarrow",
    "ray",
)


def test_export_list_is_complete_and_sorted() -> None:
    assert list(marlin_sdk.__all__) == sorted(marlin_sdk.__all__)
    assert set(marlin_sdk.__all__) == {*marlin_sdk._HOMES, "__version__"}
    assert set(errors.__all__) <= set(marlin_sdk.__all__)
    assert dir(marlin_sdk) == marlin_sdk.__all__


def test_type_checkers_see_the_same_names_in_the_same_modules() -> None:
    tree = ast.parse(Path(marlin_sdk.__file__).read_text(encoding="utf-8"))
    mirrors = [node for node in tree.body if isinstance(node, ast.If)]
    assert len(mirrors) == 1
    imports = [node for node in mirrors[0].body if isinstance(node, ast.ImportFrom)]
    seen = {alias.name: str(node.module).removeprefix("marlin_sdk.") for node in imports for alias in node.names}
    assert seen == marlin_sdk._HOMES


@pytest.mark.parametrize("name", marlin_sdk.__all__)
def test_name_is_imported_from_its_module(name: str) -> None:
    value = getattr(marlin_sdk, name)
    if name != "__version__":
        home = import_module(f"marlin_sdk.{marlin_sdk._HOMES[name]}")
        assert value is getattr(home, name)
        assert name in home.__all__
        assert value.__module__.startswith(home.__name__)  # a package, or the module itself


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'marlin_sdk' has no attribute 'Merlin'"):
        _ = marlin_sdk.Merlin


@pytest.mark.parametrize(
    "code",
    [
        "import marlin_sdk",
        "from marlin_sdk import MarlinError, ExtractionConfig, ModelConfig",
        "import marlin_sdk.cli.extract",
        "import marlin_sdk.cli.main",
        "import sys; sys.argv[1:] = ['--help']; import atexit; atexit.register(report)\n"
        "import runpy; runpy.run_module('marlin_sdk.cli', run_name='__main__')",
    ],
    ids=["package", "errors and configs", "command", "group of commands", "--help"],
)
def test_import_loads_no_slow_package(code: str) -> None:
    report = (
        f"import sys\ndef report():\n    print('slow:', sorted(set({SLOW!r}) & set(sys.modules)), file=sys.stderr)\n"
    )
    ending = "" if "atexit" in code else "\nreport()"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"{report}{code}{ending}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "slow: []\n"
    assert ("[INPUT]..." in done.stdout) == ("--help" in code)


def test_dump_is_read_and_reported_without_torch(tmp_path: Path) -> None:
    """Packages that read or show stored features import neither torch, av nor cv2."""
    earlier = Path(__file__).parents[1] / "fixtures" / "version-0.1.0"
    script = f"""
import sys
from pathlib import Path
import marlin_sdk, marlin_sdk.dump.reading, marlin_sdk.features, marlin_sdk.report.page
slow = {{"torch", "av", "cv2"}}
assert not slow & set(sys.modules), slow & set(sys.modules)
from marlin_sdk import load_features
from marlin_sdk.report.page import ReportOptions, write_report
for name in ("npz", "parquet"):
    folder = Path({str(earlier)!r}) / f"dump-{{name}}"
    dump = load_features(folder)
    assert len(dump) == 2 and dump["first"].features.shape == (3, 8)
    write_report(folder, Path(f"{{name}}.html"), ReportOptions(crops=0))
assert "torch" not in sys.modules
from marlin_sdk import pad_collate
assert "torch" in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
