"""Each check tells what is wrong, and what to do about it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import av
import pytest
import torch
from tests.integration.loopback import COMMIT, Loopback, Repo
from tests.making import lay

from marlin_sdk.doctor import checks
from marlin_sdk.doctor.checks import run_checks
from marlin_sdk.doctor.finding import Finding
from marlin_sdk.weights.downloads import marlin_home


def findings(**options: bool) -> dict[tuple[str, str], Finding]:
    return {(finding.part, finding.name): finding for finding in run_checks(offline=True, **options)}


@pytest.fixture
def hub() -> Iterator[Loopback]:
    files = {"config.json": b"{}", "model.safetensors": b"x"}
    with Loopback(repos={"ControlNet/marlin_vit_small_ytf": Repo({COMMIT: files}, {"main": COMMIT})}) as server:
        yield server


def test_a_sound_machine_has_no_failure_and_every_part_is_looked_at() -> None:
    found = findings()
    assert [finding for finding in found.values() if finding.state == "fail"] == []
    assert list(dict.fromkeys(part for part, _ in found)) == [
        "Software", "Devices", "Video", "Faces", "Weights", "Disk", "Arithmetic",
    ]  # fmt: skip
    assert found["Software", "torch"].text == metadata.version("torch")  # torch.__version__ may name the build too
    assert av.__version__ in found["Video", "decoder"].text
    for codec in ("h264", "hevc", "vp9", "av1"):
        assert found["Video", codec].state == "ok"
    assert "matches the reference" in found["Arithmetic", "cpu float32"].text


def test_whatever_is_not_ok_has_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 0))
    lay(marlin_home() / "assets" / "s3fd-619a316812.pth", b"wrong")
    troubled = [finding for finding in findings().values() if finding.state != "ok"]
    assert len(troubled) >= 5
    assert all(finding.remedy for finding in troubled)


def test_a_package_that_is_not_installed_is_a_failure_with_its_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    version = metadata.version

    def lacking(name: str) -> str:
        if name == "safetensors":
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(metadata, "version", lacking)
    finding = findings()["Software", "safetensors"]
    assert (finding.state, finding.remedy) == ("fail", "pip install safetensors")


def test_a_package_that_cannot_be_imported_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> object:
        if name == "cv2":
            raise ImportError("libGL.so.1: cannot open shared object file")
        return __import__(name)

    monkeypatch.setattr(checks, "import_module", broken)
    finding = findings()["Software", "opencv-python"]
    assert finding.state == "fail"
    assert "libGL.so.1" in finding.text
    assert "libgl1" in finding.remedy


def test_a_check_that_breaks_is_a_finding_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1 / 0)
    found = findings()
    assert found["Devices", "the check"].state == "fail"
    assert "ZeroDivisionError" in found["Devices", "the check"].text
    assert found["Video", "h264"].state == "ok"


def test_a_codec_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_CODECS", {"h264": (("no_such_decoder",), True), "av1": (("nor_this",), False)})
    found = findings()
    assert (found["Video", "h264"].state, found["Video", "av1"].state) == ("fail", "note")
    assert "av" in found["Video", "h264"].remedy


def test_detector_files_are_checked_against_their_checksum() -> None:
    path = lay(marlin_home() / "assets" / "face_detection_yunet_2023mar.onnx", b"not the detector")
    finding = findings()["Faces", "yunet"]
    assert finding.state == "fail"
    assert "sha256" in finding.text
    assert str(path) in finding.remedy


@pytest.mark.shared
def test_the_right_detector_file_is_recognised(shared: Path) -> None:
    name = "face_detection_yunet_2023mar.onnx"
    lay(marlin_home() / "assets" / name, (shared / "weights" / name).read_bytes())
    finding = findings()["Faces", "yunet"]
    assert finding.state == "ok"
    assert "checksum correct" in finding.text


def test_a_detector_that_is_not_here_yet_is_no_failure() -> None:
    finding = findings()["Faces", "yunet"]
    assert finding.state == "note"
    assert "opencv_zoo" in finding.remedy


def test_a_hub_that_answers_is_named_with_its_commit(hub: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    finding = next(finding for finding in run_checks() if finding.name == "Hub")
    assert finding.state == "ok"
    assert hub.url in finding.text
    assert COMMIT[:12] in finding.text


def test_a_hub_that_cannot_be_reached_is_worth_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    finding = next(finding for finding in run_checks() if finding.name == "Hub")
    assert finding.state == "note"
    assert "HF_ENDPOINT" in finding.remedy


@pytest.mark.parametrize("how", ["option", "variable"])
def test_offline_nothing_is_asked(hub: Loopback, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    if how == "variable":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = {finding.name: finding for finding in run_checks(offline=how == "option")}
    assert "downloads are off" in found["Hub"].text
    assert hub.requests == []


@pytest.mark.parametrize(("free", "state"), [(50 * 10**9, "ok"), (10**9, "note"), (10**6, "fail")])
def test_a_full_disk_is_a_failure_and_a_tight_one_a_note(
    free: int, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**12, 10**12 - free, free))
    assert findings()["Disk", "here"].state == state


def test_a_model_that_is_off_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marlin_sdk.doctor.golden.GOLDEN", torch.zeros(1, 32).numpy())
    finding = findings()["Arithmetic", "cpu float32"]
    assert finding.state == "fail"
    assert "--device cpu --dtype float32" in finding.remedy
