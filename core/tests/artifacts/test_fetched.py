"""References that no file can be compared with: what was fetched is not fetched again, and what was changed is."""

from __future__ import annotations

import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from windlass.artifacts.artifact import Artifact
from windlass.artifacts.engine import ArtifactEngine
from windlass.errors import StorageError


class Web(http.server.ThreadingHTTPServer):
    """Serves `files`, bytes and ETag by path, and notes which were asked for by GET."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, tuple[bytes, str]] = {}
        self.got: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Web

    def do_HEAD(self) -> None:
        if self.command == "GET":
            self.server.got.append(self.path)
        if self.path not in self.server.files:
            self.send_error(404)
            return
        body, etag = self.server.files[self.path]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        if etag:
            self.send_header("ETag", etag)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_GET = do_HEAD  # noqa: N815

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def web() -> Iterator[Web]:
    server = Web()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def logged(engine: ArtifactEngine, web: Web, *paths: str) -> Artifact:
    artifact = Artifact("remote", "dataset")
    for path in paths:
        artifact.add_reference(f"{web.url}/{path}", name=path)
    engine.log(artifact)
    web.got.clear()
    return artifact


def test_what_is_there_is_not_fetched_again(engine: ArtifactEngine, web: Web, tmp_path: Path) -> None:
    web.files = {"/a": (b"first", '"1"'), "/b": (b"other", '"2"')}
    artifact, out = logged(engine, web, "a", "b"), tmp_path / "out"
    artifact.download(out)
    assert sorted(web.got) == ["/a", "/b"]
    web.got.clear()
    for _ in range(2):
        engine.get("remote").download(out)
        engine.get("remote").checkout(out)
    assert web.got == [], "nobody is asked for what is there"
    os.utime(out / "a")
    artifact.download(out)
    assert web.got == [], "a file that was touched is compared, not fetched"
    (out / "a").write_text("wrong")  # of the same size
    artifact.download(out)
    assert ((out / "a").read_text(), web.got) == ("first", ["/a"])
    artifact.download(tmp_path / "elsewhere")
    assert len(web.got) == 3


def test_another_recorded_etag_is_other_content(engine: ArtifactEngine, web: Web, tmp_path: Path) -> None:
    web.files = {"/a": (b"first", '"1"')}
    old, out = logged(engine, web, "a"), tmp_path / "out"
    old.download(out)
    web.files = {"/a": (b"later", '"2"')}
    new = logged(engine, web, "a")
    new.download(out)
    assert (out / "a").read_text() == "later"
    web.files = {"/a": (b"first", '"1"')}
    web.got.clear()
    old.download(out)
    assert ((out / "a").read_text(), web.got) == ("first", ["/a"])


def test_entries_one_by_one_and_what_is_damaged(engine: ArtifactEngine, web: Web, tmp_path: Path) -> None:
    paths = [f"{number:02}" for number in range(30)]
    web.files = {f"/{path}": (path.encode(), f'"{path}"') for path in paths}
    artifact, out = logged(engine, web, *paths), tmp_path / "out"
    for path in paths:
        artifact.get_entry(path).download(out)
    web.got.clear()
    artifact.download(out)
    assert web.got == []
    (kept,) = (file for file in Path(engine.settings.cache_dir, "stat").iterdir() if b"blake3:" in file.read_bytes())
    kept.write_bytes(kept.read_bytes()[:-1])
    artifact.download(out)
    fetched = len(web.got)
    assert 0 < fetched <= len(paths)
    artifact.download(out)
    assert len(web.got) == fetched, "and it is known again"


def test_an_address_alone_means_what_is_there_now(engine: ArtifactEngine, web: Web, tmp_path: Path) -> None:
    web.files = {"/a": (b"first", "")}
    artifact, out = logged(engine, web, "a"), tmp_path / "out"
    artifact.download(out)
    web.files = {"/a": (b"later", "")}
    artifact.download(out)
    assert (out / "a").read_text() == "later"


def test_what_was_fetched_before_a_failure_stays_known(engine: ArtifactEngine, web: Web, tmp_path: Path) -> None:
    web.files = {"/a": (b"first", '"1"'), "/b": (b"other", '"2"')}
    artifact, out = logged(engine, web, "a", "b"), tmp_path / "out"
    there = web.files.pop("/b")
    with pytest.raises(StorageError):
        artifact.download(out)
    web.files["/b"] = there
    web.got.clear()
    artifact.download(out)
    assert web.got == ["/b"]
