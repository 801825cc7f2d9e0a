"""Storages get their configs from the file in the home, or from who embeds Windlass."""

from __future__ import annotations

import pytest

from windlass.artifacts.fsspec_storage import FsspecStorage
from windlass.config.document import loads
from windlass.errors import ConfigError, SecretError, UnsupportedError
from windlass.plugins import App
from windlass.settings import Settings
from windlass_testkit.fakes import PLUGIN_FILE


@pytest.fixture
def home(tmp_path):
    return tmp_path


def app(home):
    return App(Settings(home=home), plugins=(PLUGIN_FILE,))


def test_config_comes_from_the_home(home):
    (home / "storage.yaml").write_text("file:\n  fsnyc: true\n")
    with pytest.raises(ConfigError) as caught:
        app(home).storage_for(f"file://{home}/x")
    assert "fsnyc" in str(caught.value)
    assert "fsync" in str(caught.value)
    assert f"{home}/storage.yaml:2 ($.file.fsnyc)" in str(caught.value)
    with pytest.raises(ConfigError, match=r"storage\.yaml:2 \(\$\.file\.fsnyc\)"):
        app(home).check_storages()


def test_an_unknown_name_is_named(home):
    (home / "storage.yaml").write_text("s4: {}\n")
    with pytest.raises(ConfigError, match="s4") as caught:
        app(home).storage_for(f"file://{home}/x")
    assert "installed" in str(caught.value)


def test_an_absent_secret_is_named_with_its_place_in_the_file(home, monkeypatch):
    monkeypatch.delenv("NOBODY", raising=False)
    place = f"{home}/storage.yaml"
    lines = ["s3:", "  access-key-id: env/NOBODY", "  secret-access-key: env/NOBODY", "http:", "  hosts:"]
    lines += ["    127.0.0.1:", "      headers:", "        Authorization: {secret: env/NOBODY}"]
    (home / "storage.yaml").write_text("\n".join(lines))
    one = app(home)
    for uri, where in (
        ("s3://bucket/key", f"{place}:2 ($.s3.access-key-id)"),
        ("http://127.0.0.1/x", f"{place}:8 ($.http.hosts.127.0.0.1.headers.Authorization)"),
    ):
        with pytest.raises(SecretError, match="NOBODY is not set") as caught:
            one.storage_for(uri).stat(uri)
        assert caught.value.where == where
    with pytest.raises(ConfigError) as found:
        one.check_storages()
    assert f"{place}:3 ($.s3.secret-access-key)" in str(found.value)
    other = app(home)
    document = loads("storage:\n  s3: {access-key-id: env/NOBODY, secret-access-key: env/NOBODY}", "agent.yaml")
    other.configure_storage(document.data["storage"], document=document)
    with pytest.raises(SecretError) as given:
        other.storage_for("s3://bucket/key").stat("s3://bucket/key")
    assert given.value.where == "agent.yaml:2 ($.storage.s3.access-key-id)"
    with pytest.raises(SecretError, match=r"storage\.yaml:8 "):
        other.storage_for(uri).stat(uri)


@pytest.mark.parametrize("text", ["- file\n", "file: 1\n"])
def test_no_mapping(home, text):
    (home / "storage.yaml").write_text(text)
    with pytest.raises(ConfigError, match="mapping"):
        app(home).storage_for(f"file://{home}/x")


def test_given_configs_lie_over_the_file(home):
    (home / "storage.yaml").write_text("file: {unknown: 1}\n")
    one = app(home)
    one.configure_storage({"file": {"fsync": True}})
    assert one.storage_for(f"file://{home}/x") is one.storage_for(f"file://{home}/y")
    one.close()


def test_writing_through_fsspec_says_what_to_install() -> None:
    for scheme, hint in (("file", "pip install windlass-storage-file"), ("sftp", "that a storage plugin serves")):
        for write in (lambda s: s.put("file:///x", b""), lambda s: s.delete(["file:///x"])):
            with pytest.raises(UnsupportedError, match=f"{scheme}:// can only be read") as caught:
                write(FsspecStorage(scheme))
            assert hint in caught.value.hint
