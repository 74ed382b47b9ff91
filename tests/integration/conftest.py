"""Servers on the loopback, a tiny checkpoint, and the command line in a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright
from tests.integration.browsing import FLAGS
from tests.integration.loopback import Loopback
from tests.integration.warm import WarmCommand, WarmServer
from tests.making import noise, write_checkpoint, write_video

from marlin_sdk import Marlin
from marlin_sdk.weights import downloads

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    """A server that this process and its children take for the Hub."""
    with Loopback() as loopback:
        for name in ("HF_HUB_OFFLINE", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HF_ENDPOINT", loopback.url)
        monkeypatch.setenv("MARLIN_HOME", str(tmp_path / "home"))
        # What huggingface_hub read from the environment when some other test imported it.
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)  # large files by HTTP alone
        monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setattr(downloads, "_BACKOFF_S", 0.0)
        yield loopback


@pytest.fixture
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """huggingface_hub waits for seconds before each of its retries."""
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.01)))


@pytest.fixture
def refused_url() -> str:
    """An address on the loopback where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture(scope="session")
def tiny_folder(tiny: Marlin, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model's encoder, in the form of the Hub."""
    return write_checkpoint(tmp_path_factory.mktemp("tiny"), tiny)


@pytest.fixture(scope="session")
def small_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 frames of 32x32, which the tiny model takes uncropped: two windows."""
    return write_video(tmp_path_factory.mktemp("small") / "small.mp4", noise(60, 32, 32))


@pytest.fixture
def no_network(tmp_path: Path, refused_url: str) -> Mapping[str, str]:
    """An environment from which every request fails at once: pytest-socket does not reach into other processes."""
    inherited = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    return {
        **inherited,
        "HF_ENDPOINT": refused_url,
        "HF_HOME": str(tmp_path / "hf"),
        "HTTP_PROXY": refused_url,
        "HTTPS_PROXY": refused_url,
        "NO_PROXY": "127.0.0.1,localhost",
        "PYTHONWARNINGS": "error",
    }


@pytest.fixture(scope="session")
def warm_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmServer]:
    """Runs commands that need not import everything again."""
    server = WarmServer(tmp_path_factory.mktemp("matplotlib"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def warm(warm_server: WarmServer, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> WarmCommand:
    """`marlin-extract` with the tiny model, where a test stops it or looks on; it has no network either."""
    nowhere = {"HF_HUB_OFFLINE": "1", "MARLIN_HOME": str(tmp_path_factory.mktemp("home")), "OMP_NUM_THREADS": "1"}
    return WarmCommand(warm_server, tiny_folder, {**os.environ, **nowhere})


@pytest.fixture
def command(warm_server: WarmServer, tiny_folder: Path, no_network: Mapping[str, str]) -> Command:
    """Run `marlin-extract` with the tiny model and the cascade, unless the arguments say otherwise."""

    def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        usual = ("--model", tiny_folder, "--detector", "lbp")
        return warm_server.run("marlin-extract", *usual, *arguments, environment={**no_network, **environment})

    return run


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """A headless Chromium of this machine."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()
