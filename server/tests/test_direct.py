"""Blobs of a server that keeps them in S3: with the server's keys, by URLs without keys, or through the server."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
import warnings

import pytest

from windlass.artifacts.digest import digest_of
from windlass.errors import AccessError, IntegrityError, ObjectNotFoundError
from windlass.models.access import Principal
from windlass_testkit.servers import free_port
from windlass_testkit.simulators.aws import aws_env, moto_server, s3_bucket  # noqa: F401
from windlass_testkit.simulators.between import Between

pytestmark = pytest.mark.service("moto")
ADMIN = Principal(kind="user", name="admin", admin=True)


@pytest.fixture(autouse=True)
def _no_utcnow_complaints():
    with warnings.catch_warnings():  # botocore calls datetime.utcnow() on Python versions that deprecate it
        warnings.filterwarnings("ignore", message="datetime.datetime.utcnow", category=DeprecationWarning)
        yield


@pytest.fixture
def root(store, s3_bucket):  # noqa: F811
    store.move_blob_root(store.blob_root(), f"s3://{s3_bucket.name}/blobs")
    return store.blob_root()


@pytest.fixture
def through_server(store, root, monkeypatch):
    """Digests that were read through the server."""
    read, original = [], store.blobs.open
    monkeypatch.setattr(store.blobs, "open", lambda *a: read.append(a[0]) or original(*a))
    return read


@pytest.fixture
def client(serve, connect, through_server):
    return connect(serve(anonymous=ADMIN))


def _put(client, size=300_000):
    data = os.urandom(size)
    digest = digest_of(data, "blake3")
    client.blobs.put(digest, data)
    return digest, data


def test_bytes_come_straight_from_the_storage(client, through_server):
    digest, data = _put(client)
    assert client.blobs.missing([digest]) == set()
    assert client.blobs.open(digest).read() == data
    for start, length in [(0, 10), (5, 100_000), (299_990, 10), (299_990, -1), (299_990, 100), (7, 0)]:
        end = None if length < 0 else start + length
        assert client.blobs.open(digest, start, length).read() == data[start:end]
    assert through_server == []


def test_damaged_blobs_are_replaced_by_whoever_has_the_bytes(client, store, root, app):
    digest, data = _put(client)
    assert client.blobs.is_whole(digest)
    app.storage_for(root).put(store.blobs.uri(digest), data[:-1] + b"!", if_absent=False)
    assert not client.blobs.is_whole(digest)
    client.blobs.put(digest, data)
    assert not client.blobs.is_whole(digest), "an ordinary put looks at the name only"
    with pytest.raises(IntegrityError):
        client.blobs.replace(digest, data[1:])
    client.blobs.replace(digest, data)
    assert client.blobs.open(digest).read() == data


def test_a_url_carries_no_token_and_no_key(client, store, monkeypatch):
    digest, _ = _put(client)
    from windlass_metastore_http.direct import Direct

    urls, original = [], Direct.get
    monkeypatch.setattr(
        Direct, "get", lambda self, url, headers: urls.append((url, headers)) or original(self, url, headers)
    )
    client.blobs.open(digest).read()
    ((url, headers),) = urls
    assert "testing-secret" not in url
    assert "authorization" not in {name.lower() for name in headers}
    assert "Expires=900" in url


def test_an_unreachable_storage_is_asked_once_and_then_the_server(client, store, through_server, monkeypatch):
    digest, data = _put(client)
    asked = []
    nowhere = f"http://127.0.0.1:{free_port()}/x"
    monkeypatch.setattr(store.blobs, "presign", lambda *a: asked.append(a) or nowhere)
    for _ in range(3):
        assert client.blobs.open(digest, 10, 20).read() == data[10:30]
    assert len(asked) == 1
    assert through_server == [digest] * 3


def test_what_the_storage_has_no_more_is_asked_of_the_server(client, store, through_server):
    digest, data = _put(client)
    store.blobs.retire([digest])
    assert client.blobs.open(digest).read() == data
    assert through_server == [digest]
    with pytest.raises(ObjectNotFoundError):
        client.blobs.open("blake3:" + "0" * 64)


def test_other_bytes_in_the_storage_are_not_delivered(client, s3_bucket):  # noqa: F811
    digest, data = _put(client)
    (stored,) = s3_bucket.objects.all()
    stored.put(Body=bytes([data[0] ^ 1]) + data[1:])
    with pytest.raises(IntegrityError, match="other bytes"):
        client.blobs.open(digest).read()


def test_nobody_gets_a_url_without_a_key(client, serve, connect):
    digest, _ = _put(client)
    stranger = connect(serve())
    with pytest.raises(AccessError):
        stranger.blobs.open(digest)


def test_a_file_store_answers_itself(serve, connect, store):
    client = connect(serve(anonymous=ADMIN))
    digest, data = _put(client)
    assert client.blobs.open(digest).read() == data


@pytest.fixture
def verifying(aws_env, monkeypatch):  # noqa: F811
    """An S3 that compares bodies with their checksums, as Amazon's does and moto does not."""
    with Between(os.environ["AWS_ENDPOINT_URL"], checks=True) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL", between.url)
        yield between


@pytest.fixture
def putting(verifying, client, store, monkeypatch):
    """The client, and the digests that were stored through the server."""
    put, original = [], store.blobs.put
    monkeypatch.setattr(store.blobs, "put", lambda *a: put.append(a[0]) or original(*a))
    return client, put


def test_what_the_storage_verifies_goes_straight_into_it(putting, store, verifying, tmp_path):
    client, through_server = putting
    data = os.urandom(300_000)
    digest = digest_of(data, "sha256")
    client.blobs.put(digest, data)
    (tmp_path / "file").write_bytes(data[1:])
    client.blobs.put(digest_of(data[1:], "sha256"), str(tmp_path / "file"))
    client.blobs.put(digest, data)  # it is there already
    assert through_server == []
    assert store.blobs.open(digest).read() == data
    assert store.blobs.open(digest_of(data[1:], "sha256")).read() == data[1:]
    sent = [one for one in verifying.seen if one.method == "PUT" and one.size > 1000]
    assert [one.status for one in sent] == [200, 200, 412]
    assert not any("authorization" in one.headers for one in sent)


def test_what_it_cannot_verify_goes_through_the_server(putting, store, monkeypatch):
    client, through_server = putting
    asked, original = [], store.blobs.presign_put
    monkeypatch.setattr(store.blobs, "presign_put", lambda *a: asked.append(a) or original(*a))
    digests = [_put(client)[0] for _ in range(3)]
    assert through_server == digests
    assert len(asked) == 1, "asking for each blob costs a request"


def test_a_storage_that_takes_any_bytes_is_not_trusted(client, store, s3_bucket):  # noqa: F811
    digest = digest_of(b"good", "sha256")
    assert store.blobs.presign_put(digest, 4, 60) is None
    client.blobs.put(digest, b"good")
    assert [item.key[-64:] for item in s3_bucket.objects.all()] == [digest.partition(":")[2]], "the probe is left"


def test_other_bytes_are_refused_on_both_ways(putting, store, s3_bucket):  # noqa: F811
    client, _ = putting
    digest = digest_of(b"good", "sha256")
    with pytest.raises(IntegrityError):
        client.blobs.put(digest, b"evil")
    signed = store.blobs.presign_put(digest, 4, 60)
    request = urllib.request.Request(signed.url, b"evil", signed.headers, method="PUT")
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(request)
    assert list(s3_bucket.objects.all()) == []


def test_nobody_may_store_without_a_key(putting, serve, connect):
    with pytest.raises(AccessError):
        connect(serve()).blobs.put(digest_of(b"x", "sha256"), b"x")
