"""Whether files of weights are those that were published: by the Hub's own digests, or by SHA256SUMS beside them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from marlin_sdk.atomic import atomic_path
from marlin_sdk.errors import WeightsError
from marlin_sdk.weights.identity import file_sha256

__all__ = ["CHECKSUMS", "verified_sha256", "write_checksums"]

CHECKSUMS = "SHA256SUMS"
"""Name of the file of checksums, in the format of `sha256sum --check`."""

_MAX_CHECKSUMS_BYTES = 1 << 20


def verified_sha256(path: Path) -> str:
    """SHA-256 of a file, in hex, compared with the digest that was published for it, if any.

    The Hub's cache names each file by its ETag: the sha256 of a large file, or the git hash of a small one
    (huggingface_hub, "Understand caching"). Elsewhere, SHA256SUMS in the file's folder, or in the one above, counts.

    Args:
        path: of a file.
    Raises:
        WeightsError: the file is damaged, or was changed.
    """
    sha256 = file_sha256(path)
    etag = path.resolve().name if path.resolve().parent.name == "blobs" else ""
    if re.fullmatch(r"[0-9a-f]{64}", etag):
        got, published, source = sha256, etag, "on the Hub"
    elif re.fullmatch(r"[0-9a-f]{40}", etag):
        got, published, source = _git_hash(path), etag, "on the Hub"
    else:
        listed = _listed(path)
        if listed is None:
            return sha256
        got, (published, source) = sha256, listed
    if got != published:
        raise WeightsError(
            f"{path} is damaged, or was changed: its digest is {got}, {source} it is {published}; delete it and get it "
            f"again (or, if you changed it on purpose, update or delete {CHECKSUMS})"
        )
    return sha256


def write_checksums(folder: Path, files: Iterable[Path]) -> Path:
    """Write the checksums of files of a folder, for `verified_sha256`, and `sha256sum --check SHA256SUMS`.

    Those that earlier calls wrote stay.

    Args:
        folder: gets SHA256SUMS.
        files: in the folder, or below it.
    Returns:
        The file of checksums.
    Raises:
        OSError: it cannot be written.
    """
    target = folder / CHECKSUMS
    digests = _read(target) | {path.relative_to(folder).as_posix(): file_sha256(path) for path in files}
    with atomic_path(target) as part:
        part.write_text("".join(f"{digests[name]}  {name}\n" for name in sorted(digests)), encoding="utf-8")
    return target


def _git_hash(path: Path) -> str:
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _listed(path: Path) -> tuple[str, str] | None:
    """The digest that SHA256SUMS gives for a file, and where it says so."""
    path = path.absolute()
    for folder in path.parents[:2]:
        digest = _read(folder / CHECKSUMS).get(path.relative_to(folder).as_posix())
        if digest is not None:
            return digest, f"in {folder / CHECKSUMS}"
    return None


def _read(checksums: Path) -> dict[str, str]:
    """Digests by name; lines that are none are left out."""
    if not checksums.is_file() or checksums.stat().st_size > _MAX_CHECKSUMS_BYTES:
        return {}
    lines = checksums.read_text(encoding="utf-8", errors="replace").splitlines()
    found = (re.fullmatch(r"([0-9a-f]{64}) [ *](.+)", line) for line in lines)
    return {match[2]: match[1] for match in found if match}
