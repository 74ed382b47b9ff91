"""`marlin-sdk download` against a server that plays the Hub and the host of the detector."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.integration.loopback import COMMIT, Loopback, Repo
from tests.making import noise

from marlin_sdk import Marlin
from marlin_sdk.cli.download import command
from marlin_sdk.face import detectors
from marlin_sdk.weights import downloads
from marlin_sdk.weights.downloads import SFACE, YUNET, marlin_home

PUBLISHED = "marlin_vit_small_ytf"
DETECTOR = b"a network"
RECOGNISER = b"another network"


@pytest.fixture
def hosts(server: Loopback, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Loopback:
    files = {name: (tiny_folder / name).read_bytes() for name in ("config.json", "model.safetensors")}
    server.repos = {f"ControlNet/{PUBLISHED}": Repo(commits={COMMIT: files}, branches={"main": COMMIT})}
    server.files["/yunet.onnx"] = DETECTOR
    asset = replace(YUNET, url=f"{server.url}/yunet.onnx", sha256=hashlib.sha256(DETECTOR).hexdigest())
    monkeypatch.setitem(detectors._ASSETS, "yunet", (asset,))
    server.files["/sface.onnx"] = RECOGNISER
    digest = hashlib.sha256(RECOGNISER).hexdigest()
    monkeypatch.setattr(downloads, "SFACE", replace(SFACE, url=f"{server.url}/sface.onnx", sha256=digest))
    return server


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(command, ["--model", PUBLISHED, *map(str, arguments)])


def test_folder_holds_all_that_another_machine_needs(hosts: Loopback, tmp_path: Path) -> None:
    done = run("-o", tmp_path / "bundle")
    assert done.exit_code == 0, done.output
    folder = tmp_path / "bundle"
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == [
        "SHA256SUMS", YUNET.filename, f"{PUBLISHED}/config.json", f"{PUBLISHED}/model.safetensors",
    ]  # fmt: skip
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=folder, check=True)
    model = Marlin.from_pretrained(folder / PUBLISHED, local_files_only=True, detector="lbp", device="cpu")
    assert model.extract_video(noise(40, 32, 32), source_fps=25.0).shape == (2, 32)


def test_caches_are_filled_for_offline_use(hosts: Loopback, tmp_path: Path) -> None:
    assert run().exit_code == 0
    assert (marlin_home() / "assets" / YUNET.filename).read_bytes() == DETECTOR
    assert Marlin.from_pretrained(PUBLISHED, local_files_only=True, detector="lbp", device="cpu").embedding_dim == 32


def test_recogniser_is_downloaded_where_it_is_asked_for(hosts: Loopback, tmp_path: Path) -> None:
    assert run("--recogniser").exit_code == 0
    assert (marlin_home() / "assets" / SFACE.filename).read_bytes() == RECOGNISER


def test_second_call_downloads_nothing_again(hosts: Loopback, tmp_path: Path) -> None:
    run("-o", tmp_path / "bundle")
    before = len(hosts.asked("Host"))
    sums = (tmp_path / "bundle" / "SHA256SUMS").read_text()
    assert run("-o", tmp_path / "bundle").exit_code == 0
    assert (before, len(hosts.asked("Host"))) == (3, 3)  # config, weights, detector
    assert (tmp_path / "bundle" / "SHA256SUMS").read_text() == sums


@pytest.mark.usefixtures("_no_waiting")
def test_failures_have_their_status_and_remedy(hosts: Loopback, tmp_path: Path) -> None:
    wrong = CliRunner().invoke(command, ["--model", "marlin_vit_smal_ytf"])
    assert (wrong.exit_code, "did you mean 'marlin_vit_small_ytf'" in wrong.output) == (2, True)
    wrong = run("--detector", "yolo")
    assert (wrong.exit_code, "unknown detector 'yolo'; expected one of" in wrong.output) == (2, True)
    hosts.files["/yunet.onnx"] = b"something else"
    wrong = run("-o", tmp_path / "bundle")
    assert (wrong.exit_code, "expected" in wrong.output) == (1, True)
    assert not list((tmp_path / "bundle").glob("*.onnx"))
