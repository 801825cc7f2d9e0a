from __future__ import annotations

import hashlib
import os
import urllib.request
from types import SimpleNamespace

import pytest

from windlass.errors import AccessError, ConfigError, ObjectChangedError, ObjectNotFoundError, StorageError, UsageError
from windlass.plugins import App
from windlass.plugins.lookup import storage_name
from windlass.settings import Settings
from windlass.storage import ObjectRef
from windlass_storage_azure.addresses import parse

MIB = 1 << 20


@pytest.fixture
def app(tmp_path):
    app = App(Settings.from_env({"WINDLASS_HOME": str(tmp_path / "home")}))
    yield app
    app.close()


@pytest.fixture
def azure(app, azure_container):
    storage = app.create("storage", "azure", {"block-size": MIB})
    yield storage
    storage.close()


@pytest.fixture
def root(azure_container):
    return f"az://{azure_container}"


@pytest.fixture
def container(azure, azure_container):
    return azure.wrapped._clients.service("").get_container_client(azure_container)


@pytest.mark.parametrize(
    ("uri", "account", "container", "name", "version"),
    [
        ("https://acct.blob.core.windows.net/c/a%20b/%C3%BC", "acct", "c", "a b/ü", ""),
        ("https://acct.blob.core.windows.net/c", "acct", "c", "", ""),
        (
            "https://acct.blob.core.windows.net/c/x?versionId=2026-01-01T00:00:00Z",
            "acct",
            "c",
            "x",
            "2026-01-01T00:00:00Z",
        ),
        ("az://c/a b#c%20", "", "c", "a b#c%20", ""),
        ("abfss://c@acct.dfs.core.windows.net/d/x", "acct", "c", "d/x", ""),
        ("abfs://c/d/x?versionId=v", "", "c", "d/x", "v"),
    ],
)
def test_addresses(uri, account, container, name, version):
    found = parse(uri)
    assert (found.account, found.container, found.name, found.version) == (account, container, name, version)
    assert found.uri(name) == uri.partition("?")[0] if name else True


@pytest.mark.parametrize("uri", ["az://", "https://acct.blob.core.windows.net/", "s3://c/x", "abfs:///x"])
def test_what_is_no_address(uri):
    with pytest.raises(UsageError):
        parse(uri)


def test_https_addresses_of_accounts_come_here(app):
    assert storage_name(app, "https://acct.blob.core.windows.net/c/x") == "azure"
    assert storage_name(app, "abfss://c@acct.dfs.core.windows.net/x") == "azure"


@pytest.mark.service("azurite")
def test_listing_is_a_folder_with_all_facts(azure, root, container):
    for name in ["foo", "foo/a", "foobar/x", "foo/x+y z%20", "foo/é", "foo/q?x#1"]:
        container.upload_blob(name, name.encode())
    container.upload_blob("foo/empty", b"")
    container.upload_blob("foo/marked", b"", metadata={"hdi_isfolder": "true"})
    found = list(azure.list(root + "/foo"))
    assert [i.uri for i in found] == [
        f"{root}/{n}" for n in sorted(["foo/a", "foo/empty", "foo/x+y z%20", "foo/é", "foo/q?x#1"])
    ]
    for info in found:
        data = b"" if info.size == 0 else info.uri.removeprefix(root + "/").encode()
        assert info.etag
        assert info.mtime > 1e9
        assert info.checksum == "md5:" + hashlib.md5(data).hexdigest()
        assert azure.open(info.ref).read() == data
    assert list(azure.list(root + "/nothing")) == []
    assert len(list(azure.list(root))) == 7


@pytest.mark.service("azurite")
def test_a_changed_blob_is_refused_with_both_values(azure, root):
    ref = azure.put(root + "/a", b"one").ref
    now = azure.put(root + "/a", b"two", if_absent=False)
    with pytest.raises(ObjectChangedError) as caught:
        azure.open(ref).read()
    assert ref.etag in str(caught.value)
    assert now.etag in str(caught.value)
    with pytest.raises(ObjectChangedError, match="expected size 9, found 3"):
        azure.open(ObjectRef(uri=ref.uri, size=9)).read()
    azure.delete([ref.uri, root + "/never-there"])
    with pytest.raises(ObjectNotFoundError):
        azure.open(ref)


@pytest.mark.service("azurite")
def test_ranges(azure, root):
    data = os.urandom(100_000)
    info = azure.put(root + "/k", data)
    for known in (azure.stat(info.uri).ref, ObjectRef(uri=info.uri)):
        for start, length in [(0, -1), (10, 20), (99_990, -1), (99_990, 100), (100_000, -1), (100_000, 5), (5, 0)]:
            end = None if length < 0 else start + length
            assert azure.open(known, start, length).read() == data[start:end], (start, length)


@pytest.mark.service("azurite")
def test_put_never_overwrites(azure, root):
    first = azure.put(root + "/k", b"one")
    again = azure.put(root + "/k", b"other bytes")
    assert (again.etag, again.size, again.checksum) == (first.etag, 3, first.checksum)
    assert azure.put(root + "/k", b"other bytes", if_absent=False).size == 11
    assert azure.put(root + "/k", os.urandom(3 * MIB)).size == 11
    assert azure.open(ObjectRef(uri=root + "/k")).read() == b"other bytes"
    assert azure.put(root + "/nul", b"").size == 0
    assert azure.open(azure.stat(root + "/nul").ref).read() == b""
    for bad in (root, root + "/", root + "/dir/"):
        with pytest.raises(UsageError):
            azure.put(bad, b"x")


@pytest.mark.service("azurite")
def test_large_files_go_up_in_blocks_and_come_back(azure, root, tmp_path, container):
    data = os.urandom(5 * MIB + 77)
    (tmp_path / "big").write_bytes(data)
    info = azure.put(root + "/big", str(tmp_path / "big"))
    assert info.checksum == "md5:" + hashlib.md5(data).hexdigest()
    found = azure.stat(info.uri)
    assert (found.checksum, found.size, found.etag) == (info.checksum, len(data), info.etag)
    assert azure.open(found.ref).read() == data
    assert azure.open(found.ref, MIB + 5, 3 * MIB).read() == data[MIB + 5 : 4 * MIB + 5]
    assert len(container.get_blob_client("big").get_block_list("committed")[0]) == 6


@pytest.mark.service("azurite")
def test_an_interrupted_upload_goes_on_and_sends_nothing_twice(azure, root, monkeypatch):
    from azure.storage.blob import BlobClient

    data, sent, stage = os.urandom(5 * MIB), [], BlobClient.stage_block

    def stopping(self, name, *args, **kwargs):
        if len(sent) == 2:
            raise KeyboardInterrupt
        sent.append(name)
        return stage(self, name, *args, **kwargs)

    monkeypatch.setattr(BlobClient, "stage_block", stopping)
    with pytest.raises(KeyboardInterrupt):
        azure.put(root + "/big", data)
    with pytest.raises(ObjectNotFoundError):
        azure.stat(root + "/big")
    first, sent[:] = list(sent), ["-"] * 3
    azure.put(root + "/big", data)
    again = sent[3:]
    assert len(first) + len(again) == 5
    assert not set(first) & set(again)
    assert azure.open(ObjectRef(uri=root + "/big")).read() == data


@pytest.mark.service("azurite")
def test_of_two_writers_of_a_large_blob_one_wins(azure, root, container, monkeypatch):
    from azure.storage.blob import BlobClient

    commit = BlobClient.commit_block_list

    def late(self, *args, **kwargs):
        container.upload_blob("big", b"faster", overwrite=True)
        return commit(self, *args, **kwargs)

    monkeypatch.setattr(BlobClient, "commit_block_list", late)
    assert azure.put(root + "/big", os.urandom(3 * MIB)).size == 6


@pytest.mark.service("azurite")
def test_presigned_urls_need_no_credentials(azure, root):
    azure.put(root + "/k", b"bytes")
    with urllib.request.urlopen(azure.presign(root + "/k", "GET", 60)) as answer:
        assert answer.read() == b"bytes"
    headers = {"x-ms-blob-type": "BlockBlob", "Content-Type": "application/octet-stream"}
    url = azure.presign(root + "/new", "PUT", 60)
    with urllib.request.urlopen(urllib.request.Request(url, data=b"sent", method="PUT", headers=headers)):
        assert azure.open(ObjectRef(uri=root + "/new")).read() == b"sent"


@pytest.mark.service("azurite")
def test_errors_say_what_and_where(azure, root, app, monkeypatch):
    with pytest.raises(ObjectNotFoundError, match="no such blob"):
        azure.stat(root + "/none")
    with pytest.raises(ObjectNotFoundError):
        azure.open(ObjectRef(uri=root + "/none"))
    for work in (lambda: list(azure.list("az://no-container/x")), lambda: azure.put("az://no-container/x", b"x")):
        with pytest.raises(ObjectNotFoundError, match="no such container") as caught:
            work()
        assert "create the container" in caught.value.hint
    azure.check()
    monkeypatch.setenv("AZURE_STORAGE_KEY", "d3Jvbmc=")
    wrong = app.create("storage", "azure", {})
    for work in (lambda: wrong.stat(root + "/none"), wrong.check):
        with pytest.raises(AccessError, match="DefaultAzureCredential"):
            work()


@pytest.mark.service("azurite")
@pytest.mark.parametrize("status", [429, 500, 503, 507])
def test_every_failure_that_passes_says_what_to_do(status):
    from azure.core.exceptions import HttpResponseError

    from windlass_storage_azure.errors import translate

    refusal = HttpResponseError("busy", response=SimpleNamespace(status_code=status, reason="", headers={}, text=str))
    error = translate(refusal, "az://c/a")
    assert (str(status) in error.message, bool(error.hint)) == (True, True)


def test_an_unreachable_account_is_a_retryable_error(app, azure_env):
    storage = app.create("storage", "azure", {"account-url": "http://127.0.0.1:9/devstoreaccount1"})
    storage.wrapped._clients.service("")._config.retry_policy.total_retries = 0
    with pytest.raises(StorageError) as caught:
        storage.stat("az://c/x")
    assert caught.value.retryable


def test_without_an_account_the_config_is_at_fault(app, monkeypatch):
    for name in ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_CONNECTION_STRING",
                 "AZURE_STORAGE_BLOB_ENDPOINT"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="no storage account"):
        app.create("storage", "azure", {}).stat("az://c/x")


def test_versions_are_recorded_where_the_account_keeps_them(app, monkeypatch):
    # No emulator keeps versions, so the SDK's answers are made here.
    from datetime import UTC, datetime

    def blob(name, version, current):
        return SimpleNamespace(
            name=name, size=3, etag='"e"', version_id=version, is_current_version=current, metadata=None,
            last_modified=datetime.now(UTC), content_settings=SimpleNamespace(content_md5=None),
        )  # fmt: skip

    asked = []

    class Container:
        def list_blobs(self, **kwargs):
            asked.append(kwargs)
            old = [blob("d/a", "v1", None)] if "versions" in kwargs.get("include", ()) else []
            return iter([*old, blob("d/a", "v2", True)])

    storage = app.create("storage", "azure", {"account": "acct"}).wrapped
    monkeypatch.setattr(storage._clients, "container", lambda where: Container())
    properties = SimpleNamespace(get_blob_properties=lambda: blob("d/a", "v2", True))
    monkeypatch.setattr(storage._clients, "blob", lambda where, version="": properties)
    (info,) = storage.list("az://c/d")
    assert info.version == "v2"
    assert "versions" in asked[-1]["include"]


@pytest.mark.service("azurite")
def test_fsspec_options(app, azure_env):
    from windlass_storage_azure.config import AzureConfig

    options = app.storage.get("azure").options(AzureConfig(), app.context())
    assert options["account_name"] == "devstoreaccount1"
    assert options["account_key"]
