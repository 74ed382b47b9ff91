"""Resolving a name, Hub repo, folder or file to local files, without a network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.making import lay

from marlin_sdk.config import PRESETS
from marlin_sdk.errors import ConfigError, WeightsError
from marlin_sdk.weights import hub
from marlin_sdk.weights.hub import resolve_model


def test_import_is_light() -> None:
    heavy = "{'torch', 'requests', 'huggingface_hub', 'tqdm', 'numpy'}"
    code = f"import sys, marlin_sdk.weights.hub; sys.exit(', '.join({heavy} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_exports_are_sorted_and_there() -> None:
    assert hub.__all__ == sorted(hub.__all__, key=lambda name: (not name.isupper(), name))
    assert all(hasattr(hub, name) for name in hub.__all__)


def test_folder_with_the_layout_of_the_hub(tmp_path: Path) -> None:
    weights, config = lay(tmp_path / "model" / "model.safetensors"), lay(tmp_path / "model" / "config.json", b"{}")
    lay(tmp_path / "model" / "optimizer.pt")
    files = resolve_model(tmp_path / "model")
    assert files == hub.ModelFiles(weights, config, name=str(tmp_path / "model"), preset=None, commit=None)
    assert resolve_model("./model").weights.resolve() == weights
    # A folder that exists is not looked up on the Hub, though its name looks like a repo.
    lay(tmp_path / "owner" / "name" / "model.safetensors")
    assert resolve_model("owner/name").weights == Path("owner/name/model.safetensors")


@pytest.mark.parametrize("filename", ["epoch=3.ckpt", "own.pt", "own.safetensors"])
def test_folder_with_one_checkpoint(tmp_path: Path, filename: str) -> None:
    weights = lay(tmp_path / "model" / filename)
    lay(tmp_path / "model" / "notes.txt")
    files = resolve_model(tmp_path / "model")
    assert (files.weights, files.config) == (weights, None)


@pytest.mark.parametrize("filenames", [["a.pt", "b.ckpt"], ["notes.txt"], []])
def test_folder_without_exactly_one_checkpoint_lists_its_files(tmp_path: Path, filenames: list[str]) -> None:
    (tmp_path / "model").mkdir()
    for filename in filenames:
        lay(tmp_path / "model" / filename)
    with pytest.raises(WeightsError, match=f"found: {', '.join(filenames) or 'nothing'}"):
        resolve_model(tmp_path / "model")


def test_pipe_in_place_of_weights_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "own.safetensors")
    with pytest.raises(WeightsError, match="is a pipe or device; expected a file"):
        resolve_model(tmp_path / "own.safetensors")


def test_file_uses_a_config_beside_it_only_in_the_format_of_the_hub(tmp_path: Path) -> None:
    config = lay(tmp_path / "config.json", b"{}")
    assert resolve_model(lay(tmp_path / "own.safetensors")).config == config
    assert resolve_model(str(lay(tmp_path / "own.pt"))).config is None


@pytest.mark.parametrize(
    "missing",
    [
        "own.pt",
        "folder/own.ckpt",
        "own.safetensors",
        "./own",
        "../own",
        "/own",
        "~/own",
        "~nobody-of-that-name",
        "a/b/c",
        Path("own"),
        Path("owner/name"),
        Path("marlin_vit_small_ytf"),
    ],
)
def test_missing_path(missing: str | Path) -> None:
    with pytest.raises(WeightsError, match="no such file"):
        resolve_model(missing)


@pytest.mark.parametrize("odd", ["", " ", "marlin", "own er/name", "https://example.org/own.pt", "x" * 5000, "a/b--c"])
def test_unknown_model_lists_the_published_names(odd: str) -> None:
    with pytest.raises(ConfigError, match=", ".join(PRESETS) if odd != "a/b--c" else "cannot be a Hub repo"):
        resolve_model(odd)


def test_revision_of_a_release_file_is_refused() -> None:
    with pytest.raises(ConfigError, match="revision"):
        resolve_model("marlin_vit_small_ytf", decoder=True, revision="main")


def test_release_file_put_by_hand(tmp_path: Path) -> None:
    laid = lay(tmp_path / "home" / "assets" / "marlin_vit_small_ytf.full.pt")
    for name in ("marlin_vit_small_ytf", "ControlNet/marlin_vit_small_ytf"):
        files = resolve_model(name, decoder=True)
        assert files == hub.ModelFiles(laid, None, "marlin_vit_small_ytf", preset="marlin_vit_small_ytf", commit=None)


def test_folder_named_like_a_published_model_does_not_shadow_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = lay(tmp_path / "marlin_vit_small_ytf" / "model.safetensors")
    laid = lay(tmp_path / "home" / "assets" / "marlin_vit_small_ytf.full.pt")
    assert resolve_model("marlin_vit_small_ytf", decoder=True).weights == laid
    assert "pass './marlin_vit_small_ytf'" in caplog.text
    assert resolve_model("./marlin_vit_small_ytf").weights.resolve() == own
    assert resolve_model(Path("marlin_vit_small_ytf")).weights.resolve() == own
