"""Downloads of single files, without a network."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from tests.making import lay

from marlin_sdk.errors import DownloadError
from marlin_sdk.weights import downloads
from marlin_sdk.weights.downloads import Asset, fetch_asset, marlin_home

# Nothing listens there: a test that connects to it fails.
NOWHERE = "http://127.0.0.1:9/file.bin"


def test_home_is_chosen_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert marlin_home() == tmp_path / "home"
    monkeypatch.delenv("MARLIN_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert marlin_home() == tmp_path / "xdg" / "marlin-sdk"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert marlin_home() == tmp_path / ".cache" / "marlin-sdk"


@pytest.mark.parametrize("length", [None, 10, 64])
def test_file_put_by_hand_needs_no_network(tmp_path: Path, length: int | None) -> None:
    digest = hashlib.sha256(b"weights").hexdigest()
    asset = Asset("file.bin", NOWHERE, sha256=digest[:length].upper() if length else None)
    laid = lay(tmp_path / "home" / "assets" / "file.bin")
    assert fetch_asset(asset) == laid
    assert fetch_asset(asset, cache_dir=str(laid.parent), local_files_only=True) == laid
    assert [path.name for path in laid.parent.iterdir()] == ["file.bin"]


@pytest.mark.parametrize(("data", "fault"), [(b"other", "expected 0123"), (b"", "is empty")])
def test_wrong_file_is_refused_and_not_removed(tmp_path: Path, data: bytes, fault: str) -> None:
    laid = lay(tmp_path / "file.bin", data)
    with pytest.raises(DownloadError, match=f"{fault}.*delete it"):
        fetch_asset(Asset("file.bin", NOWHERE, sha256="0123"), cache_dir=tmp_path)
    assert laid.read_bytes() == data


@pytest.mark.parametrize("variable", [True, False])
def test_offline_says_how_to_provide_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: bool) -> None:
    if variable:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    asset = Asset("file.bin", NOWHERE, by_hand='pass detector="path/to/file.bin"')
    with pytest.raises(DownloadError, match="downloads are off") as caught:
        fetch_asset(asset, local_files_only=not variable)
    for part in (NOWHERE, asset.by_hand, str(tmp_path / "home" / "assets" / "file.bin"), "MARLIN_HOME"):
        assert part in str(caught.value)
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/file.bin", "/etc/hostname"])
def test_only_http_urls_are_downloaded(tmp_path: Path, url: str) -> None:
    with pytest.raises(DownloadError, match="only http"):
        fetch_asset(Asset("file.bin", url), cache_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_published_assets_are_well_formed() -> None:
    published = [value for value in vars(downloads).values() if isinstance(value, Asset)]
    assert len({asset.filename for asset in published}) == len(published) == 7
    for asset in published:
        assert asset.url.startswith("https://")
        assert Path(asset.filename).name == asset.filename
