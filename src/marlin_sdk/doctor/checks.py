"""The checks: software, devices, video, faces, weights, disk, arithmetic."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib import import_module, metadata
from pathlib import Path

from marlin_sdk.config import PRESETS
from marlin_sdk.doctor.finding import Finding, State
from marlin_sdk.errors import MarlinError
from marlin_sdk.weights import downloads

__all__ = ["run_checks"]

_DISTRIBUTION = "marlin-sdk"
# Codec: its software decoders (FFmpeg's own "av1" needs a GPU), and whether it is required.
_CODECS = {
    "h264": (("h264",), True),
    "hevc": (("hevc",), False),
    "vp9": (("vp9", "libvpx-vp9"), False),
    "av1": (("libdav1d", "libaom-av1"), False),
}
_DETECTOR_FILES = {
    "yunet": (downloads.YUNET,),
    "sfd": (downloads.SFD,),
    "retinaface": (downloads.RETINAFACE,),
    "blazeface": (downloads.BLAZEFACE_BACK, downloads.BLAZEFACE_BACK_ANCHORS),
    "scrfd": (downloads.SCRFD,),
}
_HUB_TIMEOUT_S = 5.0
_LOW_BYTES, _FULL_BYTES = 3 * 10**9, 10**8
# A working CPU showed 7e-7, 1e-2 and 9e-3, on features of the order of 1.
_TOLERANCES = {"float32": 1e-4, "bfloat16": 0.1, "float16": 0.05}


def run_checks(*, offline: bool = False) -> Iterator[Finding]:
    """Run all checks, and yield their findings.

    Args:
        offline: do not connect to the Hub.
    """
    parts: tuple[tuple[str, Callable[[], Iterator[Finding]]], ...] = (
        ("Software", _software),
        ("Devices", _devices),
        ("Video", _video),
        ("Faces", _faces),
        ("Weights", lambda: _weights(offline)),
        ("Disk", _disk),
        ("Arithmetic", _arithmetic),
    )
    for part, check in parts:
        try:
            yield from check()
        except Exception as error:  # a check that breaks must not stop the others: it is a finding too
            remedy = "fix what Software reports, then run this again; if nothing is wrong there, please report a bug"
            yield Finding(part, "the check", "fail", f"raised {error!r:.300}", remedy)


def _software() -> Iterator[Finding]:
    version = platform.python_version()
    old = sys.version_info < (3, 10)
    yield Finding("Software", "Python", "fail" if old else "ok", version, "install Python 3.10 or newer" if old else "")
    try:
        needed, extras = _requirements()
    except metadata.PackageNotFoundError:
        remedy = f"pip install {_DISTRIBUTION}, or pip install -e . in a checkout"
        yield Finding(
            "Software", _DISTRIBUTION, "note", "not installed as a package; its requirements are unknown", remedy
        )
        needed, extras = list(_MODULES), {}
    for name in needed:
        yield _package(name)
    installed = [
        name for name in ("opencv-python", "opencv-python-headless", "opencv-contrib-python") if _version(name)
    ]
    if len(installed) > 1:
        remedy = f"pip uninstall {' '.join(installed)}; pip install opencv-python"
        yield Finding("Software", "OpenCV", "note", f"{' and '.join(installed)} overwrite each other's files", remedy)
    present = [extra for extra, names in extras.items() if all(_version(name) for name in names)]
    missing = [extra for extra in extras if extra not in present]
    text = f"installed: {', '.join(present) or 'none'}; not installed: {', '.join(missing) or 'none'}"
    yield Finding("Software", "extras", "ok", text)


def _requirements() -> tuple[list[str], dict[str, list[str]]]:
    """The required packages, and those of each extra for users, from the installed metadata."""
    needed: list[str] = []
    extras: dict[str, list[str]] = {}
    for line in metadata.requires(_DISTRIBUTION) or []:
        match = re.match(r"[\w.-]+", line)
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", line)
        if match and not extra:
            needed.append(match[0])
        elif match and extra and extra[1] not in ("dev", "docs"):
            extras.setdefault(extra[1], []).append(match[0])
    return needed, extras


# Import names of packages that load system libraries; these are imported to check them.
_MODULES = {"opencv-python": "cv2", "av": "av", "torch": "torch", "numpy": "numpy"}
_LIBRARY_REMEDIES = {"cv2": "; where libGL is missing: apt install libgl1, or pip install opencv-python-headless"}


def _package(name: str) -> Finding:
    version = _version(name)
    if not version:
        return Finding("Software", name, "fail", "not installed", f"pip install {name}")
    if module := _MODULES.get(name):
        try:
            import_module(module)
        except Exception as error:  # a missing system library is an OSError, or what the package turns it into
            remedy = f"pip install --force-reinstall {name}{_LIBRARY_REMEDIES.get(module, '')}"
            return Finding("Software", name, "fail", f"{version} cannot be imported: {error}", remedy)
    return Finding("Software", name, "ok", version)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _devices() -> Iterator[Finding]:
    import torch

    flags = _cpu_flags()
    fast = [flag for flag in ("amx_bf16", "avx512_bf16") if flag in flags]
    text = f"{_cpu_name()}, {os.cpu_count()} cores, torch uses {torch.backends.cpu.get_cpu_capability()}"
    yield Finding("Devices", "cpu", "ok", text)
    known = (
        "native: " + ", ".join(fast) if fast else "works, but this CPU has no instructions for it, so it is not faster"
    )
    yield Finding("Devices", "cpu bfloat16", "ok", known)
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        text = (
            f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, "
            f"capability {properties.major}.{properties.minor}"
        )
        yield Finding("Devices", f"cuda:{index}", "ok", text)
        native = "float16, bfloat16" if properties.major >= 8 else "float16 only; --dtype bfloat16 is emulated"
        yield Finding("Devices", f"cuda:{index} fast dtypes", "ok", native)
    if not torch.cuda.device_count():
        driver = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None
        if driver:
            remedy = "install a torch build for your driver (pytorch.org gives the pip command), and check nvidia-smi"
            yield Finding(
                "Devices", "cuda", "note", f"a driver is installed, but torch {torch.__version__} sees no GPU", remedy
            )
        else:
            yield Finding("Devices", "cuda", "ok", "no GPU: everything runs on the CPU")


def _cpu_flags() -> frozenset[str]:
    try:
        match = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return frozenset()
    return frozenset(match[1].split() if match else ())


def _cpu_name() -> str:
    try:
        match = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        match = None
    return match[1] if match else platform.processor() or platform.machine()


def _video() -> Iterator[Finding]:
    import av

    yield Finding("Video", "decoder", "ok", f"PyAV {av.__version__}, FFmpeg {av.ffmpeg_version_info}")
    for codec, (decoders, required) in _CODECS.items():
        names = [name for decoder in decoders if (name := _decoder_name(decoder))]
        state: State = "ok" if names else "fail" if required else "note"
        remedy = "" if names else "pip install --force-reinstall --only-binary av av: its wheels include FFmpeg"
        yield Finding("Video", codec, state, names[0] if names else "this FFmpeg cannot decode it", remedy)
    yield _decoding()
    devices = ", ".join(av.codec.hwaccel.hwdevices_available()) or "none"
    yield Finding("Video", "hwaccel", "ok", f"compiled in: {devices}; frames are decoded on the CPU anyway")


def _decoder_name(decoder: str) -> str | None:
    import av

    try:
        return av.codec.Codec(decoder, "r").long_name
    except av.codec.codec.UnknownCodecError:
        return None


def _decoding() -> Finding:
    """Write a small video, and read it back."""
    import io

    import av
    import numpy as np

    from marlin_sdk.video.reader import open_video

    levels = [40, 120, 200]
    data = io.BytesIO()
    with av.open(data, "w", format="matroska") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for level in levels:
            still = np.full((64, 64, 3), level, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(still, format="rgb24")))
        container.mux(stream.encode())
    with open_video(data.getvalue()) as reader:
        seen = [float(frame.rgb.mean()) for frame in reader]
    if len(seen) == len(levels) and np.allclose(seen, levels, atol=8):
        return Finding("Video", "a small video", "ok", f"{len(seen)} frames written and read back")
    remedy = "pip install --force-reinstall --only-binary av av"
    return Finding("Video", "a small video", "fail", f"grey levels {levels} were read back as {seen}", remedy)


def _faces() -> Iterator[Finding]:
    from marlin_sdk.face.detectors import YuNetDetector

    for name, files in _DETECTOR_FILES.items():
        paths = [downloads.marlin_home() / "assets" / asset.filename for asset in files]
        if not all(path.exists() for path in paths):
            if name == "yunet":
                remedy = f"it is downloaded on first use; to do it by hand: {files[0].url} -> {paths[0]}"
                yield Finding("Faces", name, "note", f"{files[0].filename} is not downloaded yet", remedy)
            continue
        try:
            for asset in files:
                downloads.fetch_asset(asset, local_files_only=True)
            if name == "yunet":
                YuNetDetector(paths[0])
        except MarlinError as error:
            remedy = f"rm {' '.join(map(str, paths))}: it is downloaded again when needed"
            yield Finding("Faces", name, "fail", str(error), remedy)
            continue
        known = all(asset.sha256 for asset in files)
        yield Finding(
            "Faces", name, "ok", f"{paths[0]}{', checksum correct' if known else ', no checksum is published'}"
        )
    yield Finding("Faces", "lbp", "ok", "part of scikit-image, needs no file")


def _weights(offline: bool) -> Iterator[Finding]:
    from huggingface_hub import constants, try_to_load_from_cache

    cache = Path(constants.HF_HUB_CACHE)
    here = [
        name
        for name in PRESETS
        if isinstance(try_to_load_from_cache(f"ControlNet/{name}", "model.safetensors", cache_dir=cache), str)
    ]
    yield Finding("Weights", "published", "ok", f"in {cache}: {', '.join(here) or 'none yet'}")
    if downloads.is_offline(offline):
        remedy = "" if here else "unset HF_HUB_OFFLINE, or pass a folder or file of weights as --model"
        yield Finding("Weights", "Hub", "ok" if here else "note", "not checked: downloads are off", remedy)
    else:
        yield _hub()


def _hub() -> Finding:
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url

    endpoint = os.environ.get("HF_ENDPOINT") or constants.ENDPOINT
    url = hf_hub_url(f"ControlNet/{next(iter(PRESETS))}", "config.json", endpoint=endpoint)
    try:
        found = get_hf_file_metadata(url, timeout=_HUB_TIMEOUT_S)
    except Exception as error:  # its HTTP client, and so the errors, depend on its version
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        remedy = (
            "check the network and HTTPS_PROXY; set HF_ENDPOINT to a mirror; or download config.json and "
            "model.safetensors elsewhere, put them in a folder and pass it as --model"
        )
        return Finding("Weights", "Hub", "note", f"{endpoint} cannot be used: {reason:.200}", remedy)
    return Finding("Weights", "Hub", "ok", f"{endpoint} answers, commit {(found.commit_hash or '?')[:12]}")


def _disk() -> Iterator[Finding]:
    from huggingface_hub import constants

    for name, folder in (
        ("Hub cache", Path(constants.HF_HUB_CACHE)),
        ("other files", downloads.marlin_home()),
        ("here", Path.cwd()),
    ):
        there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
        free = shutil.disk_usage(there).free
        state: State = "fail" if free < _FULL_BYTES else "note" if free < _LOW_BYTES else "ok"
        remedy = (
            ""
            if state == "ok"
            else "free some space; a model takes up to 1.4 GB (HF_HUB_CACHE, MARLIN_HOME move the caches)"
        )
        text = f"{free / 1e9:,.1f} GB free"
        if not os.access(there, os.W_OK):
            state, text = ("note", f"{text}, but it cannot be written to")
            remedy = "change its permissions, or use another folder (HF_HUB_CACHE, MARLIN_HOME, or cd)"
        yield Finding("Disk", name, state, f"{text}: {folder}", remedy)


def _arithmetic() -> Iterator[Finding]:
    import torch

    from marlin_sdk.doctor.golden import worst_error

    cases = [("cpu", "float32"), ("cpu", "bfloat16")]
    cases += [(f"cuda:{i}", dtype) for i in range(torch.cuda.device_count()) for dtype in _TOLERANCES]
    for device, dtype in cases:
        error = worst_error(torch.device(device), getattr(torch, dtype))
        fine = error <= _TOLERANCES[dtype]
        state: State = "ok" if fine else "fail" if dtype == "float32" else "note"
        text = f"a small model matches the reference within {error:.1e}"
        if not fine:
            text = f"a small model differs from the reference by {error:.1e}; expected at most {_TOLERANCES[dtype]:.0e}"
        remedy = "" if fine else f"do not use --device {device} --dtype {dtype}; try another torch version or driver"
        yield Finding("Arithmetic", f"{device} {dtype}", state, text, remedy)
