"""What holds of every data set."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.datasets.trees import plant

from marlin_sdk.datasets import read
from marlin_sdk.datasets.catalogue import DATA_SETS
from marlin_sdk.errors import ConfigError, MissingExtraError


@pytest.mark.parametrize("name", DATA_SETS)
def test_every_reader_loads_and_says_what_an_empty_folder_lacks(name: str, tmp_path: Path) -> None:
    assert callable(DATA_SETS[name].load())
    with pytest.raises(ConfigError, match=r"has no .*; expected .* Unpack all of it"):
        read(name, tmp_path)


@pytest.mark.parametrize("name", DATA_SETS)
def test_the_default_of_an_option_is_one_of_its_values(name: str) -> None:
    for key, option in DATA_SETS[name].options.items():
        assert option.check(option.default, key) == option.default


def test_unknown_names_and_options_are_refused(tmp_path: Path) -> None:
    plant(tmp_path, "happy/1.mp4")
    with pytest.raises(ConfigError, match="no data set 'celebvhq'; expected one of celebv-hq, "):
        read("celebvhq", tmp_path)
    with pytest.raises(ConfigError, match="folder has no option fold, task; its options: none"):
        read("folder", tmp_path, fold="1", task="x")
    with pytest.raises(ConfigError, match="dfew has no option task; its options: fold"):
        read("dfew", tmp_path, task="x")


def test_no_heavy_package_is_imported_to_read(tmp_path: Path) -> None:
    plant(tmp_path, "happy/a/1.mp4", "happy/b/1.mp4")
    code = (
        "import sys; from marlin_sdk.datasets import read; "
        f"assert len(read('folder', {str(tmp_path)!r}).clips) == 2; "
        "print({'torch', 'av', 'cv2', 'numpy', 'sklearn', 'h5py'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_without_scikit_learn_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path, *(f"happy/{index}.mp4" for index in range(9)))
    monkeypatch.setitem(sys.modules, "sklearn.model_selection", None)
    with pytest.raises(MissingExtraError, match=r"marlin-sdk\[probe\]"):
        read("folder", tmp_path)
