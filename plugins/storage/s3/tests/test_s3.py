from __future__ import annotations

import hashlib
import http.server
import itertools
import os
import sys
import threading
import time
import urllib.request

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
from windlass_testkit.simulators.between import Between

pytestmark = pytest.mark.service("moto")
MIB = 1 << 20


@pytest.fixture
def app(tmp_path):
    app = App(Settings.from_env({"WINDLASS_HOME": str(tmp_path / "home")}))
    yield app
    app.close()


@pytest.fixture
def s3(app, s3_bucket):
    storage = app.create("storage", "s3", {"part-size": 5 * MIB})
    yield storage
    storage.close()


@pytest.fixture
def root(s3_bucket):
    return f"s3://{s3_bucket.name}"


def _put_all(bucket, *keys):
    for key in keys:
        bucket.put_object(Key=key, Body=key.encode())


@pytest.mark.parametrize("versioned", [False, True])
def test_listing_is_a_folder_and_complete(s3, root, s3_bucket, versioned):
    if versioned:
        s3_bucket.Versioning().enable()
    odd = ["foo/a//b", "foo/./c", "foo/x+y z%20", "foo/é", "foo/q?versionId", "foo/a&b<c>", "foo/tab\tbed"]
    _put_all(s3_bucket, "foo", "foo/", "foo/sub/", "foo/a", "foobar/x", "foo.txt", *odd)
    s3_bucket.put_object(Key="foo/empty", Body=b"")
    for prefix in ("/foo", "/foo/"):
        found = list(s3.list(root + prefix))
        keys = [info.uri.removeprefix(root + "/") for info in found]
        assert keys == sorted(["foo/a", "foo/empty", *odd], key=str.encode)
        for info in found:
            assert info.etag == hashlib.md5(b"" if info.size == 0 else info.uri[len(root) + 1 :].encode()).hexdigest()
            assert bool(info.version) == versioned
            assert info.mtime > 1e9
            assert s3.open(info.ref).read() == (b"" if info.size == 0 else info.uri[len(root) + 1 :].encode())
    assert len(list(s3.list(root))) == len(list(s3_bucket.objects.all())) - 2
    assert list(s3.list(root + "/nothing")) == []


@pytest.mark.parametrize("versioned", [False, True])
@pytest.mark.parametrize(
    "names",
    [
        [f"d/part-{n:05d}" for n in range(230)],
        [f"d/{n % 3}/{n % 2}/{n}" for n in range(230)],
        [f"d/{hashlib.md5(bytes([n])).hexdigest()}" for n in range(230)],
    ],
    ids=["numbered", "nested", "hashed"],
)
def test_long_listings_are_whole_and_in_order(s3, root, s3_bucket, names, versioned, monkeypatch):
    if versioned:
        s3_bucket.Versioning().enable()
    store = s3.wrapped._clients.store(s3_bucket.name)
    import obstore

    threads = [
        threading.Thread(target=lambda part: [obstore.put(store, n, b"x") for n in part], args=(names[i::4],))
        for i in range(4)
    ]
    [t.start() for t in threads]
    [t.join() for t in threads]
    requests = []
    from windlass_storage_s3 import listing

    get = listing._get
    monkeypatch.setattr(listing, "_get", lambda *a, **k: requests.append(k) or get(*a, **k))
    found = [info.uri for info in s3.list(root + "/d")]
    assert found == [f"{root}/{name}" for name in sorted(names)]
    assert len(requests) < 90, "listing must not need a request for each object"


def test_versions_are_listed_and_read_without_a_request_each(s3, root, s3_bucket):
    s3_bucket.Versioning().enable()
    s3_bucket.put_object(Key="d/a", Body=b"one")
    s3_bucket.put_object(Key="d/gone", Body=b"x")
    before = next(iter(s3.list(root + "/d")))
    s3_bucket.put_object(Key="d/a", Body=b"second")
    s3_bucket.Object("d/gone").delete()
    (after,) = s3.list(root + "/d")
    assert after.size == 6
    assert before.version != after.version
    assert s3.open(before.ref).read() == b"one"
    assert s3.open(ObjectRef(uri=f"{root}/d/a?versionId={before.version}")).read() == b"one"
    assert s3.stat(f"{root}/d/a?versionId={before.version}").size == 3
    with pytest.raises(ObjectNotFoundError):
        s3.stat(root + "/d/gone")


def test_a_changed_object_is_refused_with_both_values(s3, root, s3_bucket):
    s3_bucket.put_object(Key="a", Body=b"one")
    ref = s3.stat(root + "/a").ref
    s3_bucket.put_object(Key="a", Body=b"two")
    with pytest.raises(ObjectChangedError) as caught:
        s3.open(ref).read()
    assert ref.etag in str(caught.value)
    assert hashlib.md5(b"two").hexdigest() in str(caught.value)
    s3_bucket.put_object(Key="a", Body=b"three")
    with pytest.raises(ObjectChangedError, match="expected size 3, found 5"):
        s3.open(ObjectRef(uri=ref.uri, size=3)).read()
    s3_bucket.Object("a").delete()
    with pytest.raises(ObjectNotFoundError):
        s3.open(ref)


@pytest.mark.parametrize("key", ["plain/key", "odd//key"])
def test_ranges(s3, root, key):
    data = os.urandom(100_000)
    info = s3.put(f"{root}/{key}", data)
    ref = s3.stat(info.uri).ref
    for known in (ref, ObjectRef(uri=ref.uri)):
        for start, length in [(0, -1), (10, 20), (99_990, -1), (99_990, 100), (100_000, -1), (100_000, 5), (5, 0)]:
            end = None if length < 0 else start + length
            assert s3.open(known, start, length).read() == data[start:end], (start, length)
    with s3.open(ref) as stream:
        assert stream.read(7) == data[:7]
        assert stream.read() == data[7:]


def test_put_never_overwrites(s3, root):
    first = s3.put(root + "/k", b"one")
    again = s3.put(root + "/k", b"other bytes")
    assert again.etag == first.etag
    assert again.size == 3
    assert s3.put(root + "/k", b"other bytes", if_absent=False).size == 11
    assert s3.open(ObjectRef(uri=root + "/k")).read() == b"other bytes"
    for bad in (root, root + "/", root + "/dir/", root + "/k?versionId=1", "s3://"):
        with pytest.raises(UsageError):
            s3.put(bad, b"x")


def test_the_stores_checksum_is_recorded_and_an_etag_is_not(s3, root, s3_bucket):
    s3_bucket.put_object(Key="mine", Body=b"abc", ChecksumAlgorithm="SHA256")
    assert s3.stat(root + "/mine").checksum == "sha256:" + hashlib.sha256(b"abc").hexdigest()
    s3_bucket.put_object(Key="theirs", Body=b"abc")
    assert not s3.stat(root + "/theirs").checksum.startswith("md5:")


@pytest.mark.parametrize("key", ["big", "odd//big"])
def test_large_files_go_up_in_parts_and_come_back(s3, root, tmp_path, key):
    data = os.urandom(17 * MIB + 123)
    file = tmp_path / "big"
    file.write_bytes(data)
    info = s3.put(f"{root}/{key}", str(file))
    assert info.size == len(data)
    ref = s3.stat(info.uri).ref
    assert ref.etag.endswith("-4"), "not a multipart upload"
    assert s3.open(ref).read() == data
    assert s3.open(ref, 3 * MIB, 12 * MIB).read() == data[3 * MIB : 15 * MIB]
    assert s3.put(info.uri, b"small") == s3.stat(info.uri)
    assert not list((tmp_path / "home").rglob("*.jsonl"))


def test_of_two_writers_of_a_large_object_one_wins(s3, root, s3_bucket, tmp_path, monkeypatch):
    from windlass_storage_s3 import upload

    complete = upload._complete

    def late(client, target, *args, **kwargs):
        s3_bucket.put_object(Key="big", Body=b"faster")
        return complete(client, target, *args, **kwargs)

    monkeypatch.setattr(upload, "_complete", late)
    info = s3.put(root + "/big", os.urandom(11 * MIB))
    assert info.size == 6
    assert s3.open(info.ref).read() == b"faster"
    assert list(s3_bucket.multipart_uploads.all()) == []


def _fail_after(client, count, error):
    original = client.upload_part
    sent, calls = [], itertools.count()

    def upload_part(**kwargs):
        if next(calls) >= count:
            raise error
        answer = original(**kwargs)
        sent.append(kwargs["PartNumber"])
        return answer

    client.upload_part = upload_part
    return sent, original


def test_an_interrupted_upload_goes_on_and_sends_nothing_twice(s3, root, s3_bucket, app):
    data = bytearray(os.urandom(21 * MIB))
    client = s3.wrapped._clients.boto(s3_bucket.name)
    first, original = _fail_after(client, 3, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        s3.put(root + "/big", bytes(data))
    client.upload_part = original
    assert len(first) == 3
    assert len(list(s3_bucket.multipart_uploads.all())) == 1
    again = app.create("storage", "s3", {"part-size": 5 * MIB})
    second, _ = _fail_after(again.wrapped._clients.boto(s3_bucket.name), 99, KeyboardInterrupt())
    again.put(root + "/big", bytes(data))
    assert sorted(first + second) == [1, 2, 3, 4, 5]
    assert again.open(ObjectRef(uri=root + "/big")).read() == data
    assert list(s3_bucket.multipart_uploads.all()) == []


def test_a_part_that_changed_since_is_sent_again(s3, root, s3_bucket, app):
    data = bytearray(os.urandom(21 * MIB))
    client = s3.wrapped._clients.boto(s3_bucket.name)
    first, original = _fail_after(client, 3, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        s3.put(root + "/big", bytes(data))
    client.upload_part = original
    changed = first[0]
    data[(changed - 1) * 5 * MIB] ^= 1
    s3.put(root + "/big", bytes(data))
    assert s3.open(ObjectRef(uri=root + "/big")).read() == data


def test_an_upload_the_store_dropped_begins_anew(s3, root, s3_bucket):
    data = os.urandom(21 * MIB)
    client = s3.wrapped._clients.boto(s3_bucket.name)
    _, original = _fail_after(client, 2, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        s3.put(root + "/big", data)
    client.upload_part = original
    for upload in s3_bucket.multipart_uploads.all():
        upload.abort()
    s3.put(root + "/big", data)
    assert s3.open(ObjectRef(uri=root + "/big")).read() == data


def test_a_refused_upload_leaves_no_parts(s3, root, s3_bucket, tmp_path):
    from botocore.exceptions import ClientError

    refusal = ClientError(
        {"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}, "UploadPart"
    )
    _fail_after(s3.wrapped._clients.boto(s3_bucket.name), 1, refusal)
    with pytest.raises(AccessError, match="AccessDenied"):
        s3.put(root + "/big", os.urandom(21 * MIB))
    assert list(s3_bucket.multipart_uploads.all()) == []
    assert not list((tmp_path / "home").rglob("*.jsonl"))


def test_an_upload_whose_session_expired_goes_on_in_the_next(s3, root, s3_bucket, app):
    from botocore.exceptions import ClientError

    def expired(**_):
        raise ClientError({"Error": {"Code": "ExpiredToken"}, "ResponseMetadata": {"HTTPStatusCode": 400}}, "x")

    data = os.urandom(21 * MIB)
    client = s3.wrapped._clients.boto(s3_bucket.name)
    client.abort_multipart_upload = expired
    first, _ = _fail_after(client, 3, ClientError({"Error": {"Code": "ExpiredToken"}}, "UploadPart"))
    with pytest.raises(AccessError, match="ExpiredToken") as caught:
        s3.put(root + "/big", data)
    assert "sign in again" in caught.value.hint
    again = app.create("storage", "s3", {"part-size": 5 * MIB})
    second, _ = _fail_after(again.wrapped._clients.boto(s3_bucket.name), 99, KeyboardInterrupt())
    assert again.open(again.put(root + "/big", data).ref).read() == data
    assert sorted(first + second) == [1, 2, 3, 4, 5]
    assert list(s3_bucket.multipart_uploads.all()) == []


@pytest.mark.parametrize(
    ("code", "status", "advice"),
    [
        ("ExpiredToken", 400, "sign in again"),
        ("InvalidAccessKeyId", 403, "is the endpoint right"),
        ("SignatureDoesNotMatch", 403, "secret key is wrong"),
        ("AccessDenied", 403, "s3:GetObject"),
    ],
)
def test_a_refusal_of_head_says_why(app, s3_bucket, root, monkeypatch, code, status, advice):
    """An answer to HEAD has no body, where S3 names what is wrong."""
    body = f"<Error><Code>{code}</Code><Message>So it is.</Message></Error>".encode()

    class Refusing(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        storage = app.create("storage", "s3", {"endpoint-url": f"http://127.0.0.1:{server.server_address[1]}"})
        for ask in (storage.stat, storage.exists):
            with pytest.raises(AccessError, match=f"{code}: So it is") as caught:
                ask(f"{root}/a")
            assert advice in caught.value.hint
        storage.close()
        server.shutdown()


def test_uploads_nobody_came_back_to_are_aborted(s3, root, s3_bucket, app, monkeypatch):
    client = s3.wrapped._clients.boto(s3_bucket.name)
    _, original = _fail_after(client, 1, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        s3.put(root + "/lost", os.urandom(21 * MIB))
    client.upload_part = original
    from windlass_storage_s3 import upload

    monkeypatch.setattr(upload, "MAX_AGE", -1.0)
    app.create("storage", "s3", {"part-size": 5 * MIB}).put(root + "/other", os.urandom(11 * MIB))
    assert list(s3_bucket.multipart_uploads.all()) == []


def test_delete(s3, root, s3_bucket):
    _put_all(s3_bucket, "a", "b//c", "keep")
    s3.delete([f"{root}/a", f"{root}/b//c", f"{root}/never-there"])
    assert [o.key for o in s3_bucket.objects.all()] == ["keep"]
    s3.delete([])


def test_presigned_urls_need_no_credentials(s3, root):
    s3.put(root + "/k", b"bytes")
    with urllib.request.urlopen(s3.presign(root + "/k", "GET", 60)) as answer:
        assert answer.read() == b"bytes"
    plain = {"Content-Type": "application/octet-stream"}
    request = urllib.request.Request(s3.presign(root + "/new", "PUT", 60), data=b"sent", method="PUT", headers=plain)
    with urllib.request.urlopen(request):
        assert s3.open(ObjectRef(uri=root + "/new")).read() == b"sent"
    with pytest.raises(UnsupportedError):
        s3.presign(root + "/k", "DELETE", 60)


def test_errors_say_what_and_where(s3, root):
    with pytest.raises(ObjectNotFoundError, match="no such object"):
        s3.stat(root + "/none")
    with pytest.raises(ObjectNotFoundError):
        s3.open(ObjectRef(uri=root + "/none"))
    with pytest.raises(ObjectNotFoundError):
        s3.stat(root + "/dir/")
    with pytest.raises(ObjectNotFoundError):
        list(s3.list("s3://no-such-bucket-here/x"))
    with pytest.raises(ObjectNotFoundError):
        s3.put("s3://no-such-bucket-here/x", b"x")
    with pytest.raises(UsageError, match="not an S3 address"):
        s3.stat("s3:///x")


def test_an_unreachable_store_is_a_retryable_error(app, s3_bucket, monkeypatch):
    monkeypatch.setattr("windlass_storage_s3.client._ATTEMPTS", 1)
    storage = app.create("storage", "s3", {"endpoint-url": "http://127.0.0.1:9", "region": "us-east-1"})
    with pytest.raises(StorageError) as caught:
        storage.stat("s3://bucket/key")
    assert caught.value.retryable


def test_no_credentials_is_an_access_error_with_advice(app, s3_bucket, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    storage = app.create("storage", "s3", {})
    for work in (
        lambda: storage.stat("s3://bucket/key"),
        lambda: storage.open(ObjectRef(uri="s3://bucket/key")),
        lambda: list(storage.list("s3://bucket/key")),
        storage.check,
    ):
        with pytest.raises(AccessError, match="aws/credentials"):
            work()


def test_credentials_in_the_documented_order(app, aws_env, monkeypatch, tmp_path):
    (tmp_path / "aws-credentials").write_text(
        "[default]\naws_access_key_id = from-shared\naws_secret_access_key = s\n"
        "[other]\naws_access_key_id = from-profile\naws_secret_access_key = s\n"
    )
    (tmp_path / "aws-config").write_text("[default]\naws_access_key_id = from-config\naws_secret_access_key = s\n")

    def used(**config):
        clients = app.create("storage", "s3", config).wrapped._clients
        return clients._credentials()["access_key_id"]

    monkeypatch.setenv("MY_KEY", "explicit")
    explicit = {"access-key-id": "env/MY_KEY", "secret-access-key": "env/MY_KEY"}
    assert used(**explicit) == "explicit"
    assert used() == "testing"
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert used() == "from-shared"
    assert used(profile="other") == "from-profile"
    (tmp_path / "aws-credentials").unlink()
    assert used() == "from-config"
    with pytest.raises(ConfigError, match="belong together"):
        used(**{"access-key-id": "env/MY_KEY"})


def test_credentials_that_end_soon_are_asked_for_again(app, moto_server, s3_bucket, root, monkeypatch, tmp_path):
    program, config = tmp_path / "program.py", tmp_path / "config"
    program.write_text(
        "import datetime, json, uuid\n"
        "end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=2)\n"
        "print(json.dumps({'Version': 1, 'AccessKeyId': 'a', 'SecretAccessKey': 'b', 'SessionToken': str(uuid.uuid4()),"
        " 'Expiration': end.isoformat()}))\n"
    )
    config.write_text(f"[default]\nregion = us-east-1\ncredential_process = {sys.executable} {program}\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    with Between(moto_server) as between:
        storage = app.create("storage", "s3", {"endpoint-url": between.url})
        for name in "ab":
            storage.put(f"{root}/{name}", b"x")
        storage.close()
        tokens, limit = [], time.monotonic() + 10
        while len(tokens) < 2 and time.monotonic() < limit:  # it notes a request after its answer
            time.sleep(0.01)
            tokens = [seen.headers["x-amz-security-token"] for seen in between.seen if seen.method == "PUT"]
    assert len(set(tokens)) == 2


def test_the_endpoint_of_an_s3_compatible_store(app, aws_env, s3_bucket, monkeypatch):
    url = aws_env["AWS_ENDPOINT_URL"]
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_S3_ENDPOINT_URL", url)
    app.create("storage", "s3", {}).put(f"s3a://{s3_bucket.name}/a", b"x")
    monkeypatch.delenv("AWS_S3_ENDPOINT_URL")
    storage = app.create("storage", "s3", {"endpoint-url": url, "addressing": "path"})
    assert [info.uri for info in storage.list(f"s3a://{s3_bucket.name}")] == [f"s3a://{s3_bucket.name}/a"]
    storage.check()


def test_anonymous_requests_are_not_signed(app, s3_bucket, monkeypatch):
    s3_bucket.put_object(Key="k", Body=b"x", ACL="public-read")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    storage = app.create("storage", "s3", {})
    assert storage.open(ObjectRef(uri=f"s3://{s3_bucket.name}/k")).read() == b"x"
    storage.check()
    with pytest.raises(AccessError):
        storage.presign(f"s3://{s3_bucket.name}/k", "GET", 60)


def test_secrets_do_not_show(app, aws_env, s3_bucket):
    storage = app.create("storage", "s3", {})
    storage.put(f"s3://{s3_bucket.name}/k", b"x")
    assert "testing-secret" not in repr(vars(storage.wrapped))


def test_fsspec_reads_what_we_wrote(app, s3, root):
    s3fs = pytest.importorskip("s3fs")
    s3.put(root + "/d/k", b"bytes")
    plugin = app.storage.get("s3")
    assert plugin.filesystem == "s3fs:S3FileSystem"
    from windlass_storage_s3.config import S3Config

    options = plugin.options(S3Config(), app.context())
    fs = s3fs.S3FileSystem(**options, skip_instance_cache=True)
    assert fs.cat_file(root + "/d/k") == b"bytes"
