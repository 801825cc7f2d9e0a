"""Reading entry points from metadata files: what installers leave, and what is broken in the wild."""

from __future__ import annotations

from pathlib import Path

from windlass.plugins.scan import GROUPS, installed_plugins


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
