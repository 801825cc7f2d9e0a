"""Files stay small enough to be read at a sitting: 250 lines is the aim, 400 the limit, 60 for a ``plugin.py``."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import ROOT, members, shown

AIM, LIMIT, PLUGIN = 250, 400, 60

LONGER = {
    "core/src/windlass/metastore.py": "five interfaces that are one contract; most lines are what the methods promise",
    "testkit/src/windlass_testkit/runners.py": "the contract of runners, one list of promises",
}
"""Files above the limit, and why each is one idea."""


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


SOURCES = sorted({path for member in members() for path in member.modules()})


def test_hard_limit() -> None:
    wrong = [f"{shown(p)}: {lines(p)} lines" for p in SOURCES if lines(p) > LIMIT and shown(p) not in LONGER]
    assert not wrong, "split them by idea, or give a reason in LONGER:\n" + "\n".join(wrong)


def test_reasons_are_needed() -> None:
    needless = [name for name in LONGER if not (ROOT / name).exists() or lines(ROOT / name) <= LIMIT]
    assert not needless, f"no reason needed any more: {needless}"


def test_plugin_modules() -> None:
    wrong = [f"{shown(p)}: {lines(p)} lines" for p in SOURCES if p.name == "plugin.py" and lines(p) > PLUGIN]
    assert not wrong, "\n".join(wrong)


def test_soft_limit_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    long = sorted(((lines(p), shown(p)) for p in SOURCES if lines(p) > AIM), reverse=True)
    if long:
        with capsys.disabled():
            longest = ", ".join(f"{name} {count}" for count, name in long[:5])
            print(f"\n{len(long)} of {len(SOURCES)} files have more than {AIM} lines: {longest} …")
    assert len(long) < len(SOURCES) / 4, "most files should be short"
