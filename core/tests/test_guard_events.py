"""What goes wrong in a plugin is named with its distribution; event hooks cannot harm each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from windlass.errors import PluginCrashedError, PluginInvalidError, RunnerError
from windlass.models.run import Run
from windlass.plugins import App, RunFinished, hookimpl
from windlass.plugins.guard import guard
from windlass.plugins.types import PluginInfo
from windlass.runners import LogLine, RunHandle, Runner, RunnerState, RunSpec, RunStatus
from windlass.settings import Settings

from .conftest import Install

INFO = PluginInfo(kind="runner", name="bad", distribution="acme-bad", version="1.2")
HANDLE = RunHandle(runner="bad", id="r1")
SPEC = RunSpec(run_id="r1", attempt_id="r1")


class Puppet(Runner):
    """Does what the test says."""

    def __init__(self, act: Callable[[], Any]) -> None:
        self.act = act

    def submit(self, spec: RunSpec) -> RunHandle:
        return self.act()  # type: ignore[no-any-return]

    def find(self, attempt_id: str) -> RunHandle | None:
        return self.act()  # type: ignore[no-any-return]

    def poll(self, handles: Sequence[RunHandle]) -> Mapping[RunHandle, RunStatus]:
        return self.act()  # type: ignore[no-any-return]

    def logs(self, handle: RunHandle, since: str = "") -> Iterator[LogLine]:
        yield self.act()

    def stop(self, handle: RunHandle, grace: float) -> None:
        self.act()

    def cleanup(self, handle: RunHandle) -> None:
        self.act()


CALLS: dict[str, Callable[[Runner], Any]] = {
    "submit": lambda runner: runner.submit(SPEC),
    "find": lambda runner: runner.find("r1"),
    "poll": lambda runner: runner.poll([HANDLE]),
    "logs": lambda runner: list(runner.logs(HANDLE)),
    "stop": lambda runner: runner.stop(HANDLE, 1.0),
    "cleanup": lambda runner: runner.cleanup(HANDLE),
}


def guarded(act: Callable[[], Any]) -> Runner:
    return guard(Puppet(act), Runner, INFO)  # type: ignore[type-abstract]


def fail(error: BaseException) -> Callable[[], Any]:
    def act() -> Any:
        raise error

    return act


@pytest.mark.parametrize("method", CALLS)
@pytest.mark.parametrize("error", [KeyError("x"), SystemExit(1), StopIteration()])
def test_stray_exceptions_are_named(method: str, error: BaseException) -> None:
    with pytest.raises(PluginCrashedError) as caught:
        CALLS[method](guarded(fail(error)))
    assert f"{method}()" in caught.value.message
    assert "acme-bad 1.2" in caught.value.hint


@pytest.mark.parametrize("method", CALLS)
@pytest.mark.parametrize("error", [RunnerError("mine"), KeyboardInterrupt()])
def test_others_pass(method: str, error: BaseException) -> None:
    with pytest.raises(type(error)):
        CALLS[method](guarded(fail(error)))


@pytest.mark.parametrize(
    ("method", "result"),
    [
        ("submit", None),
        ("submit", "r1"),
        ("find", "r1"),
        ("poll", None),
        ("poll", {}),
        ("poll", {HANDLE: RunnerState.RUNNING}),
        ("logs", b"bytes"),
    ],
)
def test_wrong_results_are_named(method: str, result: object) -> None:
    with pytest.raises(PluginInvalidError, match="acme-bad"):
        CALLS[method](guarded(lambda: result))


def test_right_results_pass() -> None:
    status = {HANDLE: RunStatus(state=RunnerState.RUNNING)}
    assert guarded(lambda: HANDLE).submit(SPEC) == HANDLE
    assert guarded(lambda: status).poll([HANDLE]) == status
    assert list(guarded(lambda: LogLine(data=b"x")).logs(HANDLE)) == [LogLine(data=b"x")]
    assert guarded(lambda: None).find("r1") is None


# -- events -----------------------------------------------------------------------------------------------------------


def test_event_hooks_are_apart(install: Install, app: App, caplog: pytest.LogCaptureFixture) -> None:
    source = "from windlass.plugins import hookimpl\n@hookimpl\ndef windlass_run_finished(event):\n    {}\n"
    install("acme-bad", {"windlass.hooks": {"bad": "acme_bad"}}, acme_bad=source.format("1 / 0"))
    install("acme-exit", {"windlass.hooks": {"exit": "acme_exit"}}, acme_exit=source.format("raise SystemExit"))
    install("acme-broken", {"windlass.hooks": {"broken": "acme_broken"}}, acme_broken="import no_such_module")
    install(
        "acme-good",
        {"windlass.hooks": {"good": "acme_good"}},
        acme_good="seen = []\n" + source.format("seen.append(event)"),
    )
    event = RunFinished(run=Run(id="r1"))
    app.fire(event)
    import acme_good  # type: ignore[import-not-found]

    assert acme_good.seen == [event]
    assert "hook 'bad' of acme-bad 1.2 failed" in caplog.text
    assert "hook 'exit' of acme-exit 1.2 failed" in caplog.text
    assert "acme-broken 1.2 failed: ModuleNotFoundError" in caplog.text


def test_registered_hooks(app: App) -> None:
    class Listener:
        def __init__(self) -> None:
            self.seen: list[object] = []

        @hookimpl
        def windlass_run_finished(self, event: RunFinished) -> None:
            self.seen.append(event)

    listener = Listener()
    app.register(listener)
    app.fire(RunFinished(run=Run(id="r1")))
    assert len(listener.seen) == 1

    class Typo:
        def windlass_run_finish(self, event: RunFinished) -> None: ...

    with pytest.raises(PluginInvalidError, match=r"did you mean windlass_run_finished\(\)"):
        app.register(Typo())


@pytest.fixture
def app(tmp_path: Any) -> App:
    return App(Settings.from_env({"WINDLASS_HOME": str(tmp_path / "home")}))
