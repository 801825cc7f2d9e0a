"""Config classes that are made without attrs are the same to their users, and to attrs when it comes."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import sys
{first}
from windlass.config import option, options
from windlass.config.options import default_settings, is_config

@options
class Box:
    '''A box.'''
    url: str = option(help="Where.")
    size: int = option(help="How large.", default=3, minimum=1, key="box-size")
    names: list[str] = option(help="Labels.", factory=list)

plain = default_settings(Box, {{"url": "here"}})
assert ("attr" in sys.modules) == {loaded}
assert (plain.url, plain.size, plain.names) == ("here", 3, []) and Box.__doc__ == "A box."
assert plain == Box(url="here") != Box(url="there") and Box(url="a").names is not Box(url="a").names
assert repr(plain) == "Box(url='here', size=3, names=[])"
assert default_settings(Box, {{}}) is None and default_settings(Box, {{"size": 4}}) is None
assert is_config(Box) and not is_config(int) and not is_config(plain) and ("attr" in sys.modules) == {loaded}
for broken in (lambda: Box(), lambda: Box(url="a", colour="red"), lambda: Box("a")):
    try:
        broken()
    except TypeError:
        continue
    raise AssertionError
try:
    plain.size = 4
except AttributeError:
    pass
else:
    raise AssertionError

import attrs
from windlass.config.converter import structure, unstructure
from windlass.config.schema import json_schema
from windlass.errors import ConfigError

assert attrs.has(Box) and [field.name for field in attrs.fields(Box)] == ["url", "size", "names"]
assert attrs.evolve(plain, size=5) == Box(url="here", size=5)
assert attrs.asdict(plain) == {{"url": "here", "size": 3, "names": []}}
assert structure({{"url": "x", "box-size": 7, "names": ["a"]}}, Box) == Box(url="x", size=7, names=["a"])
assert unstructure(Box(url="x", size=7)) == {{"url": "x", "box-size": 7}}
assert json_schema(Box)["properties"]["box-size"]["minimum"] == 1
try:
    structure({{"url": 4, "color": 1}}, Box)
except ConfigError as error:
    assert len(error.problems) == 2, error
else:
    raise AssertionError
"""


@pytest.mark.parametrize("loaded", [False, True], ids=["before attrs", "after attrs"])
def test_config_class(loaded: bool) -> None:
    code = CODE.format(first="import attrs" if loaded else "", loaded=loaded)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
