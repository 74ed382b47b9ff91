"""What a machine without a network needs: into the caches, or into a folder to carry over."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from marlin_sdk.atomic import atomic_path
from marlin_sdk.errors import DownloadError
from marlin_sdk.weights.downloads import Asset, fetch_asset
from marlin_sdk.weights.hub import resolve_model
from marlin_sdk.weights.identity import file_sha256

__all__ = ["download_assets", "download_model"]


def download_model(
    model: str, *, decoder: bool = False, revision: str | None = None, folder: Path | None = None
) -> list[Path]:
    """Download a model.

    Args:
        model: a published name or a Hub repo.
        decoder: the weights with their decoder.
        revision: branch, tag or commit of a Hub repo.
        folder: gets the files in a folder named after the model, which `Marlin.from_pretrained` takes; None leaves
            them in the cache.
    Returns:
        The files.
    Raises:
        ConfigError: not a model.
        DownloadError: a file cannot be downloaded, or stored in the folder.
    """
    files = resolve_model(model, decoder=decoder, revision=revision)
    found = [path for path in (files.config, files.weights) if path is not None]
    if folder is None:
        return found
    return [_place(path, folder / files.name.rpartition("/")[2] / path.name) for path in found]


def download_assets(assets: Sequence[Asset], *, folder: Path | None = None) -> list[Path]:
    """Download files of plain web servers, such as detectors, checked against their sha256 where it is known.

    Args:
        assets: the files.
        folder: gets them; None leaves them in the cache.
    Raises:
        DownloadError: a file cannot be downloaded, or stored in the folder.
    """
    found = [fetch_asset(asset) for asset in assets]
    return found if folder is None else [_place(path, folder / path.name) for path in found]


def _place(source: Path, target: Path) -> Path:
    """Copy a file, unless it is there already."""
    try:
        if not target.is_file() or file_sha256(target) != file_sha256(source):
            with atomic_path(target) as part:
                shutil.copyfile(source, part)
    except OSError as error:
        advice = "free some space, or choose another folder"
        raise DownloadError(f"cannot write {target}: {error.strerror}; {advice}") from error
    return target
