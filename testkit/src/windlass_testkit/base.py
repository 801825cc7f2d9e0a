"""What all contract suites share: fixtures, the tests of the descriptor, and the guard over the suite itself.

A plugin's ``tests/test_contract.py`` is a subclass of its kind's contract class::

    from windlass_testkit.runners import RunnerContract

    class TestMyRunner(RunnerContract):
        name = "mine"

A subclass says *what* is tested: class attributes, and fixtures where the contract class asks for them. It may not
leave a test out. Where a backend differs from others, its descriptor says so in its capabilities, and the tests read
those. What is known to be broken is written down, and fails again when it is repaired::

        @pytest.mark.xfail(reason="the scheduler forgets exit codes after a day")
        def test_exit_code(self, runner, spec):
            super().test_exit_code(runner, spec)
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from windlass.settings import Settings

if TYPE_CHECKING:
    from windlass.plugins.app import App
    from windlass.plugins.types import Context

__all__ = ["PLUGIN_LINES", "Contract", "contract_tests", "modules_after_describing", "tampered"]

PLUGIN_LINES = 60
"""Most lines a ``plugin.py`` may have: hook, descriptor, and a constructor that imports late."""
FILE_LINES = 150
"""Most lines of a plugin that is one file, backend and all (``plugin_files``)."""

_CORE_DEPENDENCIES = {"attr", "attrs", "blake3", "cattr", "cattrs", "fsspec", "msgspec", "pluggy", "yaml", "_yaml"}
_HELPERS = ("typing_extensions", "cython_runtime", "_cython_", "windlass_local_", "__editable__")  # what those bring
_KIT = __name__.partition(".")[0]


class Contract:
    """Base of the contract classes, one per kind of plugin.

    Attributes:
        kind: ``runner``, ``builder`` …; set by the contract class of the kind.
        name: Name of the plugin under test, as users write it; set by the subclass.
        plugin_files: Python files with plugins that are not packaged (as ``windlass --plugin``), when the plugin
            under test is one.
    """

    kind: ClassVar[str]
    name: ClassVar[str]
    plugin_files: ClassVar[tuple[str | os.PathLike[str], ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "test_contract_is_intact" in vars(cls):
            raise TypeError(f"{cls.__name__} must not replace test_contract_is_intact")

    # -- fixtures ---------------------------------------------------------------------------------------------

    @pytest.fixture
    def settings(self, tmp_path: Path) -> Settings:
        """Settings whose home, cache and downloads lie in a fresh directory."""
        return Settings.from_env(
            {
                "WINDLASS_HOME": str(tmp_path / "home"),
                "WINDLASS_ENTITY": "kit",
                "WINDLASS_PROJECT": "contract",
                "WINDLASS_ARTIFACT_DIR": str(tmp_path / "artifacts"),
            }
        )

    @pytest.fixture
    def app(self, settings: Settings) -> Iterator[App]:
        """An `App` of its own for this test, with the plugin files of the class."""
        from windlass.plugins.app import App

        app = App(settings, plugins=self.plugin_files)
        yield app
        app.close()

    @pytest.fixture
    def context(self, app: App) -> Context:
        """What a constructor gets beside its config."""
        return app.context(kind=self.kind, name=self.name)

    @pytest.fixture
    def descriptor(self, app: App) -> Any:
        """The descriptor under test."""
        return app.catalog(self.kind).get(self.name)

    @pytest.fixture
    def config(self) -> Mapping[str, Any]:
        """The plugin's configuration, as it would stand in YAML (without ``type``). Replace it where one is needed."""
        return {}

    # -- the suite itself -------------------------------------------------------------------------------------

    def test_contract_is_intact(self) -> None:
        problems = tampered(type(self))
        assert not problems, "\n".join(problems)

    # -- the descriptor ---------------------------------------------------------------------------------------

    def test_name_is_the_entry_point(self, app: App, descriptor: Any) -> None:
        assert descriptor.name == self.name == app.catalog(self.kind).info(self.name).name

    def test_summary_is_one_line(self, descriptor: Any) -> None:
        assert descriptor.summary.strip(), "the summary is empty"
        assert len(descriptor.summary.splitlines()) == 1
        assert len(descriptor.summary) <= 120

    def test_every_config_key_has_help(self, descriptor: Any) -> None:
        from windlass.config.schema import keys

        without = [key.name for key in keys(descriptor.config) if not key.help.strip()]
        assert not without, f"declare them with option(help=…): {', '.join(without)}"

    def test_config_has_a_json_schema(self, descriptor: Any) -> None:
        from windlass.config.schema import json_schema

        schema = json.loads(json.dumps(json_schema(descriptor.config)))
        assert schema["type"] == "object"
        assert schema["additionalProperties"] is False

    def test_unknown_config_key_is_refused(self, app: App, config: Mapping[str, Any]) -> None:
        from windlass.errors import ConfigError

        with pytest.raises(ConfigError, match="no-such-key"):
            app.create(self.kind, self.name, {**config, "no-such-key": 1})

    def test_wrong_config_value_is_a_config_error(self, descriptor: Any, config: Mapping[str, Any]) -> None:
        from windlass.config.converter import structure
        from windlass.config.schema import keys
        from windlass.errors import ConfigError

        for key in keys(descriptor.config):
            for value in ({"unexpected": ["nesting"]}, ["\x00", {}], -1e300, "\x00", True):
                try:
                    structure({**config, key.name: value}, descriptor.config)
                except ConfigError as error:
                    message = str(error)
                else:
                    continue
                assert key.name in message, f"the message does not name the key {key.name}: {message}"

    def test_describing_is_light(self, app: App) -> None:
        heavy = modules_after_describing(app, self.kind, self.name)
        assert not heavy, f"plugin.py and config.py import more than core does: {', '.join(heavy)}"

    def test_plugin_module_is_short(self, app: App) -> None:
        path = plugin_module_path(app, self.kind, self.name)
        lines = len(path.read_text(encoding="utf-8").splitlines())
        limit = FILE_LINES if self.plugin_files else PLUGIN_LINES
        assert lines <= limit, f"{path.name} has {lines} lines; {limit} are enough: move the backend to another module"


def contract_tests(cls: type[Contract]) -> dict[str, Callable[..., Any]]:
    """The tests that the contract classes of this kit give to a class, by name."""
    found: dict[str, Callable[..., Any]] = {}
    for base in cls.__mro__:
        if base.__module__.partition(".")[0] == _KIT:
            for name, member in vars(base).items():
                if name.startswith("test_"):
                    found.setdefault(name, member)
    return found


def tampered(cls: type[Contract]) -> list[str]:
    """What a class did to the tests it inherits, one sentence each; empty when its contract is intact."""
    problems = []
    for name, test in sorted(contract_tests(cls).items()):
        actual = inspect.getattr_static(cls, name, None)
        if actual is test:
            hidden = {mark.name for mark in _marks(actual)} & {"skip", "skipif", "xfail"}
            if hidden:
                problems.append(f"{name} was marked {', '.join(sorted(hidden))} from outside")
        elif not callable(actual):
            problems.append(f"{name} was removed")
        elif not any(mark.name == "xfail" and _reason(mark) for mark in _marks(actual)):
            problems.append(f"{name} was replaced; only an override marked xfail(reason=…) may stand in for it")
    return problems


def _marks(test: Any) -> list[pytest.Mark]:
    return list(getattr(test, "pytestmark", []))


def _reason(mark: pytest.Mark) -> str:
    return str(mark.kwargs.get("reason") or "").strip()


def plugin_module_path(app: App, kind: str, name: str) -> Path:
    """The file of the module that the entry point names, found without importing it."""
    target = app.catalog(kind).info(name).target
    if target.endswith(".py"):
        return Path(target)
    spec = importlib.util.find_spec(target.partition(":")[0])
    assert spec is not None, f"there is no module {target}"
    assert spec.origin is not None
    return Path(spec.origin)


_DESCRIBE = """
import json, sys
before = set(sys.modules)
from windlass.config.schema import json_schema, keys
from windlass.plugins import App
kind, name, *files = sys.argv[1:]
descriptor = App(plugins=tuple(files)).catalog(kind).get(name)
json_schema(descriptor.config), keys(descriptor.config)
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def modules_after_describing(app: App, kind: str, name: str) -> list[str]:
    """Third-party packages that get imported when a plugin is described in a fresh interpreter, sorted.

    The plugin's own package, Windlass, the standard library and core's dependencies are not counted.
    """
    target = app.catalog(kind).info(name).target
    files = [target] if target.endswith(".py") else []
    result = subprocess.run(
        [sys.executable, "-c", _DESCRIBE, kind, name, *files],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    own = {"windlass", _KIT, target.partition(".")[0]}
    light = own | _CORE_DEPENDENCIES | set(sys.stdlib_module_names)
    tops = {module.partition(".")[0] for module in json.loads(result.stdout.splitlines()[-1])}
    return sorted(top for top in tops - light if not top.startswith(_HELPERS))
