"""Catalogs: names without imports, four kinds of failure, and no plugin that takes the program down."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from attrs import frozen

from windlass.errors import (
    ConfigError,
    PluginConflictError,
    PluginCrashedError,
    PluginError,
    PluginImportError,
    PluginInvalidError,
    PluginNotFoundError,
    UsageError,
)
from windlass.plugins import App, RunnerPlugin
from windlass.settings import Settings

from .conftest import RUNNER, Install

GROUP = "windlass.runners"


@frozen(kw_only=True)
class Empty:
    pass


@pytest.fixture
def app(tmp_path: Path) -> App:
    return App(Settings.from_env({"WINDLASS_HOME": str(tmp_path / "home")}))


# -- looking up -------------------------------------------------------------------------------------------------------


def test_names_are_listed_without_importing(install: Install, app: App) -> None:
    install("acme-fast", {GROUP: {"fast": "acme_fast"}}, acme_fast="raise RuntimeError('imported')")
    assert "fast" in app.runners.names()
    info = app.runners.info("fast")
    assert (info.distribution, info.version, info.target) == ("acme-fast", "1.2", "acme_fast")
    assert "acme_fast" not in sys.modules


def test_get_imports_one_module(install: Install, app: App) -> None:
    install("acme-one", {GROUP: {"one": "acme_one"}}, acme_one=RUNNER.format(name="one"))
    install("acme-two", {GROUP: {"two": "acme_two"}}, acme_two=RUNNER.format(name="two"))
    assert app.runners.get("one").name == "one"
    assert app.runners.get("one") is app.runners.get("one")
    assert "acme_two" not in sys.modules


def test_same_name_in_two_kinds(install: Install, app: App) -> None:
    both = (
        RUNNER
        + """
from windlass.plugins import BuilderPlugin
@hookimpl
def windlass_builders():
    yield BuilderPlugin(name={name!r}, summary="For tests.", config=Config, create=lambda config, context: None)
"""
    )
    install("acme", {GROUP: {"same": "acme"}, "windlass.builders": {"same": "acme"}}, acme=both.format(name="same"))
    assert type(app.runners.get("same")).__name__ == "RunnerPlugin"
    assert type(app.builders.get("same")).__name__ == "BuilderPlugin"


def test_one_module_serves_several_entry_points(install: Install, app: App) -> None:
    source = RUNNER.format(name="a") + "    yield RunnerPlugin(name='b', summary='B', config=Config, create=print)\n"
    install("acme", {GROUP: {"a": "acme", "b": "acme"}}, acme=source)
    assert app.runners.get("a").summary == "For tests."
    assert app.runners.get("b").summary == "B"


def test_entry_point_with_an_attribute(install: Install, app: App) -> None:
    install(
        "acme",
        {GROUP: {"deep": "acme:inner"}},
        acme="import acme_inner as inner",
        acme_inner=RUNNER.format(name="deep"),
    )
    assert app.runners.get("deep").name == "deep"


# -- not installed ----------------------------------------------------------------------------------------------------


def test_not_installed_names_what_is_and_how_to_install(install: Install, app: App) -> None:
    install("acme", {GROUP: {"fast": "acme"}}, acme=RUNNER.format(name="fast"))
    with pytest.raises(PluginNotFoundError) as caught:
        app.runners.get("fsat")
    assert "fast" in caught.value.message
    assert "Did you mean 'fast'?" in caught.value.hint
    assert "pip" not in caught.value.hint, "who follows that installs what somebody else called so"
    with pytest.raises(PluginNotFoundError) as caught:
        app.runners.get("other")
    assert "windlass.runners" in caught.value.hint
    assert "pip" not in caught.value.hint, "anybody may have published that"
    assert caught.value.exit_code == 2


def test_our_own_plugins_are_offered_by_name(monkeypatch: pytest.MonkeyPatch, app: App) -> None:
    monkeypatch.setattr(App, "_scan", ())
    with pytest.raises(PluginNotFoundError) as caught:
        app.serializers.get("numpy")
    assert caught.value.hint == "Install it with: pip install windlass-serializer-numpy"
    for call, said in (
        (lambda: app.open_store("sqlite:///x"), "pip install windlass-metastore-sql"),
        (lambda: app.open_store("mysql://x"), "windlass.metastores"),
        (lambda: app.storage_for("dusty://x"), "windlass.storage"),
    ):
        with pytest.raises(PluginNotFoundError) as caught:
            call()
        assert said in caught.value.hint
        assert "mysql" not in caught.value.hint


def test_unknown_kind(app: App) -> None:
    with pytest.raises(PluginNotFoundError, match="no kind of plugin called 'launcher'"):
        app.catalog("launcher")


def test_an_address_of_a_store_without_a_scheme(app: App) -> None:
    with pytest.raises(UsageError, match=r"'windlass\.db' is no metadata store") as caught:
        app.open_store("windlass.db")
    assert "sqlite:///" in caught.value.hint
    assert "s3://" not in caught.value.hint


# -- import failed ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import no_such_sdk", "ModuleNotFoundError"),
        ("1 / 0", "ZeroDivisionError"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("def broken(:", "SyntaxError"),
        ("raise TimeoutError('own')", "TimeoutError: own"),
    ],
)
def test_failing_import_names_the_distribution(install: Install, app: App, source: str, said: str) -> None:
    install("acme-bad", {GROUP: {"bad": "acme_bad"}}, acme_bad=source)
    with pytest.raises(PluginImportError) as caught:
        app.runners.get("bad")
    assert said in caught.value.message
    assert "acme-bad 1.2" in caught.value.message
    assert caught.value.context["distribution"] == "acme-bad"
    again = "pip install --force-reinstall acme-bad"
    assert (again if isinstance(caught.value.__cause__, ImportError) else "report it there") in caught.value.hint


def test_missing_module_of_a_target(install: Install, app: App) -> None:
    install("acme-gone", {GROUP: {"gone": "acme_gone.plugin"}})
    with pytest.raises(PluginImportError, match=r"acme-gone 1\.2"):
        app.runners.get("gone")


def test_hanging_import_ends(install: Install, app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINDLASS_PLUGIN_TIMEOUT", "0.2")
    install("acme-slow", {GROUP: {"slow": "acme_slow"}}, acme_slow="import time; time.sleep(8)")
    with pytest.raises(PluginImportError, match=r"acme-slow 1\.2 did not end within 0\.2 s"):
        app.runners.get("slow")
    monkeypatch.setenv("WINDLASS_PLUGIN_TIMEOUT", "20")
    began = time.monotonic()
    with pytest.raises(PluginImportError, match=r"acme-slow 1\.2 did not end"):
        app.runners.get("slow")
    assert time.monotonic() - began < 6, "nobody waits twice for the same thread"


def test_what_a_plugin_prints_is_not_in_the_answer(
    install: Install, app: App, capsys: pytest.CaptureFixture[str]
) -> None:
    hook = RUNNER.format(name="loud") + "    print('from its hook')\n"
    install("acme-loud", {GROUP: {"loud": "acme_loud"}}, acme_loud="print('from its import')\n" + hook)
    install("acme-bad", {GROUP: {"bad": "acme_bad"}}, acme_bad="print('and fails')\n1 / 0\n")
    before = sys.stdout
    app.runners.get("loud")
    with pytest.raises(PluginImportError):
        app.runners.get("bad")
    assert sys.stdout is before
    print("the answer")
    assert capsys.readouterr() == ("the answer\n", "from its import\nfrom its hook\nand fails\n")


# -- invalid ----------------------------------------------------------------------------------------------------------

_HOOK = "from windlass.plugins import hookimpl\n"
_FIELDS = RUNNER.format(name="other") + "    yield RunnerPlugin(name='bad', summary='', {})\n"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("", "yields nothing"),
        (RUNNER.format(name="other"), "yields other, but the entry point is called 'bad'"),
        (RUNNER.format(name="Bad Name"), "names are lower-case"),
        (_HOOK + "@hookimpl\ndef windlass_runners():\n    yield 'bad'\n", "yielded str, not RunnerPlugin"),
        (_FIELDS.format("config=dict, create=print"), "its config is no attrs class but <class 'dict'>"),
        (_FIELDS.format("config={'a': 1}, create=print"), "its config is no attrs class but {'a': 1}"),
        (_FIELDS.format("config=Config, create=print, resource_args=int"), "its resource_args is no attrs class"),
        (_FIELDS.format("config=Config, create=None"), "its create cannot be called: None"),
        (_HOOK + "@hookimpl\ndef windlass_runners():\n    return 7\n", "raised TypeError"),
        (_HOOK + "@hookimpl\ndef windlass_runners():\n    raise SystemExit\n", "raised SystemExit"),
        (_HOOK + "@hookimpl\ndef windlass_runners(config):\n    return ()\n", "config"),
        (_HOOK + "@hookimpl\ndef windlass_runers():\n    return ()\n", "windlass_runers"),
        ("def windlass_runners():\n    return ()\n", "not marked with @hookimpl"),
        ("def windlass_runers():\n    return ()\n", r"did you mean windlass_runners\(\)"),
    ],
)
def test_invalid_plugin_names_the_distribution(install: Install, app: App, source: str, said: str) -> None:
    install("acme-bad", {GROUP: {"bad": "acme_bad"}}, acme_bad=source)
    with pytest.raises(PluginInvalidError, match=said) as caught:
        app.runners.get("bad")
    assert "acme-bad 1.2" in caught.value.message
    assert "acme-bad" in caught.value.hint


def test_texts_of_a_descriptor_come_in_a_tuple(install: Install, app: App) -> None:
    source = _FIELDS.replace("Runner", "Serializer").replace("windlass_runners", "windlass_serializers")
    source = source.replace("other", "bad").rpartition("    yield")[0].replace("create=", "media_type='', {}, create=")
    group = "windlass.serializers"
    install("acme-bad", {group: {"bad": "acme_bad"}}, acme_bad=source.format("extensions='.bad'"))
    with pytest.raises(PluginInvalidError, match=r"'bad' of acme-bad 1\.2 .*its extensions are no tuple of texts"):
        app.serializers.get("bad")


@pytest.mark.parametrize(
    "source",
    [
        "from windlass.plugins import OfLater",
        "from windlass.of_later import Thing",
        _FIELDS.format("config=Config, create=print, of_later=1"),
    ],
)
def test_a_plugin_of_another_version_says_what_to_upgrade(install: Install, app: App, source: str) -> None:
    install("acme-bad", {GROUP: {"bad": "acme_bad"}}, acme_bad=source)
    with pytest.raises(PluginError, match=r"acme-bad 1\.2") as caught:
        app.runners.get("bad")
    assert "pip install --upgrade windlass-core acme-bad" in caught.value.hint


def test_hanging_hook_ends(install: Install, app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINDLASS_PLUGIN_TIMEOUT", "0.2")
    source = _HOOK + "import time\n@hookimpl\ndef windlass_runners():\n    time.sleep(3)\n    return ()\n"
    install("acme-slow", {GROUP: {"slow": "acme_slow_hook"}}, acme_slow_hook=source)
    with pytest.raises(PluginInvalidError, match="did not end"):
        app.runners.get("slow")


def test_bad_plugins_do_not_hide_good_ones(install: Install, app: App) -> None:
    install("acme-bad", {GROUP: {"bad": "acme_bad"}}, acme_bad="1 / 0")
    install("acme-good", {GROUP: {"good": "acme_good"}}, acme_good=RUNNER.format(name="good"))
    found = {info.name: descriptor for info, descriptor in app.runners.get_all()}
    assert isinstance(found["bad"], PluginImportError)
    assert isinstance(found["good"], RunnerPlugin)


# -- conflict ---------------------------------------------------------------------------------------------------------


def test_two_distributions_with_one_name(install: Install, app: App) -> None:
    install("acme-a", {GROUP: {"same": "acme_a"}}, version="1.0", acme_a=RUNNER.format(name="same"))
    install("acme-b", {GROUP: {"same": "acme_b"}}, version="2.0", acme_b=RUNNER.format(name="same"))
    with pytest.raises(PluginConflictError) as caught:
        app.runners.get("same")
    assert "acme-a 1.0" in caught.value.message
    assert "acme-b 2.0" in caught.value.message
    assert [i.distribution for i in app.runners.infos() if i.name == "same"] == ["acme-b", "acme-a"]
    assert [type(d) for i, d in app.runners.get_all() if i.name == "same"] == [PluginConflictError]


def test_one_distribution_in_two_places_is_no_conflict(install: Install, app: App) -> None:
    install("acme", {GROUP: {"same": "acme"}}, version="1.0", acme="1 / 0")
    install("acme", {GROUP: {"same": "acme"}}, version="2.0", acme=RUNNER.format(name="same"))
    assert app.runners.info("same").version == "2.0", "the first on sys.path wins, as it does for imports"
    assert app.runners.get("same").name == "same"


# -- not packaged -----------------------------------------------------------------------------------------------------


def test_plugin_file(tmp_path: Path) -> None:
    file = tmp_path / "my-runner.py"
    file.write_text(RUNNER.format(name="mine"))
    app = App(Settings.from_env({"WINDLASS_HOME": str(tmp_path)}), plugins=(str(file),))
    assert app.runners.get("mine").name == "mine"
    assert app.runners.info("mine").target == str(file)


@pytest.mark.parametrize(
    ("source", "kind", "said"),
    [
        ("x = 1", PluginInvalidError, "it has no windlass_… hook"),
        ("\n\nraise ValueError('no')", PluginImportError, r"p\.py:3: importing it failed: ValueError: no"),
        ("raise SystemExit(4)", PluginImportError, "SystemExit: 4"),
        ("def broken(:", PluginImportError, "SyntaxError"),
        (RUNNER.format(name="process"), PluginConflictError, "'process' exists already"),
        (_HOOK + "@hookimpl\ndef windlass_run_fnished(event): ...\n", PluginInvalidError, "windlass_run_fnished"),
    ],
)
def test_bad_plugin_file(tmp_path: Path, source: str, kind: type[PluginError], said: str) -> None:
    file = tmp_path / "p.py"
    file.write_text(source)
    app = App(Settings.from_env({"WINDLASS_HOME": str(tmp_path)}))
    app.runners.names()
    if "process" in source and "process" not in app.runners.names():
        app.register(RunnerPlugin(name="process", summary="S", config=Empty, create=lambda c, x: None))
    with pytest.raises(kind, match=said):
        app.load(str(file))


@pytest.mark.parametrize("path", ["missing.py", ".", "README"])
def test_plugin_file_that_is_none(tmp_path: Path, path: str) -> None:
    with pytest.raises(PluginImportError, match="no Python file"):
        App(Settings.from_env({"WINDLASS_HOME": str(tmp_path)}), plugins=(str(tmp_path / path),))


def test_register(app: App) -> None:
    plugin = RunnerPlugin(name="mine", summary="Mine.", config=Empty, create=lambda c, x: None)
    app.register(plugin)
    assert app.runners.get("mine") is plugin
    assert app.runners.info("mine").distribution == "(registered)"
    with pytest.raises(PluginConflictError, match="exists already"):
        app.register(plugin)


@pytest.mark.parametrize("thing", [object(), "runner", RunnerPlugin])
def test_register_nonsense(app: App, thing: object) -> None:
    with pytest.raises(PluginInvalidError):
        app.register(thing)


# -- making backends --------------------------------------------------------------------------------------------------


def _exit(*_: object) -> None:
    raise SystemExit(1)


@pytest.mark.parametrize(
    ("create", "kind", "said"),
    [
        (lambda c, x: None, PluginInvalidError, "made a NoneType, which is not a Runner"),
        (lambda c, x: 1 / 0, PluginCrashedError, "failed in its constructor: ZeroDivisionError"),
        (_exit, PluginCrashedError, "failed in its constructor: SystemExit"),
        (lambda c: None, PluginCrashedError, "TypeError"),
    ],
)
def test_constructor_that_fails(app: App, create: object, kind: type[PluginError], said: str) -> None:
    app.register(RunnerPlugin(name="mine", summary="Mine.", config=Empty, create=create))  # type: ignore[arg-type]
    with pytest.raises(kind, match=said) as caught:
        app.create_runner("mine")
    assert "runner 'mine' of (registered)" in caught.value.message


def test_config_is_checked_before_the_constructor(app: App) -> None:
    app.register(RunnerPlugin(name="mine", summary="Mine.", config=Empty, create=_exit))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="unknown key 'x'"):
        app.create_runner("mine", {"x": 1})


def test_start_up_imports_no_plugin(tmp_path: Path) -> None:
    code = "import sys; from windlass.plugins import App; App().installed(); "
    code += "print([name for name in sys.modules if name.startswith('windlass_')])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout.strip() == "[]"
