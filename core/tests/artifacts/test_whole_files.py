"""A file that is downloaded appears whole or not at all, with nameless files and without (as on NFS)."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from windlass.artifacts import download
from windlass.artifacts.artifact import Artifact
from windlass.errors import IntegrityError


@pytest.fixture(params=["nameless", "named"], autouse=True)
def opened(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """What was opened without a name."""
    found: list[int | None] = []
    real = download.open_nameless

    def open_nameless(folder: str, mode: int) -> int | None:
        found.append(real(folder, mode) if request.param == "nameless" else None)
        return found[-1]

    monkeypatch.setattr(download, "open_nameless", open_nameless)
    return found


def test_files_are_whole_and_nothing_else_is_there(
    logged: Artifact, tree: Path, tmp_path: Path, snapshot: Callable[[Path | str], dict[str, bytes]],
    opened: list[int | None],
) -> None:  # fmt: skip
    root = tmp_path / "out"
    mask = os.umask(0o027)
    try:
        logged.download(root)
    finally:
        os.umask(mask)
    assert snapshot(root) == snapshot(tree)
    assert {stat.S_IMODE(path.stat().st_mode) for path in root.glob("sub/*.bin")} == {0o640}
    assert opened


def test_what_is_there_is_replaced(
    logged: Artifact, tree: Path, tmp_path: Path, snapshot: Callable[[Path | str], dict[str, bytes]]
) -> None:
    root, outside = tmp_path / "out", tmp_path / "outside"
    logged.download(root)
    outside.write_text("outside")
    first, second, *_ = sorted(path for path in root.rglob("*") if path.is_file())
    first.write_text("other")
    second.unlink()
    second.symlink_to(outside)
    logged.download(root)
    assert snapshot(root) == snapshot(tree)
    assert not second.is_symlink()
    assert outside.read_text() == "outside"
    first.unlink()
    first.mkdir()
    with pytest.raises(Exception, match=first.name):
        logged.download(root)
    assert not [path for path in root.rglob("*") if path.name.startswith(".windlass-")]


def test_damaged_content_leaves_nothing(logged: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(*_: object) -> None:
        raise IntegrityError("damaged")

    monkeypatch.setattr(download, "prove", damaged)
    monkeypatch.setattr(download, "copy_verified", damaged)
    root = tmp_path / "out"
    with pytest.raises(IntegrityError, match="damaged"):
        logged.download(root)
    assert not [path for path in root.rglob("*") if path.is_file()]
