"""FakeHub: a Hugging Face Hub on 127.0.0.1 with one repository and faults on demand."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

LFS_SUFFIXES = (".safetensors", "tokenizer.json")


@dataclass
class FakeHub:
    """What the server serves, how it misbehaves, and what it was asked.

    Args:
        repo_id: Its one repository.
        revisions: Branch, tag or commit to file name to content.
        gated: Files are refused for want of access.
        status: Answer everything with this status.
        cuts: File name to number of bytes after which its next transfer breaks off.
        corrupt: Files that are sent with a flipped byte.
        requests: "METHOD path" of what was asked, with " RANGE" where a range was.
        tokens: Authorization headers seen.
    """

    repo_id: str
    revisions: dict[str, dict[str, bytes]]
    endpoint: str = ""
    gated: bool = False
    status: int | None = None
    cuts: dict[str, int] = field(default_factory=dict)
    corrupt: set[str] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)

    def fetched(self) -> list[str]:
        """Names of the files whose content was asked for, with " RANGE" where partly."""
        return [
            line.split("/resolve/")[1].split("/", 1)[1]
            for line in self.requests
            if line.startswith("GET") and "/resolve/" in line
        ]


def commit_of(revision: str) -> str:
    """The commit that a branch or tag points to; a commit is its own."""
    is_commit = len(revision) == 40 and set(revision) <= set("0123456789abcdef")
    return revision if is_commit else hashlib.sha1(revision.encode()).hexdigest()


@contextmanager
def fake_hub(files: dict[str, bytes], repo_id: str = "openai/gpt-oss-tiny") -> Iterator[FakeHub]:
    """Serve `files` as the branch main until the block ends."""
    hub = FakeHub(repo_id, {"main": files})
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        return

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path).lstrip("/")
        partly = " RANGE" if "Range" in self.headers else ""
        self.hub.requests.append(f"{self.command} {path}{partly}")
        self.hub.tokens.add(self.headers.get("Authorization"))
        if self.hub.status is not None:
            return self._refuse(self.hub.status, "")
        if path.startswith("api/models/"):
            return self._info(path.removeprefix("api/models/"))
        repo_id, _, rest = path.partition("/resolve/")
        revision, _, name = rest.partition("/")
        if repo_id != self.hub.repo_id:
            return self._refuse(404, "RepoNotFound")
        if self.hub.gated:
            return self._refuse(403, "GatedRepo")
        files = self._files(revision)
        if files is None or name not in files:
            return self._refuse(404, "EntryNotFound" if files else "RevisionNotFound")
        return self._file(commit_of(revision), name, files[name])

    def _files(self, revision: str) -> dict[str, bytes] | None:
        by_commit = {commit_of(name): files for name, files in self.hub.revisions.items()}
        return self.hub.revisions.get(revision, by_commit.get(revision))

    def _info(self, path: str) -> None:
        repo_id, _, revision = path.partition("/revision/")
        files = self._files(revision or "main")
        if repo_id != self.hub.repo_id:
            return self._refuse(401, "RepoNotFound")
        if files is None:
            return self._refuse(404, "RevisionNotFound")
        siblings = [_sibling(name, content) for name, content in files.items()]
        sha = commit_of(revision or "main")
        return self._send(200, json.dumps({"id": repo_id, "sha": sha, "siblings": siblings}))

    def _file(self, commit: str, name: str, content: bytes) -> None:
        start = 0
        if "Range" in self.headers:
            start = int(self.headers["Range"].removeprefix("bytes=").split("-")[0])
        digest = _digest(name, content)
        if name in self.hub.corrupt:
            content = content[:-1] + bytes([content[-1] ^ 1])
        self.send_response(206 if start else 200)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{digest}"')
        self.send_header("X-Linked-Etag", f'"{digest}"')
        self.send_header("X-Linked-Size", str(len(content)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if self.command == "HEAD":
            return
        end = self.hub.cuts.pop(name, len(content))
        self.wfile.write(content[start:end])
        if end < len(content):
            self.close_connection = True

    def _refuse(self, status: int, code: str) -> None:
        self._send(status, "{}", {"X-Error-Code": code} if code else {})

    def _send(self, status: int, body: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body.encode())


def _digest(name: str, content: bytes) -> str:
    if name.endswith(LFS_SUFFIXES):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _sibling(name: str, content: bytes) -> dict[str, object]:
    entry: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": "0" * 40}
    if name.endswith(LFS_SUFFIXES):
        entry["lfs"] = {"sha256": _digest(name, content), "size": len(content), "pointerSize": 134}
    else:
        entry["blobId"] = _digest(name, content)
    return entry
