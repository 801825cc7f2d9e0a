"""Storages get their configs from the file in the home, or from who embeds Windlass."""

from __future__ import annotations

import pytest

from windlass.artifacts.fsspec_storage import FsspecStorage
from windlass.errors import ConfigError, UnsupportedError
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
