"""A server on 127.0.0.1 that plays the Hub, to read from and to write to, and a plain file host; it can misbehave."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, cast

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER_COMMIT = "89abcdef0123456789abcdef0123456789abcdef"
LARGE = (".safetensors", ".pt")


@dataclass
class Repo:
    """A Hub repo: the files of each commit, and the commit of each branch."""

    commits: dict[str, Mapping[str, bytes]]
    branches: dict[str, str]
    token: str | None = None
    gated: bool = False
    private: bool = False


@dataclass
class Loopback:
    """Serves `files` by path, and `repos` as the Hub does; `requests` holds (method, path, headers) of each request.

    Attributes:
        cuts: for the next GETs that have a body, how many bytes to send before hanging up (-1 sends all).
        ignore_range: answer 200 and the whole file to a Range request.
        ignore_if_range: answer 206 although the file is not the one that was asked to go on.
        content_range: send this instead of the true Content-Range.
        piece: answer a Range request with at most so many bytes, as a server may.
        etag: False sends none for plain files.
        chunked: send no Content-Length.
        claimed_length: send this Content-Length; -1 sends none, so that the file ends where the connection does.
        statuses: answer these statuses to the next requests of plain files.
        may_write: the token whose owner may create repos and commit to them; None lets nobody.
        lfs: what was uploaded to the store of large files, by sha256.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    repos: dict[str, Repo] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)
    ignore_range: bool = False
    ignore_if_range: bool = False
    content_range: str | None = None
    piece: int | None = None
    etag: bool = True
    chunked: bool = False
    claimed_length: int | None = None
    statuses: list[int] = field(default_factory=list)
    requests: list[tuple[str, str, Message]] = field(default_factory=list)
    may_write: str | None = None
    lfs: dict[str, bytes] = field(default_factory=dict)

    def __enter__(self) -> Loopback:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.loopback = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        """The address, with no slash at its end."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def asked(self, header: str, *, method: str = "GET", path: str = "") -> list[str | None]:
        """A header of each request so far whose path ends with `path`; None where it was not sent."""
        return [sent[header] for verb, where, sent in self.requests if verb == method and where.endswith(path)]


def _etag(filename: str, body: bytes) -> str:
    """As the Hub's: the sha256 of a large file, and git's hash of a small one."""
    if filename.endswith(".safetensors"):
        return hashlib.sha256(body).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()


class _Server(ThreadingHTTPServer):
    loopback: Loopback


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def log_message(self, format: str, *args: object) -> None:
        """Keep stderr for the tests."""

    def do_POST(self) -> None:
        body, path, plan = self._received()
        if plan.may_write is None or self.headers["Authorization"] != f"Bearer {plan.may_write}":
            return self._refuse(401 if self.headers["Authorization"] is None else 403)
        if path == "/api/repos/create":
            return self._create(plan, json.loads(body))
        if match := re.fullmatch(r"/api/models/(.+)/commit/main", path):
            return self._commit(plan, match[1], [json.loads(line) for line in body.splitlines() if line.strip()])
        content: dict[str, Any]
        if path == "/api/validate-yaml":
            content = {"errors": [], "warnings": []}
        elif path.endswith(".git/info/lfs/objects/batch"):
            content = {"transfer": "basic", "objects": self._large(plan, json.loads(body)["objects"])}
        else:
            assert re.fullmatch(r"/api/models/.+/preupload/main", path), path
            files = [file["path"] for file in json.loads(body)["files"]]
            modes = {True: "lfs", False: "regular"}
            ways = [{"path": file, "uploadMode": modes[file.endswith(LARGE)], "shouldIgnore": False} for file in files]
            content = {"files": ways}
        return self._answer_json(content)

    def _create(self, plan: Loopback, asked: dict[str, Any]) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        if name in plan.repos:
            return self._answer_json({"error": "exists", "url": f"{plan.url}/{name}"}, status=409)
        private = asked.get("private", asked.get("visibility") == "private")  # by the version of the client
        plan.repos[name] = Repo(commits={COMMIT: {}}, branches={"main": COMMIT}, private=private)
        return self._answer_json({"url": f"{plan.url}/{name}", "name": name, "id": name})

    def do_PUT(self) -> None:
        body, path, plan = self._received()
        if plan.statuses:
            return self._refuse(plan.statuses.pop(0))
        plan.lfs[path.removeprefix("/lfs/")] = body
        return self._head(200, {"Content-Length": "0"})

    def _received(self) -> tuple[bytes, str, Loopback]:
        plan, path = cast(_Server, self.server).loopback, self.path.split("?")[0]
        plan.requests.append((self.command, path, self.headers))
        if self.headers["Transfer-Encoding"] == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body, path, plan
        return self.rfile.read(int(self.headers["Content-Length"] or 0)), path, plan

    def _large(self, plan: Loopback, objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Where each large file is to be put."""
        return [{**one, "actions": {"upload": {"href": f"{plan.url}/lfs/{one['oid']}"}}} for one in objects]

    def _commit(self, plan: Loopback, name: str, entries: list[dict[str, Any]]) -> None:
        repo, commit = plan.repos[name], hashlib.sha1(json.dumps(entries).encode()).hexdigest()
        files = dict(repo.commits[repo.branches["main"]])
        for entry in (entry["value"] for entry in entries if entry["key"] == "file"):
            files[entry["path"]] = base64.b64decode(entry["content"])
        for entry in (entry["value"] for entry in entries if entry["key"] == "lfsFile"):
            files[entry["path"]] = plan.lfs[entry["oid"]]
        repo.commits[commit], repo.branches["main"] = files, commit
        self._answer_json({"commitUrl": f"{plan.url}/{name}/commit/{commit}", "commitOid": commit})

    def _answer_json(self, content: object, status: int = 200) -> None:
        body = json.dumps(content).encode()
        self._head(status, {"Content-Type": "application/json", "Content-Length": str(len(body))})
        self.wfile.write(body)

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        plan = cast(_Server, self.server).loopback
        path = self.path.split("?")[0]
        plan.requests.append((self.command, path, self.headers))
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._answer_hub(plan, *match.groups())
        elif plan.statuses:
            self._refuse(plan.statuses.pop(0))
        elif path in plan.files:
            body = plan.files[path]
            self._send(plan, body, {"ETag": f'"{hashlib.md5(body).hexdigest()}"'} if plan.etag else {})
        else:
            self._refuse(404)

    def _answer_hub(self, plan: Loopback, repo_id: str, revision: str, filename: str) -> None:
        repo = plan.repos.get(repo_id)
        if repo is None:
            return self._refuse(404, "RepoNotFound")
        if repo.token and self.headers["Authorization"] != f"Bearer {repo.token}":
            return self._refuse(401, "GatedRepo" if repo.gated else "RepoNotFound")
        commit = repo.branches.get(revision, revision)
        if commit not in repo.commits:
            return self._refuse(404, "RevisionNotFound")
        if filename not in repo.commits[commit]:
            return self._refuse(404, "EntryNotFound", {"X-Repo-Commit": commit})
        body = repo.commits[commit][filename]
        return self._send(plan, body, {"X-Repo-Commit": commit, "ETag": f'"{_etag(filename, body)}"'})

    def _refuse(self, status: int, code: str = "", headers: Mapping[str, str] | None = None) -> None:
        self._head(status, {"Content-Length": "0", **({"X-Error-Code": code} if code else {}), **(headers or {})})

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        # A connection for each request: nothing is left open when a test ends.
        for name, value in {**headers, "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, plan: Loopback, body: bytes, headers: dict[str, str]) -> None:
        status, start, stop = 200, 0, len(body)
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
        current = plan.ignore_if_range or self.headers["If-Range"] in (None, headers.get("ETag"))
        if asked and current and not plan.ignore_range:
            status, start = 206, int(asked[1])
            if start >= len(body):
                return self._refuse(416, headers={"Content-Range": f"bytes */{len(body)}"})
            stop = min(len(body), start + (plan.piece or len(body)))
            headers["Content-Range"] = plan.content_range or f"bytes {start}-{stop - 1}/{len(body)}"
        if plan.chunked:
            headers["Transfer-Encoding"] = "chunked"
        elif plan.claimed_length != -1:
            headers["Content-Length"] = str(plan.claimed_length or stop - start)
        self._head(status, headers)
        if self.command == "HEAD":
            return None
        rest = body[start:stop]
        cut = plan.cuts.pop(0) if plan.cuts else -1
        rest = rest if cut < 0 else rest[:cut]
        if plan.chunked:
            rest = b"%x\r\n%s\r\n" % (len(rest), rest) + (b"0\r\n\r\n" if cut < 0 else b"")
        self.wfile.write(rest)
        return None
