"""Reading entry points from metadata files: what installers leave, and what is broken in the wild."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from windlass.plugins.scan import GROUPS, installed_plugins, remembered_plugins


def dist(site: Path, folder: str, entry_points: str | bytes, metadata: str = "Name: acme\nVersion: 1\n") -> None:
    info = site / folder
    info.mkdir(parents=True)
    data = entry_points if isinstance(entry_points, bytes) else entry_points.encode()
    (info / "entry_points.txt").write_bytes(data)
    if metadata:
        (info / "METADATA").write_text(metadata)


def test_what_installers_write(tmp_path: Path) -> None:
    text = (
        "[console_scripts]\nx = y:z\n\n[windlass.runners]\n# a comment\nfast= acme.fast : make [extra]\n [other]\na=b\n"
    )
    dist(tmp_path, "acme_x-1.dist-info", text, "Name: Acme-X\nVersion: 1.0rc1\nSummary: Runs: fast\n\nName: body\n")
    (found,) = installed_plugins([str(tmp_path)])
    assert (found.kind, found.name, found.distribution, found.version) == ("runner", "fast", "Acme-X", "1.0rc1")
    assert found.target == "acme.fast:make"
    assert found.summary == "Runs: fast"


def test_every_group(tmp_path: Path) -> None:
    text = "\n".join(f"[{group}]\nname = mod" for group in GROUPS)
    dist(tmp_path, "acme-1.dist-info", text)
    assert [info.kind for info in installed_plugins([str(tmp_path)])] == list(GROUPS.values())


def test_egg_info(tmp_path: Path) -> None:
    info = tmp_path / "acme.egg-info"
    info.mkdir()
    (info / "entry_points.txt").write_text("[windlass.runners]\nfast = acme\n")
    (info / "PKG-INFO").write_text("Name: acme\nVersion: 3\n")
    (found,) = installed_plugins([str(tmp_path)])
    assert (found.distribution, found.version) == ("acme", "3")


def test_broken_distributions_are_skipped(tmp_path: Path) -> None:
    dist(tmp_path, "bad-1.dist-info", b"[windlass.runners]\n\xff\xfe = x\n")
    dist(tmp_path, "empty-1.dist-info", "")
    dist(tmp_path, "lines-1.dist-info", "[windlass.runners]\nno equals sign\n[\n]\n= \n")
    (tmp_path / "file-1.dist-info").write_text("not a folder")
    dist(tmp_path, "good-1.dist-info", "[windlass.runners]\ngood = mod\n", metadata="")
    assert [info.name for info in installed_plugins([str(tmp_path), str(tmp_path / "missing")])] == ["good"]


def test_the_first_folder_wins(tmp_path: Path) -> None:
    for folder, version in (("a", "2"), ("b", "1")):
        dist(
            tmp_path / folder,
            f"Acme.X-{version}.dist-info",
            "[windlass.runners]\nfast = m\n",
            f"Name: Acme.X\nVersion: {version}\n",
        )
    found = installed_plugins([str(tmp_path / "a"), str(tmp_path / "b"), str(tmp_path / "a")])
    assert [info.version for info in found] == ["2"]


def settled(site: Path) -> None:
    """Give a folder a time stamp that is old enough to be trusted."""
    os.utime(site, ns=(1_000_000_000_000_000_000, 1_000_000_000_000_000_000))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder of ``sys.path``, with one plugin."""
    folder = tmp_path / "site"
    dist(folder, "acme-1.dist-info", "[windlass.runners]\nfast = acme\n")
    settled(folder)
    monkeypatch.setattr(sys, "path", [str(folder)])
    return folder


def test_the_answer_is_remembered_until_something_is_installed(site: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache" / "plugins.json"
    first = remembered_plugins(cache)
    assert [info.name for info in first] == ["fast"]
    (site / "acme-1.dist-info" / "entry_points.txt").write_text("[windlass.runners]\nother = acme\n")
    assert remembered_plugins(cache) == first, "no installer changes a file in place"
    dist(site, "more-1.dist-info", "[windlass.runners]\nmore = more\n")
    assert [info.name for info in remembered_plugins(cache)] == ["other", "more"]


def test_a_fresh_installation_is_not_remembered(site: Path, tmp_path: Path) -> None:
    cache = tmp_path / "plugins.json"
    os.utime(site)
    remembered_plugins(cache)
    assert not cache.exists(), "a second installation might leave the same time stamp"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 1}', '{"format": 1, "folders": 0, "plugins": [[1]]}'])
def test_a_damaged_memory_is_replaced(site: Path, tmp_path: Path, content: str) -> None:
    cache = tmp_path / "plugins.json"
    cache.write_text(content)
    assert [info.name for info in remembered_plugins(cache)] == ["fast"]
    assert "acme" in cache.read_text()


def test_a_memory_that_cannot_be_written_costs_time_only(site: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert [info.name for info in remembered_plugins(tmp_path / "file" / "plugins.json")] == ["fast"]
