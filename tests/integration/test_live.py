"""Sources that are still going on: rows come before the end."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from tests.making import TINY, PaintedFace, painted, write_video

from marlin_sdk import Marlin

NUM_FRAMES = 400
WAIT_S = 20.0


@pytest.fixture(scope="module")
def model() -> Marlin:
    return Marlin.untrained(TINY, device="cpu", detector=PaintedFace())


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 s of a face that moves, in a container that needs no index."""
    boxes = {index: (20 + index // 20, 20, 60 + index // 20, 60) for index in range(NUM_FRAMES)}
    path = tmp_path_factory.mktemp("live") / "camera.ts"
    return write_video(path, painted(NUM_FRAMES, boxes), codec="mpeg2video", options={"g": "5"})


class Camera(ThreadingHTTPServer):
    """Sends half of a recording, and the rest once `go_on` is set."""

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = content
        self.go_on = threading.Event()
        self.waited_in_vain = False


class _Handler(BaseHTTPRequestHandler):
    server: Camera

    def log_message(self, format: str, *args: object) -> None:
        """Keep stderr for the tests."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "video/mp2t")
        self.end_headers()
        half = len(self.server.content) // 2
        self.wfile.write(self.server.content[:half])
        self.wfile.flush()
        self.server.waited_in_vain = not self.server.go_on.wait(WAIT_S)
        self.wfile.write(self.server.content[half:])


@contextmanager
def camera(recording: Path) -> Iterator[tuple[Camera, str]]:
    server = Camera(recording.read_bytes())
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server, f"http://127.0.0.1:{server.server_port}/camera.ts"
    finally:
        server.go_on.set()
        server.shutdown()
        thread.join()
        server.server_close()


def test_live_url_gives_rows_before_it_ends(model: Marlin, recording: Path) -> None:
    with camera(recording) as (server, url):
        rows = model.stream(url)
        first = next(rows)
        assert not server.go_on.is_set()
        assert not server.waited_in_vain
        server.go_on.set()
        features = np.stack([first.feature, *(row.feature for row in rows)])
    assert len(features) == 13
    np.testing.assert_allclose(features, model.extract(recording).features, atol=1e-6)


def test_live_url_that_is_left_early(model: Marlin, recording: Path) -> None:
    with camera(recording) as (server, url):
        rows = model.stream(url)
        next(rows)
        rows.close()  # type: ignore[attr-defined]
        assert not server.waited_in_vain


def test_pipe_gives_rows_before_it_ends(model: Marlin, recording: Path) -> None:
    content = recording.read_bytes()
    out, into = os.pipe()
    go_on = threading.Event()
    in_vain: list[bool] = []

    def feed() -> None:
        with os.fdopen(into, "wb") as pipe:
            pipe.write(content[: len(content) // 2])
            pipe.flush()
            in_vain.append(not go_on.wait(WAIT_S))
            pipe.write(content[len(content) // 2 :])

    feeder = threading.Thread(target=feed)
    feeder.start()
    with os.fdopen(out, "rb", buffering=0) as pipe:
        rows = model.stream(pipe)
        first = next(rows)
        go_on.set()
        features = np.stack([first.feature, *(row.feature for row in rows)])
    feeder.join()
    assert in_vain == [False]
    np.testing.assert_allclose(features, model.extract(recording).features, atol=1e-6)
