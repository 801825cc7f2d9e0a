"""Distributions on order: what an installer would leave on ``sys.path``."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Install = Callable[..., None]

RUNNER = """
from attrs import frozen
from windlass.plugins import RunnerPlugin, hookimpl

@frozen(kw_only=True)
class Config:
    pass

@hookimpl
def windlass_runners():
    yield RunnerPlugin(name={name!r}, summary="For tests.", config=Config, create=lambda config, context: None)
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """``install("acme-runner", {"windlass.runners": {"fast": "acme"}}, acme="…source…")``."""
    before = set(sys.modules)
    counter = iter(range(1000))

    def make(
        distribution: str, entry_points: dict[str, dict[str, str]], *, version: str = "1.2", **modules: str
    ) -> None:
        site = tmp_path / f"site{next(counter)}"
        info = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n\nText: no\n")
        lines = []
        for group, names in entry_points.items():
            lines += [f"[{group}]", *(f"{name} = {target}" for name, target in names.items()), ""]
        (info / "entry_points.txt").write_text("\n".join(lines))
        for name, source in modules.items():
            (site / f"{name}.py").write_text(textwrap.dedent(source))
        monkeypatch.syspath_prepend(str(site))

    yield make
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]
