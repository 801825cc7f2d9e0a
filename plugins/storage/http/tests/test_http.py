from __future__ import annotations

import gzip
import os
import threading
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from windlass.errors import (
    AccessError,
    ConfigError,
    ObjectChangedError,
    ObjectNotFoundError,
    StorageError,
    UnsupportedError,
    UsageError,
)
from windlass.plugins import App
from windlass.settings import Settings
from windlass.storage import ObjectRef

DATA = os.urandom(50_000)


@pytest.fixture
def make(tmp_path):
    app = App(Settings.from_env({"WINDLASS_HOME": str(tmp_path / "home")}))
    made = []

    def make(**config):
        made.append(app.create("storage", "http", config))
        return made[-1]

    yield make
    for storage in made:
        storage.close()
    app.close()


@pytest.mark.service("nginx")
def test_files_of_a_real_server(make, nginx):
    http, url = make(), nginx.facts["url"]
    folder = Path(nginx.folder) / "root"
    folder.mkdir()
    for name in ("a", "with space #1?.bin", "empty"):
        (folder / name).write_bytes(b"" if name == "empty" else DATA)
        info = http.stat(f"{url}/root/{quote(name)}")
        assert info.size == (0 if name == "empty" else len(DATA))
        assert info.etag
        assert '"' not in info.etag
        assert info.mtime > 1e9
        assert http.open(info.ref).read() == (folder / name).read_bytes()
    assert http.open(ObjectRef(uri=f"{url}/moved"), 10, 20).read() == DATA[10:30]
    for path in ("/root", "/none", "/gone"):
        with pytest.raises(ObjectNotFoundError):
            http.stat(url + path)
    ref = http.stat(f"{url}/root/a").ref
    (folder / "a").write_bytes(b"x" * len(DATA))
    os.utime(folder / "a", (1, 1))
    with pytest.raises(ObjectChangedError, match="expected ETag") as caught:
        http.open(ref)
    assert ref.etag in str(caught.value)


def test_a_server_without_head_etag_and_ranges(make, serve):
    def answer(method, path, headers):
        return (405, {}, b"") if method == "HEAD" else (200, {}, DATA)

    url, _ = serve(answer)
    http = make()
    info = http.stat(url + "/x")
    assert (info.size, info.etag, info.mtime) == (len(DATA), "", 0.0)
    for start, length in [(0, -1), (10, 20), (49_990, -1), (49_990, 99), (50_000, 5)]:
        end = None if length < 0 else start + length
        assert http.open(info.ref, start, length).read() == DATA[start:end]
        assert http.open(ObjectRef(uri=url), start, length).read() == DATA[start:end]


def test_a_size_that_only_get_tells(make, serve):
    def answer(method, path, headers):
        if method == "HEAD":
            return 200, {"Transfer-Encoding": "chunked"}, b""
        assert headers["Range"] == "bytes=0-0"
        return 206, {"Content-Range": "bytes 0-0/77"}, b"x"

    url, _ = serve(answer)
    assert make().stat(url).size == 77


def test_an_etag_that_changed_is_found_also_when_if_match_is_ignored(make, serve):
    etags = iter(['"one"', '"two"', '"two"'])
    url, seen = serve(lambda m, p, h: (200, {"ETag": next(etags)}, b"abc"))
    http = make()
    ref = http.stat(url).ref
    with pytest.raises(ObjectChangedError, match="expected ETag one, found two"):
        http.open(ref)
    assert seen[-1][2]["If-Match"] == '"one"'


def test_a_weak_etag_is_compared_but_not_sent(make, serve):
    url, seen = serve(lambda m, p, h: (200, {"ETag": 'W/"w"'}, b"abc"))
    http = make()
    assert http.open(http.stat(url).ref).read() == b"abc"
    assert all("If-Match" not in headers for _, _, headers in seen)
    with pytest.raises(ObjectChangedError, match="found W/w"):
        http.open(ObjectRef(uri=url, etag="W/other"))


def test_a_size_that_changed(make, serve):
    url, _ = serve(lambda m, p, h: (200, {}, b"abc"))
    with pytest.raises(ObjectChangedError, match="expected size 9, found 3"):
        make().open(ObjectRef(uri=url, size=9))


def test_a_broken_connection_goes_on_where_it_broke(make, serve):
    calls = []

    def answer(method, path, headers):
        wanted = headers.get("Range")
        calls.append((wanted, headers.get("If-Match")))
        start = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted else 0
        facts = {"ETag": '"e"', "Content-Length": str(len(DATA) - start)}
        if not wanted:
            return 200, {**facts, "Connection": "close"}, DATA[:20_000]
        return 206, {**facts, "Content-Range": f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"}, DATA[start:]

    url, _ = serve(answer)
    assert make().open(ObjectRef(uri=url, size=len(DATA))).read() == DATA
    assert calls == [(None, None), ("bytes=20000-", '"e"')]


def test_sign_in_stays_with_its_host(make, serve, monkeypatch):
    monkeypatch.setenv("TOKEN", "Bearer top-secret")
    other, seen_other = serve(lambda m, p, h: (200, {}, b"abc"), host="127.0.0.2")
    url, seen = serve(lambda m, p, h: (302, {"Location": other + "/file"}, b""))
    http = make(hosts={"127.0.0.1": {"headers": {"Authorization": {"secret": "env/TOKEN"}, "X-Plain": "yes"}}})
    assert http.stat(url).size == 3
    assert seen[0][2]["Authorization"] == "Bearer top-secret"
    assert seen[0][2]["X-Plain"] == "yes"
    assert "Authorization" not in seen_other[0][2]
    assert "X-Plain" not in seen_other[0][2]
    assert "top-secret" not in repr(vars(http.wrapped))


def test_sign_in_may_be_for_one_port(make, serve):
    one, seen_one = serve(lambda m, p, h: (200, {}, b"abc"))
    two, seen_two = serve(lambda m, p, h: (200, {}, b"abc"))
    http = make(hosts={one.removeprefix("http://"): {"headers": {"X-Key": "k"}}})
    http.stat(one)
    http.stat(two)
    assert seen_one[0][2]["X-Key"] == "k"
    assert "X-Key" not in seen_two[0][2]


def test_wrong_headers_are_a_config_error(make, serve):
    url, _ = serve(lambda m, p, h: (200, {}, b""))
    with pytest.raises(ConfigError, match=r"hosts.127.0.0.1.headers.X"):
        make(hosts={"127.0.0.1": {"headers": {"X": 5}}}).stat(url)


@pytest.mark.parametrize(
    ("location", "message"),
    [("/again", "redirects"), ("ftp://x/y", "to ftp"), ("file:///etc/passwd", "file")],
)
def test_redirects_that_go_nowhere(make, serve, location, message):
    url, _ = serve(lambda m, p, h: (302, {"Location": location}, b""))
    with pytest.raises(StorageError, match=message):
        make(redirects=3).stat(url)


def test_the_page_of_a_sign_in_is_no_file(make, serve):
    page = {"Content-Type": "text/html; charset=utf-8"}
    sso, _ = serve(lambda m, p, h: (200, page, b"<form>"), host="127.0.0.2")
    signed_in = [False]

    def answer(method, path, headers):
        if path == "/there/data.csv":
            return 200, page, b"a,b"  # a server that says so of all files
        if path == "/moved.csv":
            return 302, {"Location": "/there/data.csv"}, b""
        if signed_in[0]:
            return 200, {"Content-Type": "text/csv", "ETag": '"1"'}, b"a,b"
        return 302, {"Location": f"{sso}/login?state=secret"}, b""

    url, _ = serve(answer)
    storage = make()
    with pytest.raises(AccessError, match=f"no .csv file.*{sso}/login\n") as caught:
        storage.stat(f"{url}/data.csv?x=1")
    assert "127.0.0.1: {headers" in caught.value.hint
    for path in ("/report.html", "/report"):  # it may be meant
        assert storage.stat(url + path).size == 6
    assert storage.open(storage.stat(f"{url}/moved.csv").ref).read() == b"a,b"
    signed_in[0] = True
    ref = storage.stat(f"{url}/data.csv").ref
    signed_in[0] = False
    with pytest.raises(AccessError, match="a web page"):
        storage.open(ref).read()


@pytest.mark.parametrize("status", [401, 403])
def test_refusals_tell_where_sign_in_is_given(make, serve, status):
    url, _ = serve(lambda m, p, h: (status, {}, b""))
    with pytest.raises(AccessError, match="Authorization"):
        make().stat(url)


def test_faults_of_the_server_are_outlived(make, serve):
    answers = iter([503, 503, 200, 200])
    lock = threading.Lock()

    def answer(method, path, headers):
        with lock:
            return next(answers), {}, b"abc"

    url, _ = serve(answer)
    http = make()
    assert http.stat(url).size == 3


def test_an_unreachable_server_is_a_retryable_error(make, monkeypatch):
    monkeypatch.setattr("windlass.transfer.streams.time.sleep", lambda seconds: None)
    with pytest.raises(StorageError) as caught:
        make().stat("http://127.0.0.1:9/x")
    assert caught.value.retryable


def test_nothing_can_be_written_or_listed(make):
    http = make()
    for work in (
        lambda: http.put("http://x/y", b""),
        lambda: http.delete(["http://x/y"]),
        lambda: list(http.list("http://x/y")),
    ):
        with pytest.raises(UnsupportedError):
            work()


def test_a_head_that_says_nothing_is_there_is_not_believed(make, serve):
    url, _ = serve(lambda m, p, h: (200, {"Content-Length": "0"}, b"") if m == "HEAD" else (200, {}, b"made now"))
    http = make()
    info = http.stat(url)
    assert info.size == 8
    assert http.open(info.ref).read() == b"made now"


def test_an_etag_without_quotes_is_no_change(make, serve):
    def answer(method, path, headers):
        return (412, {}, b"") if headers.get("If-Match", "bare") != "bare" else (200, {"ETag": "bare"}, b"abc")

    url, _ = serve(answer)
    http = make()
    assert http.open(http.stat(url).ref).read() == b"abc"
    with pytest.raises(ObjectChangedError, match="expected ETag other, found bare"):
        http.open(ObjectRef(uri=url, etag="other"))


def test_without_an_etag_a_file_is_known_by_when_it_was_modified(make, serve):
    now = ["Mon, 01 Jan 2024 00:00:00 GMT"]
    extra = {}
    url, _ = serve(lambda m, p, h: (200, {"Last-Modified": now[0], **(extra if m == "GET" else {})}, b"abc"))
    http = make()
    ref = http.stat(url).ref
    assert ref.etag
    assert http.open(ref).read() == b"abc"
    extra["ETag"] = '"only-get-has-it"'
    assert http.open(ref).read() == b"abc"
    now[0] = "Tue, 02 Jan 2024 00:00:00 GMT"
    with pytest.raises(ObjectChangedError, match="expected ETag"):
        http.open(ref)


def test_a_page_that_is_made_when_it_is_asked_for_has_no_such_date(make, serve):
    date = "Mon, 01 Jan 2024 00:00:00 GMT"
    url, _ = serve(lambda m, p, h: (200, {"Last-Modified": date, "Date": date}, b"abc"))
    assert make().stat(url).etag == ""


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip"])
def test_what_is_compressed_on_its_way_is_uncompressed(make, serve, encoding):
    packed = gzip.compress(DATA[:25_000]) + gzip.compress(DATA[25_000:])

    def answer(method, path, headers):
        facts = {"ETag": '"e"', "Content-Encoding": encoding}
        wanted = headers.get("Range", "").removeprefix("bytes=").rstrip("-")
        if not wanted or method == "HEAD":
            return 200, facts, packed
        start, _, end = wanted.partition("-")
        piece = packed[int(start) : int(end or len(packed)) + 1]
        return 206, {**facts, "Content-Range": f"bytes {wanted}/{len(packed)}"}, piece

    url, _ = serve(answer)
    http = make()
    info = http.stat(url + "/data.csv")
    assert info.size == -1
    assert http.open(info.ref).read() == DATA
    assert http.open(info.ref, 24_990, 20).read() == DATA[24_990:25_010]
    named = http.stat(url + "/data.csv.gz")
    assert named.size == len(packed)
    assert http.open(named.ref).read() == packed


def test_compressed_bytes_that_end_too_early(make, serve, monkeypatch):
    monkeypatch.setattr("windlass.transfer.streams._PATIENCE", ())
    monkeypatch.setattr("time.sleep", lambda _: None)
    url, _ = serve(lambda m, p, h: (200, {"Content-Encoding": "gzip"}, gzip.compress(DATA)[:-100]))
    with pytest.raises(StorageError, match="end too early"):
        make().open(ObjectRef(uri=url)).read()
    url, _ = serve(lambda m, p, h: (200, {"Content-Encoding": "br"}, b"abc"))
    with pytest.raises(UnsupportedError, match="Content-Encoding: br") as caught:
        make().open(ObjectRef(uri=url)).read()
    assert caught.value.hint


@pytest.mark.parametrize("heeds_no_range", [True, False])
def test_another_range_than_was_asked_for_is_not_taken_for_it(make, serve, heeds_no_range):
    def answer(method, path, headers):
        if "Range" not in headers and heeds_no_range:
            return 200, {}, DATA
        return 206, {"Content-Range": f"bytes 5-104/{len(DATA)}"}, DATA[5:105]

    url, _ = serve(answer)
    http = make()
    if heeds_no_range:
        assert http.open(ObjectRef(uri=url, size=len(DATA)), 200, 50).read() == DATA[200:250]
    else:
        with pytest.raises(StorageError, match="range that was not asked for") as caught:
            http.open(ObjectRef(uri=url, size=len(DATA)), 200, 50)
        assert caught.value.hint


def test_a_server_that_asks_to_wait_is_heeded(make, serve):
    asked = []

    def answer(method, path, headers):
        asked.append(time.monotonic())
        return (503, {"Retry-After": "1"}, b"") if len(asked) == 1 else (200, {}, b"abc")

    url, _ = serve(answer)
    assert make().stat(url).size == 3
    assert asked[1] - asked[0] >= 1


def test_a_server_that_asks_to_wait_long_is_not_asked_again(make, serve):
    url, seen = serve(lambda m, p, h: (429, {"Retry-After": "3600"}, b""))
    with pytest.raises(StorageError, match="answered 429, to be asked again in 3600 s"):
        make().stat(url)
    assert len(seen) == 1


def test_a_secret_that_is_no_header_stays_secret(make, serve, monkeypatch):
    url, seen = serve(lambda m, p, h: (200, {}, b"abc"))
    hosts = {"127.0.0.1": {"headers": {"Authorization": {"secret": "env/TOKEN"}}}}
    monkeypatch.setenv("TOKEN", "Bearer sesame\n")
    assert make(hosts=hosts).stat(url).size == 3
    assert seen[0][2]["Authorization"] == "Bearer sesame"
    for value in ("Bearer ses\name", "Bearer s\u00e9same"):
        monkeypatch.setenv("TOKEN", value)
        with pytest.raises(ConfigError, match="printable ASCII") as caught:
            make(hosts=hosts).stat(url)
        assert "same" not in str(caught.value)
        assert "ame" not in repr(caught.value.__cause__)


@pytest.mark.parametrize("address", ["http://h:abc/x", "http://h:99999/x", f"http://{'a' * 70}.org/x", "http:///x"])
def test_what_is_no_address(make, address):
    with pytest.raises(UsageError, match="not a web address") as caught:
        make().stat(address)
    assert caught.value.hint


@pytest.mark.parametrize("status", [400, 404, 410, 500])
def test_every_refusal_says_what_to_do(make, serve, status, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    url, _ = serve(lambda m, p, h: (status, {}, b""))
    with pytest.raises(StorageError) as caught:
        make().stat(url)
    assert caught.value.hint
