"""Download single files from web servers (detectors, decoder weights), with a cache and checksums."""

from __future__ import annotations

import logging
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from marlin_sdk.errors import DownloadError
from marlin_sdk.weights.identity import file_sha256

if TYPE_CHECKING:
    import requests

__all__ = [
    "BLAZEFACE_BACK",
    "BLAZEFACE_BACK_ANCHORS",
    "LICENCES_LOGGER",
    "RETINAFACE",
    "SCRFD",
    "SFACE",
    "SFD",
    "YUNET",
    "Asset",
    "fetch_asset",
    "is_offline",
    "log_licence",
    "marlin_home",
]

OFFLINE_REASON = "it is not in the cache, and downloads are off (local_files_only=True or HF_HUB_OFFLINE=1)"
WITHOUT_NETWORK = (
    "Without a network here: run `marlin-sdk download` where there is one; behind a proxy, set HTTPS_PROXY; "
    "`marlin-sdk doctor` checks the connection; --untrained, or Marlin.untrained, needs no weights"
)
MAX_ASSET_BYTES = 4 * 2**30

_FAN_URL = "https://www.adrianbulat.com/downloads/python-fan"
_BLAZEFACE_URL = "https://github.com/hollance/BlazeFace-PyTorch/blob/master"
_TIMEOUT_S = (10.0, 30.0)
_ATTEMPTS = 4
_BACKOFF_S = 0.5

LICENCES_LOGGER = "marlin_sdk.licences"
"""Logs the licences of downloads: a separate logger, so that it can stay enabled where other warnings are hidden."""


@dataclass(frozen=True)
class Asset:
    """A single file on a web server.

    Attributes:
        filename: its name in the cache folder.
        url: http or https.
        sha256: the hex digest of the file, or the leading part of one; None if none was published.
        licence: a sentence that is logged when the file is first downloaded.
        by_hand: how to pass a local file instead, e.g. 'pass detector="path/to/file.onnx"'.
    """

    filename: str
    url: str
    sha256: str | None = None
    licence: str | None = None
    by_hand: str = ""


YUNET = Asset(
    filename="face_detection_yunet_2023mar.onnx",
    url="https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/face_detection_yunet_2023mar.onnx",
    sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
    by_hand='pass detector="path/to/face_detection_yunet_2023mar.onnx"',
)
SFACE = Asset(
    filename="face_recognition_sface_2021dec.onnx",
    url="https://github.com/opencv/opencv_zoo/raw/main/models/face_recognition_sface/face_recognition_sface_2021dec.onnx",
    sha256="0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
    by_hand='pass recogniser="path/to/face_recognition_sface_2021dec.onnx"',
)
# The detectors of face-alignment 1.5, from its own download URLs.
SFD = Asset("s3fd-619a316812.pth", f"{_FAN_URL}/s3fd-619a316812.pth", sha256="619a316812")
RETINAFACE = Asset("retinaface_mobilenet0.25.pth", f"{_FAN_URL}/retinaface_mobilenet0.25.pth")
SCRFD = Asset(
    "scrfd_2.5g_bnkps.onnx", "https://github.com/yakhyo/facial-analysis/releases/download/v0.0.1/det_2.5g.onnx"
)
BLAZEFACE_BACK = Asset("blazefaceback.pth", f"{_BLAZEFACE_URL}/blazefaceback.pth?raw=true")
BLAZEFACE_BACK_ANCHORS = Asset("anchorsback.npy", f"{_BLAZEFACE_URL}/anchorsback.npy?raw=true")


def marlin_home() -> Path:
    """The folder of downloaded files: $MARLIN_HOME, else $XDG_CACHE_HOME/marlin-sdk, else ~/.cache/marlin-sdk."""
    if home := os.environ.get("MARLIN_HOME"):
        return Path(home).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "marlin-sdk"


def is_offline(local_files_only: bool) -> bool:
    """Whether downloads are off: by argument, or by $HF_HUB_OFFLINE."""
    return local_files_only or os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def log_licence(licence: str) -> None:
    """Log the licence of a file that is about to be downloaded."""
    logging.getLogger(LICENCES_LOGGER).warning(licence)


def fetch_asset(
    asset: Asset, *, cache_dir: str | Path | None = None, local_files_only: bool = False, progress: bool = True
) -> Path:
    """Return the local file of an asset, downloading it if it is not in the cache.

    The file is written atomically. An interrupted download resumes where it stopped, in the same call or a later one.
    Of two concurrent processes, one downloads and the other uses the finished file. A file put into the folder by hand
    is used like a downloaded one.

    Args:
        asset: the file to download.
        cache_dir: the cache folder; None is `marlin_home() / "assets"`.
        local_files_only: do not access the network; $HF_HUB_OFFLINE=1 has the same effect.
        progress: show a progress bar (bytes) on stderr.
    Raises:
        DownloadError: it cannot be downloaded, or has the wrong checksum; the message says how to provide it by hand.
    """
    folder = Path(cache_dir).expanduser() if cache_dir is not None else marlin_home() / "assets"
    target = folder / asset.filename
    try:
        if target.exists():
            if fault := _fault(asset, target):
                raise OSError(f"the file at {target} {fault}; delete it to download it again")
        elif is_offline(local_files_only):
            raise OSError(OFFLINE_REASON)
        else:
            _download(asset, target, progress)
    except OSError as error:  # includes every error of requests
        raise DownloadError(
            f"cannot get {asset.filename} from {asset.url}: {error}. Cache folder: {folder} (MARLIN_HOME moves it). "
            f"To provide the file by hand, put it at {target}"
            + (f", or {asset.by_hand}" if asset.by_hand else "")
            + (f". {WITHOUT_NETWORK}" if is_offline(local_files_only) or _is_unreachable(error) else "")
        ) from error
    return target


def _is_unreachable(error: OSError) -> bool:
    import requests

    return isinstance(error, requests.ConnectionError | requests.Timeout)


def _fault(asset: Asset, path: Path) -> str | None:
    if path.stat().st_size == 0:
        return "is empty"
    if asset.sha256 and not (digest := file_sha256(path)).startswith(asset.sha256.lower()):
        return f"has sha256 {digest}, expected {asset.sha256}"
    return None


class _InterruptedTransferError(OSError):
    """A transfer that stopped early, or that cannot be resumed where it stopped: worth a retry."""


def _download(asset: Asset, target: Path, progress: bool) -> None:
    import requests
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

    if not asset.url.startswith(("https://", "http://")):
        raise OSError("only http and https URLs can be downloaded")
    part = target.with_name(f"{target.name}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(target.with_name(f".{target.name}.lock")):
        if target.exists():
            return
        if asset.licence:
            log_licence(asset.licence)
        for attempt in range(_ATTEMPTS):
            try:
                _transfer(asset, part, progress)
                break
            except (_InterruptedTransferError, requests.RequestException):
                if attempt == _ATTEMPTS - 1:
                    raise
                time.sleep(_BACKOFF_S * 2**attempt)
        fault = _fault(asset, part)
        if not fault:
            part.replace(target)
        _remove_partial(part)
        if fault:
            raise OSError(f"the downloaded file {fault}; it was removed")


def _transfer(asset: Asset, part: Path, progress: bool) -> None:
    """Complete `part` with one request, starting at its current length. Source: RFC 9110, section 14."""
    import requests
    from tqdm import tqdm

    validator_file = part.with_name(f"{part.name}.etag")
    validator = validator_file.read_text().strip() if validator_file.exists() else ""
    # Without a validator or a checksum, it would go unnoticed that the rest is of another version of the file.
    done = part.stat().st_size if part.exists() and (validator or asset.sha256) else 0
    # With compression, lengths and ranges would not be those of the file.
    headers = {"Accept-Encoding": "identity"}
    if done:
        headers |= {"Range": f"bytes={done}-"} | ({"If-Range": validator} if validator else {})
    with requests.get(asset.url, headers=headers, stream=True, timeout=_TIMEOUT_S) as response:
        if asset.url.startswith("https:") and any(r.url.startswith("http:") for r in (*response.history, response)):
            raise OSError("the server redirects from https to http")
        done, total = _extent(response, part, done, validator)
        if done and done == total:
            return
        if total is None and not asset.sha256 and "chunked" not in response.headers.get("Transfer-Encoding", ""):
            raise OSError("the server does not give the file's length, so a truncated download could not be detected")
        too_large = OSError(f"it is larger than {MAX_ASSET_BYTES} bytes, the limit of a download")
        if (total or 0) > MAX_ASSET_BYTES:
            raise too_large
        bar = tqdm(desc=asset.filename, total=total, initial=done, unit="B", unit_scale=True, disable=not progress)
        with bar, part.open("ab" if done else "wb") as file:
            if not done:
                validator_file.write_text(_validator(response))
            for chunk in response.iter_content(1 << 16):
                done += file.write(chunk)
                bar.update(len(chunk))
                if done > MAX_ASSET_BYTES:
                    file.truncate(0)
                    raise too_large
            file.flush()
            os.fsync(file.fileno())
    if total not in (None, part.stat().st_size):
        raise _InterruptedTransferError(f"the transfer stopped after {done} of {total} bytes")


def _extent(response: requests.Response, part: Path, done: int, validator: str) -> tuple[int, int | None]:
    """The offset in the file at which the response begins, and the file's length if it is given."""
    status = response.status_code
    if status == 200:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    if not done or status not in (206, 416):
        raise (_InterruptedTransferError if status >= 500 else OSError)(f"HTTP {status} {response.reason}")
    span = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+)", response.headers.get("Content-Range", ""))
    total = int(span[2]) if span else None
    resumes = span and span[1] == str(done) and (not validator or _validator(response) in ("", validator))
    if resumes or (status == 416 and total == done):
        return done, total
    _remove_partial(part)
    raise _InterruptedTransferError("the server does not resume the download where it stopped")


def _validator(response: requests.Response) -> str:
    etag = response.headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")


def _remove_partial(part: Path) -> None:
    part.unlink(missing_ok=True)
    part.with_name(f"{part.name}.etag").unlink(missing_ok=True)
