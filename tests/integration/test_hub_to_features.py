"""A model of the Hub, from its name to features: the real client against a server that plays the Hub."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.integration.conftest import Command
from tests.integration.loopback import COMMIT, OTHER_COMMIT, Loopback, Repo
from tests.making import TINY, noise

from marlin_sdk import DownloadError, Marlin, VideoFeatures, WeightsError
from marlin_sdk.face import detectors
from marlin_sdk.weights.downloads import YUNET
from marlin_sdk.weights.hub import WEIGHTS_LICENCE

PUBLISHED = "marlin_vit_small_ytf"


@pytest.fixture(scope="session")
def published_files(tiny_folder: Path) -> Mapping[str, bytes]:
    return {name: (tiny_folder / name).read_bytes() for name in ("config.json", "model.safetensors")}


@pytest.fixture
def repo(server: Loopback, published_files: Mapping[str, bytes]) -> Repo:
    own = Repo(
        commits={COMMIT: published_files, OTHER_COMMIT: {**published_files, "model.safetensors": b"other"}},
        branches={"main": COMMIT, "broken": OTHER_COMMIT},
    )
    server.repos = {"owner/name": own, f"ControlNet/{PUBLISHED}": own}
    return own


def load(model: str, tmp_path: Path, **changes: Any) -> Marlin:
    return Marlin.from_pretrained(
        model, **{"device": "cpu", "detector": "lbp", "cache_dir": tmp_path / "hub", **changes}
    )


@pytest.mark.usefixtures("repo")
@pytest.mark.parametrize(
    ("model", "revision", "name"),
    [("owner/name", None, "owner/name"), ("owner/name", COMMIT, "owner/name"), (PUBLISHED, None, PUBLISHED)],
)
def test_commit_goes_into_the_features_and_their_file(
    tiny: Marlin, tmp_path: Path, model: str, revision: str | None, name: str
) -> None:
    video = noise(60, 32, 32)
    result = load(model, tmp_path, revision=revision).extract(video)
    saved = VideoFeatures.load(result.save(tmp_path / "out.safetensors"))
    for meta in (result.meta, saved.meta):
        assert (meta["model"], meta["commit"], meta["untrained"]) == (name, COMMIT, False)
        assert meta["config"] == TINY.without_decoder().to_dict()
    assert np.array_equal(saved.features, tiny.extract(video).features)


def test_token_opens_a_private_repo_and_its_lack_says_to_log_in(tmp_path: Path, repo: Repo) -> None:
    repo.token = "hf_secret"
    with pytest.raises(DownloadError, match=r"owner/name.*log in.*token="):
        load("owner/name", tmp_path, token=False)
    with pytest.raises(DownloadError, match="log in") as caught:
        load("owner/name", tmp_path, token="hf_wrong")
    assert "hf_wrong" not in str(caught.value)
    result = load("owner/name", tmp_path, token="hf_secret").extract(noise(20, 32, 32))
    assert result.meta["commit"] == COMMIT
    assert "hf_secret" not in str(result.meta)


@pytest.mark.usefixtures("repo", "_no_waiting")
def test_repo_or_revision_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="no such repo"):
        load("owner/other", tmp_path)
    with pytest.raises(DownloadError, match="no such revision"):
        load("owner/name", tmp_path, revision="v9")


@pytest.mark.usefixtures("repo")
def test_file_of_the_hub_that_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"model\.safetensors is not a safetensors file"):
        load("owner/name", tmp_path, revision="broken")


@pytest.mark.usefixtures("repo", "_no_waiting")
def test_cut_connection_leaves_nothing_that_is_used_later(server: Loopback, tmp_path: Path) -> None:
    server.cuts = [-1] + [100] * 50
    with pytest.raises(DownloadError, match=r"model\.safetensors of Hub repo owner/name"):
        load("owner/name", tmp_path)
    server.cuts = []
    assert load("owner/name", tmp_path).extract_video(noise(20, 32, 32)).shape == (1, 32)


@pytest.mark.usefixtures("repo", "_no_waiting")
def test_cache_serves_without_a_network(
    server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused_url: str
) -> None:
    with pytest.raises(DownloadError, match="downloads are off"):
        load("owner/name", tmp_path, local_files_only=True)
    assert server.requests == []
    load("owner/name", tmp_path)
    server.requests.clear()
    assert load("owner/name", tmp_path, local_files_only=True).extract(noise(20, 32, 32)).meta["commit"] == COMMIT
    assert server.requests == []
    monkeypatch.setenv("HF_ENDPOINT", refused_url)
    assert load("owner/name", tmp_path).extract(noise(20, 32, 32)).meta["commit"] == COMMIT


@pytest.mark.usefixtures("repo")
def test_detector_with_the_wrong_checksum_is_never_used(
    server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = b"not the detector"
    server.files["/yunet.onnx"] = wrong
    monkeypatch.setitem(detectors._ASSETS, "yunet", (replace(YUNET, url=f"{server.url}/yunet.onnx"),))
    model = Marlin.untrained(TINY, device="cpu")
    said = f"{YUNET.filename}.*sha256 {hashlib.sha256(wrong).hexdigest()}, expected {YUNET.sha256}"
    for _ in range(2):
        with pytest.raises(DownloadError, match=said):
            model.extract_video(noise(20, 64, 64))
    kept = [path for path in (tmp_path / "home").rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert kept == []


@pytest.mark.usefixtures("repo")
def test_quiet_command_tells_the_licence_at_the_first_download(
    server: Loopback, tmp_path: Path, command: Command, small_video: Path
) -> None:
    there = {"HF_ENDPOINT": server.url, "HF_HUB_CACHE": str(tmp_path / "hub")}
    for said in (WEIGHTS_LICENCE, None):
        done = command(small_video, "-o", "out", "--model", PUBLISHED, "-q", **there)
        assert done.returncode == 0, done.stderr
        lines = [line for line in done.stderr.splitlines() if "licen" in line.lower()]
        assert lines == ([said] if said else [])


@pytest.mark.usefixtures("repo")
def test_command_with_a_model_of_the_hub(server: Loopback, tmp_path: Path, command: Command, small_video: Path) -> None:
    there = {"HF_ENDPOINT": server.url, "HF_HUB_CACHE": str(tmp_path / "hub")}
    done = command(small_video, "-o", "out", "--model", PUBLISHED, **there)
    assert done.returncode == 0, done.stderr
    assert WEIGHTS_LICENCE in done.stderr
    assert VideoFeatures.load("out/small.npz").meta["commit"] == COMMIT
    again = command(small_video, "-o", "out", "--model", PUBLISHED, "--offline", "--revision", COMMIT, **there)
    assert again.returncode == 0, again.stderr
    assert WEIGHTS_LICENCE not in again.stderr
    missing = command(small_video, "-o", "out", "--model", "owner/other", **there)
    assert missing.returncode == 1
    assert "no such repo" in missing.stderr
    assert "Traceback" not in missing.stderr
