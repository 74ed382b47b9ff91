"""The cache of converted models on disk: created once, atomically."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from tests.patience import HANG_S

from marlin_sdk.errors import ConfigError
from marlin_sdk.runtime.converted import converted_model

IDENTITY = {"model": "org/marlin", "weights_sha256": "ab" * 32, "converter": {"format": 1, "openvino": "2026.4.1"}}


class Maker:
    """Writes one file, and counts its calls."""

    def __init__(self, content: bytes = b"graph") -> None:
        self.calls, self.content = 0, content

    def __call__(self, folder: Path) -> None:
        self.calls += 1
        assert not list(folder.iterdir())
        (folder / "encoder.xml").write_bytes(self.content)


def _left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.parent.iterdir())


def test_it_is_created_once_and_reused(tmp_path: Path) -> None:
    make = Maker()
    folder = converted_model("openvino", IDENTITY, make)
    assert folder.parent == tmp_path / "home" / "converted" / "openvino"
    assert folder.name.startswith("marlin-")
    assert (folder / "encoder.xml").read_bytes() == b"graph"
    assert converted_model("openvino", dict(reversed(IDENTITY.items())), make) == folder
    assert make.calls == 1
    assert json.loads((folder / "about.json").read_text())["identity"] == IDENTITY
    assert _left(folder) == [folder.name]


@pytest.mark.parametrize(
    "change",
    [
        {"weights_sha256": "cd" * 32},
        {"model": "org/other"},
        {"converter": {"format": 2, "openvino": "2026.4.1"}},
        {"converter": {"format": 1, "openvino": "2026.5.0"}},
        {"calibration": {"name": "videos"}},
    ],
)
def test_other_weights_or_another_converter_are_another_model(change: dict[str, object]) -> None:
    make = Maker()
    first = converted_model("openvino", IDENTITY, make)
    assert converted_model("openvino", {**IDENTITY, **change}, make) != first
    assert converted_model("onnx", IDENTITY, make) != first
    assert make.calls == 3


def test_failure_leaves_nothing_and_the_next_try_succeeds(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "encoder.xml").write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        converted_model("openvino", IDENTITY, fail)
    assert not list((tmp_path / "home" / "converted" / "openvino").iterdir())
    assert (converted_model("openvino", IDENTITY, Maker()) / "encoder.xml").read_bytes() == b"graph"


@pytest.mark.parametrize("damage", ["cut off", "missing", "no about", "broken about"])
def test_damaged_one_is_created_again(damage: str, caplog: pytest.LogCaptureFixture) -> None:
    folder = converted_model("openvino", IDENTITY, Maker())
    if damage == "cut off":
        (folder / "encoder.xml").write_bytes(b"gra")
    elif damage == "missing":
        (folder / "encoder.xml").unlink()
    elif damage == "no about":
        (folder / "about.json").unlink()
    else:
        (folder / "about.json").write_text('{"sizes": 3}')
    assert converted_model("openvino", IDENTITY, Maker(b"anew!")) == folder
    assert (folder / "encoder.xml").read_bytes() == b"anew!"
    assert "is damaged; it is replaced" in caplog.text
    assert _left(folder) == [folder.name]


def test_of_two_concurrent_ones_the_first_to_finish_wins() -> None:
    """Each waits, in the middle of its work, until the other has started."""
    both = threading.Barrier(2, timeout=HANG_S)
    folders: list[Path] = []
    makers = [Maker(b"one"), Maker(b"two")]

    def work(maker: Maker) -> None:
        def make(folder: Path) -> None:
            maker(folder)
            both.wait()

        folders.append(converted_model("openvino", IDENTITY, make))

    threads = [threading.Thread(target=work, args=[maker]) for maker in makers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [maker.calls for maker in makers] == [1, 1]
    assert folders[0] == folders[1]
    assert (folders[0] / "encoder.xml").read_bytes() in (b"one", b"two")
    assert _left(folders[0]) == [folders[0].name]


def test_home_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "home").write_bytes(b"a file")
    with pytest.raises(ConfigError, match=r"cannot be stored in .*converted.*set MARLIN_HOME"):
        converted_model("openvino", IDENTITY, Maker())
