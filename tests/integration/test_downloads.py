"""Real clients against a real server on the loopback."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.integration.loopback import COMMIT, OTHER_COMMIT, Loopback, Repo

from marlin_sdk.errors import DownloadError
from marlin_sdk.weights import downloads, hub
from marlin_sdk.weights.downloads import Asset, fetch_asset
from marlin_sdk.weights.hub import resolve_model

# Longer than a few chunks, so that a cut leaves something to go on from.
BODY = random.Random(0).randbytes(300_000)
SHA256 = hashlib.sha256(BODY).hexdigest()
PUBLISHED = "marlin_vit_small_ytf"
FILES = {"config.json": b"{}", "model.safetensors": BODY}


@pytest.fixture(autouse=True)
def _file(server: Loopback) -> None:
    server.files["/file.bin"] = BODY


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


# Assets -------------------------------------------------------------------------------------------------------------


def fetch(server: Loopback, folder: Path, *, sha256: str | None = SHA256, **changes: Any) -> Path:
    url = changes.pop("url", f"{server.url}/file.bin")
    return fetch_asset(Asset("file.bin", url, sha256=sha256, **changes), cache_dir=folder, progress=False)


@pytest.mark.parametrize("sha256", [None, SHA256[:10], SHA256])
def test_asset_is_fetched_once(
    server: Loopback, tmp_path: Path, caplog: pytest.LogCaptureFixture, sha256: str | None
) -> None:
    for _ in range(2):
        assert fetch(server, tmp_path / "new", sha256=sha256, licence="Take care.").read_bytes() == BODY
    assert server.asked("Range") == [None]
    assert names_in(tmp_path / "new") == ["file.bin"]
    assert caplog.messages == ["Take care."]


def test_bar_goes_to_stderr(server: Loopback, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fetch_asset(Asset("file.bin", f"{server.url}/file.bin"), cache_dir=tmp_path)
    out, err = capfd.readouterr()
    assert out == ""
    assert "file.bin: 100%" in err


@pytest.mark.parametrize("sha256", [None, SHA256])
def test_cut_asset_goes_on_in_the_same_call(server: Loopback, tmp_path: Path, sha256: str | None) -> None:
    server.cuts = [200_000, 70_000]
    assert fetch(server, tmp_path, sha256=sha256).read_bytes() == BODY
    first, second, third = server.asked("Range")
    assert first is None
    assert second is not None
    assert third is not None
    assert 0 < int(second[6:-1]) <= 200_000 < int(third[6:-1]) <= 270_000
    assert names_in(tmp_path) == ["file.bin"]


@pytest.mark.parametrize("sha256", [None, SHA256])
def test_cut_asset_goes_on_in_a_later_call(
    server: Loopback, tmp_path: Path, sha256: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "_ATTEMPTS", 1)
    server.cuts = [200_000]
    with pytest.raises(DownloadError, match=r"file\.bin"):
        fetch(server, tmp_path, sha256=sha256)
    assert names_in(tmp_path) == ["file.bin.part", "file.bin.part.etag"]
    assert fetch(server, tmp_path, sha256=sha256).read_bytes() == BODY
    assert server.asked("If-Range")[1] == f'"{hashlib.md5(BODY).hexdigest()}"'
    assert names_in(tmp_path) == ["file.bin"]


def leave_part(folder: Path, data: bytes, etag: str | None = None) -> None:
    (folder / "file.bin.part").write_bytes(data)
    if etag:
        (folder / "file.bin.part.etag").write_text(etag)


@pytest.mark.parametrize("ignored", [False, True])
def test_part_of_another_version_is_not_continued(server: Loopback, tmp_path: Path, ignored: bool) -> None:
    server.ignore_if_range = ignored
    leave_part(tmp_path, b"x" * 1000, etag='"another"')
    assert fetch(server, tmp_path, sha256=None).read_bytes() == BODY
    assert server.asked("Range") == ["bytes=1000-", None][: 1 + ignored]


def test_part_that_nothing_vouches_for_is_not_continued(server: Loopback, tmp_path: Path) -> None:
    server.etag = False
    leave_part(tmp_path, b"x" * 1000)
    assert fetch(server, tmp_path, sha256=None).read_bytes() == BODY
    assert server.asked("Range") == [None]


def test_server_that_ignores_range(server: Loopback, tmp_path: Path) -> None:
    server.ignore_range = True
    server.cuts = [200_000]
    assert fetch(server, tmp_path).read_bytes() == BODY
    assert server.asked("Range")[0] is None
    assert server.asked("Range")[1] is not None


@pytest.mark.parametrize("content_range", ["bytes 0-299999/300000", "bytes 5-9/300000", "nonsense"])
def test_wrong_content_range_starts_over(server: Loopback, tmp_path: Path, content_range: str) -> None:
    server.content_range = content_range
    leave_part(tmp_path, BODY[:1000])
    assert fetch(server, tmp_path).read_bytes() == BODY
    assert server.asked("Range") == ["bytes=1000-", None]


def test_server_that_gives_a_range_in_pieces(server: Loopback, tmp_path: Path) -> None:
    server.piece = 60_000
    leave_part(tmp_path, BODY[:200_000])
    assert fetch(server, tmp_path).read_bytes() == BODY
    assert server.asked("Range") == ["bytes=200000-", "bytes=260000-"]


def test_part_longer_than_the_file_starts_over(server: Loopback, tmp_path: Path) -> None:
    leave_part(tmp_path, BODY + b"more")
    assert fetch(server, tmp_path).read_bytes() == BODY
    assert server.asked("Range") == [f"bytes={len(BODY) + 4}-", None]


def test_part_that_lacks_nothing_is_finished(server: Loopback, tmp_path: Path) -> None:
    leave_part(tmp_path, BODY)
    assert fetch(server, tmp_path).read_bytes() == BODY
    assert server.asked("Range") == [f"bytes={len(BODY)}-"]


def test_wrong_checksum(server: Loopback, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=f"has sha256 {SHA256}, expected {'0' * 64}"):
        fetch(server, tmp_path, sha256="0" * 64)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    "faults",
    [{"claimed_length": len(BODY) + 5}, {"chunked": True, "cuts": [200_000] * 9}, {"cuts": [0] * 9}],
    ids=["short", "chunked", "empty"],
)
def test_half_a_file_is_never_taken(server: Loopback, tmp_path: Path, faults: dict[str, Any]) -> None:
    vars(server).update(faults, ignore_range=True)
    with pytest.raises(DownloadError):
        fetch(server, tmp_path, sha256=None)
    assert "file.bin" not in names_in(tmp_path)


def test_file_of_unsaid_length_needs_a_checksum(server: Loopback, tmp_path: Path) -> None:
    server.claimed_length = -1
    with pytest.raises(DownloadError, match="does not give the file's length"):
        fetch(server, tmp_path, sha256=None)
    assert fetch(server, tmp_path).read_bytes() == BODY


def test_chunked_asset_is_fetched(server: Loopback, tmp_path: Path) -> None:
    server.chunked = True
    assert fetch(server, tmp_path, sha256=None).read_bytes() == BODY


@pytest.mark.parametrize("chunked", [False, True], ids=["said", "unsaid"])
def test_size_limit(server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunked: bool) -> None:
    monkeypatch.setattr(downloads, "MAX_ASSET_BYTES", 100_000)
    server.chunked = chunked
    with pytest.raises(DownloadError, match="larger than 100000 bytes"):
        fetch(server, tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.iterdir() if path.name.startswith("file.bin.part")) < 100


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_refusal_says_how_to_provide_the_file(server: Loopback, tmp_path: Path, status: int) -> None:
    server.statuses = [status]
    by_hand = 'pass detector="path/to/file.bin"'
    with pytest.raises(DownloadError, match=f"HTTP {status}") as caught:
        fetch(server, tmp_path, by_hand=by_hand)
    for part in (f"{server.url}/file.bin", by_hand, f"put it at {tmp_path / 'file.bin'}", "MARLIN_HOME"):
        assert part in str(caught.value)
    assert len(server.requests) == 1


def test_server_error_is_tried_again(server: Loopback, tmp_path: Path) -> None:
    server.statuses = [500, 503]
    assert fetch(server, tmp_path).read_bytes() == BODY
    server.statuses = [502] * 9
    with pytest.raises(DownloadError, match="HTTP 502"):
        fetch(server, tmp_path / "other")


def test_asset_connection_refused(server: Loopback, tmp_path: Path, refused_url: str) -> None:
    with pytest.raises(DownloadError, match=r"put it at .*Without a network here: run `marlin-sdk download`"):
        fetch(server, tmp_path, url=f"{refused_url}/file.bin")


def test_folder_that_cannot_be_made(server: Loopback, tmp_path: Path) -> None:
    (tmp_path / "in-the-way").write_bytes(b"")
    with pytest.raises(DownloadError, match="in-the-way"):
        fetch(server, tmp_path / "in-the-way" / "cache")


def test_disk_full(server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DownloadError, match=os.strerror(errno.ENOSPC)):
        fetch(server, tmp_path)
    assert "file.bin" not in names_in(tmp_path)


def test_two_threads_fetch_one_file(server: Loopback, tmp_path: Path) -> None:
    barrier = threading.Barrier(4)

    def one(_: int) -> bytes:
        barrier.wait()
        return fetch(server, tmp_path).read_bytes()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(one, range(4))) == [BODY] * 4
    assert len(server.requests) == 1


def test_two_processes_fetch_one_file(server: Loopback, tmp_path: Path) -> None:
    code = (
        "import sys; from marlin_sdk.weights.downloads import Asset, fetch_asset; "
        "fetch_asset(Asset('file.bin', sys.argv[1], sha256=sys.argv[2]), cache_dir=sys.argv[3], progress=False)"
    )
    command = [sys.executable, "-c", code, f"{server.url}/file.bin", SHA256, str(tmp_path)]
    processes = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(30) for process in processes] == [0, 0]
    assert (tmp_path / "file.bin").read_bytes() == BODY
    assert len(server.requests) == 1


def test_release_file_with_the_decoder(
    server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hub, "RELEASE_URL", server.url)
    server.files[f"/{PUBLISHED}.full.pt"] = BODY
    files = resolve_model(f"ControlNet/{PUBLISHED}", decoder=True)
    assert files == hub.ModelFiles(
        tmp_path / "home" / "assets" / f"{PUBLISHED}.full.pt", None, PUBLISHED, preset=PUBLISHED, commit=None
    )
    assert files.weights.read_bytes() == BODY
    assert caplog.messages == [hub.WEIGHTS_LICENCE]


# Models of the Hub --------------------------------------------------------------------------------------------------


@pytest.fixture
def repo(server: Loopback) -> Repo:
    own = Repo(
        commits={COMMIT: FILES, OTHER_COMMIT: {**FILES, "model.safetensors": b"other"}},
        branches={"main": COMMIT, "v2": OTHER_COMMIT},
    )
    server.repos = {f"ControlNet/{PUBLISHED}": own, "owner/name": own}
    return own


@pytest.mark.usefixtures("repo")
@pytest.mark.parametrize("model", [PUBLISHED, f"ControlNet/{PUBLISHED}"])
def test_published_model(tmp_path: Path, caplog: pytest.LogCaptureFixture, model: str) -> None:
    for _ in range(2):
        files = resolve_model(model, cache_dir=tmp_path)
        assert (files.name, files.preset, files.commit) == (PUBLISHED, PUBLISHED, COMMIT)
        assert files.weights.read_bytes() == BODY
        assert files.config is not None
        assert files.config.read_bytes() == b"{}"
    own = [record.getMessage() for record in caplog.records if record.name.startswith("marlin_sdk")]
    assert own == [hub.WEIGHTS_LICENCE]


@pytest.mark.usefixtures("repo")
@pytest.mark.parametrize(("revision", "decoder"), [("v2", False), (OTHER_COMMIT, True)])
def test_model_of_a_revision(tmp_path: Path, caplog: pytest.LogCaptureFixture, revision: str, decoder: bool) -> None:
    files = resolve_model("owner/name", decoder=decoder, revision=revision, cache_dir=tmp_path)
    assert (files.name, files.preset, files.commit) == ("owner/name", None, OTHER_COMMIT)
    assert files.weights.read_bytes() == b"other"
    assert hub.WEIGHTS_LICENCE not in caplog.messages


def test_both_files_come_from_one_commit(server: Loopback, tmp_path: Path, repo: Repo) -> None:
    resolve_model("owner/name", cache_dir=tmp_path)
    assert all(path.split("/")[4] == COMMIT for _, path, _ in server.requests if path.endswith("model.safetensors"))
    repo.branches["main"] = OTHER_COMMIT
    files = resolve_model("owner/name", cache_dir=tmp_path)
    assert (files.commit, files.weights.read_bytes()) == (OTHER_COMMIT, b"other")


def test_token_is_sent(server: Loopback, tmp_path: Path, repo: Repo) -> None:
    repo.token = "hf_secret"
    assert resolve_model("owner/name", token="hf_secret", cache_dir=tmp_path).commit == COMMIT
    assert set(server.asked("Authorization", path="model.safetensors")) == {"Bearer hf_secret"}


@pytest.mark.usefixtures("_no_waiting")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"token": "hf_secret"}, r"config\.json of Hub repo owner/name.*log in .*token="),
        ({"token": "hf_secret", "gated": True}, "gated.*log in"),
        ({"branches": {}}, "no such revision; check revision="),
        ({"commits": {COMMIT: {"config.json": b"{}"}}}, r"model\.safetensors of Hub repo .*has no such file"),
        ({"commits": {COMMIT: {"model.safetensors": BODY}}}, r"config\.json of Hub repo .*has no such file"),
    ],
    ids=["private", "gated", "revision", "weights", "config"],
)
def test_hub_refusal(tmp_path: Path, repo: Repo, change: dict[str, Any], said: str) -> None:
    vars(repo).update(change)
    with pytest.raises(DownloadError, match=said) as caught:
        resolve_model("owner/name", cache_dir=tmp_path, token=False)
    assert str(tmp_path) in str(caught.value)
    assert "put config.json and model.safetensors in a folder" in str(caught.value)
    assert caught.value.__cause__ is not None


@pytest.mark.usefixtures("repo")
def test_hub_repo_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"Hub repo owner/other.*no such repo, or it is private"):
        resolve_model("owner/other", cache_dir=tmp_path)


@pytest.mark.usefixtures("repo")
@pytest.mark.parametrize("variable", [True, False])
def test_hub_offline(server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: bool) -> None:
    def offline(folder: Path) -> hub.ModelFiles:
        with monkeypatch.context() as patch:
            if variable:
                patch.setenv("HF_HUB_OFFLINE", "1")
            return resolve_model(PUBLISHED, cache_dir=folder, local_files_only=not variable)

    warm = resolve_model(PUBLISHED, cache_dir=tmp_path / "warm")
    server.requests.clear()
    assert offline(tmp_path / "warm") == warm
    with pytest.raises(DownloadError, match="downloads are off"):
        offline(tmp_path / "cold")
    assert server.requests == []


@pytest.mark.usefixtures("repo", "_no_waiting")
def test_hub_connection_refused(
    tmp_path: Path, refused_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    warm = resolve_model("owner/name", cache_dir=tmp_path / "warm")
    monkeypatch.setenv("HF_ENDPOINT", refused_url)
    assert resolve_model("owner/name", cache_dir=tmp_path / "warm") == warm
    caplog.clear()
    with pytest.raises(DownloadError, match=r"request to the Hub failed.*run `marlin-sdk download` where there is one"):
        resolve_model("owner/name", cache_dir=tmp_path / "cold")
    said = [record.getMessage() for record in caplog.records]
    assert len(said) <= 1  # an old huggingface_hub tries once, without a word
    assert all("the Hugging Face Hub does not answer" in line for line in said)


@pytest.mark.usefixtures("repo", "_no_waiting")
def test_cut_hub_file_goes_on(server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # huggingface_hub keeps whole chunks only, of 10 MiB.
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1 << 16)
    server.cuts = [-1, 200_000]
    try:
        files = resolve_model("owner/name", cache_dir=tmp_path)
    except DownloadError:  # before 1.0, huggingface_hub goes on in the next call only
        files = resolve_model("owner/name", cache_dir=tmp_path)
    assert files.weights.read_bytes() == BODY
    first, second = server.asked("Range", path="model.safetensors")
    assert first is None
    assert second is not None
    assert 0 < int(second[6:-1]) <= 200_000


@pytest.mark.usefixtures("repo", "_no_waiting")
def test_hub_file_that_is_always_cut(server: Loopback, tmp_path: Path) -> None:
    server.cuts = [-1] + [0] * 50
    with pytest.raises(DownloadError, match=r"model\.safetensors of Hub repo owner/name"):
        resolve_model("owner/name", cache_dir=tmp_path)
    assert not list(tmp_path.rglob("snapshots/*/model.safetensors"))
