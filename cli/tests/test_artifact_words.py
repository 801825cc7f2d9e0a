"""What ``windlass artifact`` says of what is not known, and of what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


def test_a_size_that_is_not_known_is_not_said_to_be_0(call: Any) -> None:
    Path("known").write_text("one")
    Path("below").mkdir()
    Path("below/unknown").write_text("two")
    call("artifact", "put", "known", "-n", "demo/data")
    folder = Path("below").absolute().as_uri()
    made = call("artifact", "put", folder, "-n", "demo/data", "--no-checksum", "--incremental", "--json")
    assert (made["size"], made["entries"]) == (None, 2)
    shown = call("artifact", "show", "demo/data", "--json")
    assert [shown["size"], *(file["size"] for file in shown["files"])] == [None, 3, None]
    assert call("artifact", "verify", "demo/data", "--json")["size"] is None
    assert "at least 3 B, 1 of 2 sizes are unknown" in call("artifact", "show", "demo/data")
    for words in (("ls", "demo"), ("diff", "demo/data:v0", "demo/data:v1"), ("verify", "demo/data")):
        assert "unknown size" in call("artifact", *words), words


@pytest.mark.parametrize("name", ["WINDLASS_DIGEST", "WINDLASS_CACHE_SIZE", "WINDLASS_ARTIFACT_LINK"])
def test_a_wrong_variable_is_named(call: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    call("artifact", "put", "t.py", "-n", "demo/data")
    monkeypatch.setenv(name, "wrong")
    said = call("artifact", "get", "demo/data", "--root", "out", code=2)
    assert f"error: {name}: 'wrong' is " in said
    assert "hint: " in said
