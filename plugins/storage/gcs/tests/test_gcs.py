from __future__ import annotations

import hashlib
import os
import re

import pytest

from windlass.errors import AccessError, ObjectChangedError, ObjectNotFoundError, StorageError, UsageError
from windlass.plugins import App
from windlass.settings import Settings
from windlass.storage import ObjectRef

KIB, MIB = 1 << 10, 1 << 20
ROOT = "gs://bucket"


@pytest.fixture(autouse=True)
def _no_own_credentials(monkeypatch, tmp_path):
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))
    monkeypatch.setattr("google.auth.compute_engine._metadata._NO_GCE_CHECK", True, raising=False)


@pytest.fixture
def app(tmp_path):
    app = App(Settings.from_env({"WINDLASS_HOME": str(tmp_path / "home")}))
    yield app
    app.close()


@pytest.fixture
def gcs(app, gcs_bucket):
    storage = app.create("storage", "gcs", {"chunk-size": 256 * KIB})
    yield storage
    storage.close()


def test_listing_is_a_folder_with_all_facts(gcs, gcs_server):
    odd = ["foo/a//b", "foo/./c", "foo/x+y z%20", "foo/é", "foo/q?x#1", "foo/line\nbreak"]
    for name in ["foo", "foo/", "foo/sub/", "foo/a", "foobar/x", *odd]:
        gcs_server.store("bucket", name, name.encode())
    gcs_server.store("bucket", "foo/empty", b"")
    found = list(gcs.list(ROOT + "/foo"))
    assert [i.uri for i in found] == [f"{ROOT}/{n}" for n in sorted(["foo/a", "foo/empty", *odd], key=str.encode)]
    for info in found:
        data = b"" if info.size == 0 else info.uri.removeprefix(ROOT + "/").encode()
        assert info.checksum == "md5:" + hashlib.md5(data).hexdigest()
        assert info.version
        assert info.mtime > 1e9
        if "#" not in info.uri:
            assert gcs.stat(info.uri) == info
    assert list(gcs.list(ROOT + "/nothing")) == []


@pytest.mark.parametrize(
    "names",
    [
        [f"d/part-{n:05d}" for n in range(1230)],
        [f"d/{n % 3}/{n % 2}/{n}" for n in range(600)],
        [f"d/{hashlib.md5(str(n).encode()).hexdigest()}" for n in range(600)],
    ],
    ids=["numbered", "nested", "hashed"],
)
def test_long_listings_are_whole_and_in_order(gcs, gcs_server, names):
    for name in names:
        gcs_server.store("bucket", name, b"x")
    gcs_server.requests.clear()
    assert [info.uri for info in gcs.list(ROOT + "/d/")] == [f"{ROOT}/{name}" for name in sorted(names)]
    assert len(gcs_server.requests) < 120
    assert all(re.match(r"GET /storage/v1/b/bucket/o\?", request) for request in gcs_server.requests)


def test_old_generations_are_read_in_versioned_buckets(gcs, gcs_server):
    gcs_server.create("kept", versioned=True)
    first = gcs.put("gs://kept/a", b"one")
    second = gcs.put("gs://kept/a", b"second", if_absent=False)
    assert first.version != second.version
    assert gcs.open(first.ref).read() == b"one"
    assert gcs.open(ObjectRef(uri=f"gs://kept/a#{first.version}")).read() == b"one"
    assert gcs.stat(f"gs://kept/a#{first.version}").size == 3
    gcs.delete(["gs://kept/a"])
    assert gcs.open(second.ref).read() == b"second"
    with pytest.raises(ObjectNotFoundError):
        gcs.stat("gs://kept/a")


def test_a_changed_object_is_refused_with_both_values(gcs, gcs_server):
    ref = gcs.put(ROOT + "/a", b"one").ref
    now = gcs.put(ROOT + "/a", b"two", if_absent=False)
    with pytest.raises(ObjectChangedError, match=f"{ref.version}, found {now.version}"):
        gcs.open(ref).read()
    with pytest.raises(ObjectChangedError, match="ETag"):
        gcs.open(ObjectRef(uri=ref.uri, etag=ref.etag)).read()
    with pytest.raises(ObjectChangedError, match="expected size 9"):
        gcs.open(ObjectRef(uri=ref.uri, size=9)).read()
    gcs.delete([ref.uri])
    with pytest.raises(ObjectNotFoundError):
        gcs.open(ref)


def test_ranges(gcs):
    data = os.urandom(700 * KIB)
    info = gcs.put(ROOT + "/k", data)
    for known in (info.ref, ObjectRef(uri=info.uri)):
        for start, length in [(0, -1), (10, 20), (len(data) - 9, -1), (len(data) - 9, 99), (len(data), -1), (5, 0)]:
            end = None if length < 0 else start + length
            assert gcs.open(known, start, length).read() == data[start:end]


def test_put_never_overwrites(gcs):
    first = gcs.put(ROOT + "/k", b"one")
    assert first.checksum == "md5:" + hashlib.md5(b"one").hexdigest()
    assert gcs.put(ROOT + "/k", b"other bytes") == first
    assert gcs.put(ROOT + "/k", b"other bytes", if_absent=False).size == 11
    assert gcs.open(ObjectRef(uri=ROOT + "/k")).read() == b"other bytes"
    assert gcs.put(ROOT + "/k", os.urandom(2 * MIB)).size == 11
    assert gcs.put(ROOT + "/nul", b"").size == 0
    assert gcs.open(ObjectRef(uri=ROOT + "/nul")).read() == b""
    for bad in (ROOT, ROOT + "/", ROOT + "/dir/", "gs://"):
        with pytest.raises(UsageError):
            gcs.put(bad, b"x")


def test_large_files_go_up_in_chunks(gcs, gcs_server, tmp_path):
    data = os.urandom(2 * MIB + 77)
    (tmp_path / "big").write_bytes(data)
    info = gcs.put(ROOT + "/big", str(tmp_path / "big"))
    assert sum("PUT /upload/session" in request for request in gcs_server.requests) == 9
    assert gcs.open(info.ref).read() == data
    assert not list((tmp_path / "home").rglob("*.jsonl"))


def test_faults_of_the_server_are_outlived(gcs, gcs_server):
    data = os.urandom(2 * MIB)
    gcs_server.fail = [503]
    info = gcs.put(ROOT + "/small", b"x")
    gcs_server.fail = [503]
    assert gcs.stat(info.uri) == info
    import itertools

    from windlass_storage_gcs import upload

    send, count = upload._send, itertools.count()

    def shaky(*args):
        if next(count) in (1, 4):
            gcs_server.fail = [503]
        return send(*args)

    upload._send = shaky
    try:
        assert gcs.open(gcs.put(ROOT + "/big", data).ref).read() == data
    finally:
        upload._send = send


def test_an_interrupted_upload_goes_on_and_sends_nothing_twice(gcs, gcs_server, app, monkeypatch):
    from windlass_storage_gcs import upload

    data, sent, send = os.urandom(2 * MIB), [], upload._send

    def stopping(client, session, source, start, chunk, uri):
        if len(sent) == 5:
            raise KeyboardInterrupt
        sent.append(start)
        return send(client, session, source, start, chunk, uri)

    monkeypatch.setattr(upload, "_send", stopping)
    with pytest.raises(KeyboardInterrupt):
        gcs.put(ROOT + "/big", data)
    with pytest.raises(ObjectNotFoundError):
        gcs.stat(ROOT + "/big")
    first = list(sent)
    sent[:] = [-1] * 6
    again = app.create("storage", "gcs", {"chunk-size": 256 * KIB})
    assert again.open(again.put(ROOT + "/big", data).ref).read() == data
    assert sorted(first + sent[6:]) == list(range(0, 2 * MIB, 256 * KIB))
    assert gcs_server.uploads == {}


def test_a_session_the_store_dropped_begins_anew(gcs, gcs_server, monkeypatch):
    from windlass_storage_gcs import upload

    data, calls, send = os.urandom(2 * MIB), [], upload._send

    def stopping(*args):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return send(*args)

    monkeypatch.setattr(upload, "_send", stopping)
    with pytest.raises(KeyboardInterrupt):
        gcs.put(ROOT + "/big", data)
    gcs_server.uploads.clear()
    assert gcs.open(gcs.put(ROOT + "/big", data).ref).read() == data


@pytest.mark.parametrize("status", [429, 500, 503, 507])
def test_every_failure_that_passes_says_what_to_do(status):
    from windlass_storage_gcs.client import failure

    error = failure(status, b"", ROOT + "/a")
    assert (str(status) in error.message, bool(error.hint)) == (True, True)


def test_an_upload_whose_session_expired_goes_on_in_the_next(gcs, gcs_server, app, monkeypatch):
    from windlass_storage_gcs import client, upload

    data, sent, send = os.urandom(2 * MIB), [], upload._send

    def expiring(*args):
        if len(sent) == 5:
            raise AccessError("the store answered 401")
        sent.append(args[3])
        return send(*args)

    with monkeypatch.context() as expired:
        expired.setattr(upload, "_send", expiring)
        ask = client.Client.request

        def request(self, method, *args, **options):
            if method == "DELETE":
                raise AccessError("the store answered 401")
            return ask(self, method, *args, **options)

        expired.setattr(client.Client, "request", request)
        with pytest.raises(AccessError):
            gcs.put(ROOT + "/big", data)
    monkeypatch.setattr(upload, "_send", lambda *args: sent.append(args[3]) or send(*args))
    again = app.create("storage", "gcs", {"chunk-size": 256 * KIB})
    assert again.open(again.put(ROOT + "/big", data).ref).read() == data
    assert sorted(sent) == list(range(0, 2 * MIB, 256 * KIB))
    assert gcs_server.uploads == {}


def test_bytes_that_arrive_changed_are_refused_by_the_store(gcs, gcs_server, monkeypatch):
    from windlass_storage_gcs import upload

    monkeypatch.setattr(upload, "_checksum", lambda source: "AAAAAA==")
    for size in (3, 2 * MIB):
        with pytest.raises(StorageError, match="CRC32C"):
            gcs.put(f"{ROOT}/bad{size}", b"x" * size)
        with pytest.raises(ObjectNotFoundError):
            gcs.stat(f"{ROOT}/bad{size}")
    assert gcs_server.uploads == {}


def test_of_two_writers_of_a_large_object_one_wins(gcs, gcs_server, monkeypatch):
    from windlass_storage_gcs import upload

    send = upload._send

    def late(*args):
        if args[3] == 0:
            gcs_server.store("bucket", "big", b"faster")
        return send(*args)

    monkeypatch.setattr(upload, "_send", late)
    assert gcs.put(ROOT + "/big", os.urandom(2 * MIB)).size == 6


def test_errors_say_what_and_where(gcs, gcs_server):
    for work in (
        lambda: gcs.stat(ROOT + "/none"),
        lambda: gcs.open(ObjectRef(uri=ROOT + "/none")),
        lambda: gcs.stat(ROOT + "/dir/"),
    ):
        with pytest.raises(ObjectNotFoundError, match="gs://bucket"):
            work()
    for work in (lambda: list(gcs.list("gs://no-bucket/x")), lambda: gcs.put("gs://no-bucket/x", b"x")):
        with pytest.raises(ObjectNotFoundError, match="no such bucket") as caught:
            work()
        assert "create the bucket" in caught.value.hint
    with pytest.raises(UsageError):
        gcs.stat("gs:///x")
    gcs_server.fail = [403]
    with pytest.raises(AccessError, match="GOOGLE_APPLICATION_CREDENTIALS"):
        gcs.stat(ROOT + "/none")
    gcs.delete([ROOT + "/never-there"])
    gcs.check()


def test_no_credentials_is_an_access_error_with_advice(app):
    storage = app.create("storage", "gcs", {})
    for work in (lambda: storage.stat(ROOT + "/x"), storage.check):
        with pytest.raises(AccessError, match="application-default"):
            work()


def test_signed_urls(app, tmp_path, monkeypatch):
    from datetime import UTC, datetime

    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from google.oauth2 import service_account

    from windlass_storage_gcs.signing import signed_url

    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    info = {"client_email": "me@x.iam.gserviceaccount.com", "private_key": pem, "token_uri": "http://127.0.0.1:9/"}
    storage = app.create("storage", "gcs", {})
    client = storage.wrapped._client
    client._credentials = service_account.Credentials.from_service_account_info(info)
    url = signed_url(client, "b", "a b/ü", "GET", 60, now=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    address, _, query = url.partition("?")
    assert address == "https://storage.googleapis.com/b/a%20b/%C3%BC"
    query, _, signature = query.partition("&X-Goog-Signature=")
    request = f"GET\n/b/a%20b/%C3%BC\n{query}\nhost:storage.googleapis.com\n\nhost\nUNSIGNED-PAYLOAD"
    digest = hashlib.sha256(request.encode()).hexdigest()
    text = f"GOOG4-RSA-SHA256\n20260102T030405Z\n20260102/auto/storage/goog4_request\n{digest}"
    key.public_key().verify(bytes.fromhex(signature), text.encode(), padding.PKCS1v15(), hashes.SHA256())
    assert storage.presign("gs://b/k", "PUT", 60).startswith("https://storage.googleapis.com/b/k?X-Goog")


def test_anonymous_credentials_cannot_sign(gcs):
    with pytest.raises(AccessError, match="cannot sign"):
        gcs.presign(ROOT + "/k", "GET", 60)


def test_fsspec_options(app, gcs_server):
    from windlass_storage_gcs.config import GcsConfig

    plugin = app.storage.get("gcs")
    options = plugin.options(GcsConfig(), app.context())
    assert options["endpoint_url"] == gcs_server.url
    assert options["token"] == "anon"
