from __future__ import annotations

import math
import os
import subprocess
import sys
import textwrap
import time

import pytest

import windlass
from windlass.errors import ConflictError, FencedError, RunNotFoundError, StoreUnavailableError, UsageError
from windlass.models.job import JobSource, SourceKind
from windlass.models.launch import LaunchSpec
from windlass.models.run import LOST_AFTER, Run, RunState, RunUpdate
from windlass.sdk import launch
from windlass.sdk.leftovers import send_all
from windlass.sdk.settings import Settings


def quick(**more) -> Settings:
    return Settings(flush_seconds=0.01, disable_git=True, **more)


def test_a_run_is_recorded_from_its_beginning_to_its_end(store) -> None:
    with windlass.init("digits", config={"lr": 0.1}, tags=["a"], settings=quick()) as run:
        assert windlass.run is run
        for step in range(3):
            run.log({"loss": 1.0 / (step + 1), "nested": {"a": step}})
        run.summary["best"] = 7
        found = store.runs.get(run.id)
        assert (found.state, found.project, found.entity, found.tags) == ("running", "digits", "ann", ("a",))
    found = store.runs.get(run.id)
    assert (found.state, found.exit_code, found.reason) == (RunState.FINISHED, 0, None)
    assert found.summary == {"loss": pytest.approx(1 / 3), "nested": {"a": 2}, "best": 7, "_step": 2}
    rows = store.runs.metrics(run.id)
    assert [(row.step, row.values["nested"]["a"]) for row in rows] == [(0, 0), (1, 1), (2, 2)]
    assert found.config["lr"] == 0.1
    assert found.config["_windlass"]["python"].startswith("3.")
    assert windlass.run is None


def test_an_exception_fails_the_run_and_says_which(store) -> None:
    with pytest.raises(ZeroDivisionError), windlass.init(settings=quick()) as run:
        _ = 1 / 0
    found = store.runs.get(run.id)
    assert (found.state, found.exit_code, found.reason.code) == (RunState.FAILED, 1, "exception")
    assert "ZeroDivisionError" in found.reason.message


@pytest.mark.parametrize(
    ("code", "state", "exit_code"), [(0, "finished", 0), (None, "finished", 0), (3, "failed", 3), ("no", "failed", 1)]
)
def test_sys_exit_in_the_block_is_the_exit_code(store, code, state, exit_code) -> None:
    with pytest.raises(SystemExit), windlass.init(settings=quick()) as run:
        sys.exit(code)
    found = store.runs.get(run.id)
    assert (found.state, found.exit_code) == (state, exit_code)


def test_an_exit_that_was_caught_is_none(store) -> None:
    run = windlass.init(settings=quick())
    with pytest.raises(SystemExit):
        sys.exit(3)
    run.log({"a": 1})
    run.finish()
    assert store.runs.get(run.id).exit_code == 0


def test_ctrl_c_kills_the_run(store) -> None:
    with pytest.raises(KeyboardInterrupt), windlass.init(settings=quick()) as run:
        raise KeyboardInterrupt
    found = store.runs.get(run.id)
    assert (found.state, found.exit_code, found.reason.code) == (RunState.KILLED, 130, "interrupted")


def test_steps_are_put_together_and_never_fall(store, caplog) -> None:
    with windlass.init(settings=quick()) as run:
        run.log({"a": 1}, commit=False)
        run.log({"b": 2})
        run.log({"a": 3}, step=5)
        run.log({"b": 4}, step=5)
        run.log({"a": 0}, step=2)
    assert "dropped" in caplog.text
    assert [(row.step, row.values) for row in store.runs.metrics(run.id)] == [
        (0, {"a": 1, "b": 2}),
        (5, {"a": 3, "b": 4}),
    ]


def test_values_that_json_does_not_have(store) -> None:
    import numpy as np

    with windlass.init(settings=quick()) as run:
        run.log({"nan": math.nan, "inf": -math.inf, "np": np.float32(0.5), "array": np.arange(3)})
        with pytest.raises(UsageError, match=r"log\.x"):
            run.log({"x": object()})
        with pytest.raises(UsageError, match="too large"):
            run.log({"x": np.zeros(200_000)})
        with pytest.raises(UsageError):
            run.log(7)  # type: ignore[arg-type]
    values = store.runs.metrics(run.id)[0].values
    assert values == {"nan": "NaN", "inf": "-Infinity", "np": 0.5, "array": [0, 1, 2]}


def test_infinite_config_values_stay_numbers_and_are_recorded_as_texts(store) -> None:
    with windlass.init(config={"lr": math.inf, "deep": [{"x": -math.inf}]}, settings=quick()) as run:
        assert run.config == {"lr": math.inf, "deep": [{"x": -math.inf}]}
        run.config.x = math.nan
        assert math.isnan(run.config.x)
    recorded = {key: value for key, value in store.runs.get(run.id).config.items() if key != "_windlass"}
    assert recorded == {"lr": "Infinity", "deep": [{"x": "-Infinity"}], "x": "NaN"}


def test_summary_rules(store) -> None:
    with windlass.init(settings=quick()) as run:
        run.define_metric("acc", summary="max")
        run.define_metric("loss", summary="mean")
        run.define_metric("noise", summary="none")
        for value in (1, 3, 2):
            run.log({"acc": value, "loss": value, "noise": value})
        assert run.summary["acc"] == {"max": 3}
        assert run.summary["loss"] == {"mean": 2}
        assert "noise" not in run.summary
        with pytest.raises(UsageError, match="no summary rule"):
            run.define_metric("x", summary="median")


def test_a_mean_goes_on_when_the_run_is_resumed(store) -> None:
    with windlass.init(id="r", settings=quick()) as run:
        run.define_metric("loss", summary="mean")
        for value in (1, 2, 3):
            run.log({"loss": value})
    with windlass.init(id="r", resume="must", settings=quick()) as run:
        run.define_metric("loss", summary="mean")
        run.log({"loss": 6})
        assert run.summary["loss"] == {"mean": 3}


def test_what_is_logged_later_does_not_change_what_was_logged(store) -> None:
    with windlass.init(settings=quick()) as run:
        values = [1]
        run.log({"v": values})
        values.append(2)
    assert store.runs.metrics(run.id)[0].values == {"v": [1]}


def test_a_nested_summary_changed_in_place_is_sent_at_the_end(store) -> None:
    with windlass.init(settings=quick()) as run:
        run.summary["table"] = {"a": 1}
        run.flush()
        run.summary["table"]["b"] = 2
    assert store.runs.get(run.id).summary["table"] == {"a": 1, "b": 2}


def test_resume(store) -> None:
    with windlass.init(id="mine", config={"a": 1}, settings=quick()) as run:
        run.log({"x": 1})
    with pytest.raises(ConflictError, match="allow"):
        windlass.init(id="mine", settings=quick())
    with pytest.raises(RunNotFoundError):
        windlass.init(id="other", resume="must", settings=quick())
    with pytest.raises(UsageError):
        windlass.init(resume="must", settings=quick())
    with pytest.raises(UsageError):
        windlass.init(resume="maybe", settings=quick())
    with windlass.init(id="mine", resume="must", config={"b": 2}, settings=quick()) as run:
        assert store.runs.get("mine").state is RunState.RUNNING
        assert run.step == 1
        assert dict(run.config) == {"a": 1, "b": 2}
        run.log({"x": 2})
    assert [row.values["x"] for row in store.runs.metrics("mine")] == [1, 2]
    assert store.runs.get("mine").state is RunState.FINISHED


def test_the_active_run_is_given_again(store, caplog) -> None:
    first = windlass.init(settings=quick())
    assert windlass.init(settings=quick()) is first
    second = windlass.init(settings=quick(), reinit=True)
    assert second is not first
    assert store.runs.get(first.id).state is RunState.FINISHED
    windlass.finish()
    with pytest.raises(UsageError, match="no run is active"):
        windlass.log({"a": 1})
    with pytest.raises(UsageError, match="is over"):
        first.log({"a": 1})


def test_disabled_records_nothing(store, monkeypatch) -> None:
    monkeypatch.setenv("WINDLASS_MODE", "disabled")
    with windlass.init(config={"a": 1}) as run:
        run.log({"x": 1})
        assert run.summary["x"] == 1
        assert run.disabled
        with pytest.raises(UsageError):
            run.use_artifact("x:latest")
    assert not store.runs.list(windlass_filter())
    with pytest.raises(UsageError, match="mode"):
        windlass.init(mode="sometimes")


def windlass_filter():
    from windlass.models.run import RunFilter

    return RunFilter()


def test_a_store_that_is_gone_for_a_while_loses_nothing(store) -> None:
    with windlass.init(settings=quick()) as run:
        store.runs.faults.fail("log_metrics", StoreUnavailableError("gone"), times=3)
        store.runs.faults.fail("update", StoreUnavailableError("gone"), times=2)
        for i in range(50):
            run.log({"i": i})
    assert [row.values["i"] for row in store.runs.metrics(run.id)] == list(range(50))
    assert store.runs.get(run.id).state is RunState.FINISHED


def test_an_answer_that_got_lost_doubles_nothing(store) -> None:
    with windlass.init(settings=quick()) as run:
        store.runs.faults.fail("log_metrics", StoreUnavailableError("lost"), after=True)
        run.log({"i": 1})
    assert len(store.runs.metrics(run.id)) == 1


def test_what_could_not_be_sent_is_sent_by_the_next_run(store, tmp_path, caplog) -> None:
    run = windlass.init(settings=quick(finish_timeout=0.3))
    run.flush()
    store.runs.faults.fail("log_metrics", StoreUnavailableError("gone"), times=1000)
    run.log({"i": 7})
    run.finish()
    assert "kept in" in caplog.text
    assert store.runs.get(run.id).state is RunState.RUNNING
    store.runs.faults.__init__()
    with windlass.init(settings=quick()):
        deadline = time.monotonic() + 5
        while list((tmp_path / "home" / "spool").glob("*")) and time.monotonic() < deadline:
            time.sleep(0.01)
    assert [row.values["i"] for row in store.runs.metrics(run.id)] == [7]
    assert store.runs.get(run.id).state is RunState.FINISHED


def test_leftovers_of_another_store_stay(store, tmp_path) -> None:
    settings = quick(finish_timeout=0.1)
    run = windlass.init(settings=settings)
    run.flush()
    store.runs.faults.fail("log_metrics", StoreUnavailableError("gone"), times=1000)
    run.log({"i": 7})
    run.finish()
    assert send_all(store, Settings(base_url="sqlite:///elsewhere.db").resolve()) == 0
    assert len(list((tmp_path / "home" / "spool").glob("*.jsonl"))) == 1


@pytest.fixture
def job(store, monkeypatch):
    """This process is the first attempt of a launched run."""
    source = JobSource(kind=SourceKind.IMAGE, image="x")
    spec = LaunchSpec(source=source, run_config={"lr": 0.5, "trainer": {"a": 1}})
    store.runs.create(Run(id="launched", entity="team", project="proj", queue="q", attempt=1, spec=spec))
    for name, value in {
        "RUN_ID": "launched",
        "ATTEMPT": "1",
        "ENTITY": "team",
        "PROJECT": "proj",
        "LAUNCH": "true",
    }.items():
        monkeypatch.setenv(f"WINDLASS_{name}", value)
    return store


def test_in_a_job_the_launch_says_who_and_with_what(job, caplog) -> None:
    config = {"lr": 0.1, "other": 1, "trainer": {"a": 0, "b": 0}}
    with windlass.init("mine", "me", id="own", config=config, settings=quick()) as run:
        assert run.path == "team/proj/launched"
        assert run.config.as_dict() == {"lr": 0.5, "other": 1, "trainer": {"a": 1, "b": 0}}
        run.config["lr"] = 0.2
        assert run.config.lr == 0.5
    assert "ignored" in caplog.text
    assert "set by the launch" in caplog.text
    found = job.runs.get("launched")
    assert found.config["lr"] == 0.5
    assert found.state is RunState.RUNNING  # its agent says when it is over


def test_overrides_in_the_environment_win(job, monkeypatch) -> None:
    monkeypatch.setenv("WINDLASS_CONFIG", '{"lr": 0.9, "new": true}')
    with windlass.init(config={"lr": 0.1}, settings=quick()) as run:
        assert run.config["lr"] == 0.9
        assert run.config["new"] is True
    assert launch.load_windlass_config() == {"lr": 0.9, "new": True}


def test_only_declared_inputs_are_taken(job, monkeypatch) -> None:
    with windlass.init(config={"lr": 0.1, "trainer": {"a": 0, "private": {"k": 1}}}, settings=quick()) as run:
        launch.manage_windlass_config(include=["trainer"], exclude=["trainer.private"])
        assert run.config["lr"] == 0.1
        assert run.config["trainer"]["a"] == 1
    noted = job.runs.get("launched").config["_windlass"]
    assert noted["input_types"] == {"@windlass.config": {"trainer": {"a": "int"}}}


def test_a_superseded_attempt_is_kept_out(job) -> None:
    run = windlass.init(settings=quick(heartbeat_seconds=0.02))
    run.log({"x": 1})
    run.flush()
    job.world.runs["launched"] = __import__("attrs").evolve(job.runs.get("launched"), attempt=2)
    run.log({"x": 2})
    run.flush(5)
    with pytest.raises(FencedError):
        run.log({"x": 3})
    run.finish()
    assert [row.values["x"] for row in job.runs.metrics("launched")] == [1]


def test_a_config_file_gets_the_values_of_the_launch(job, monkeypatch, tmp_path) -> None:
    (tmp_path / "c.yaml").write_text("lr: 0.1\nmodel: a\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WINDLASS_LAUNCH_FILE_OVERRIDES", '{"c.yaml": {"lr": 0.7}}')
    launch.manage_config_file("c.yaml")
    assert "0.7" in (tmp_path / "c.yaml").read_text()
    with windlass.init(config="c.yaml", settings=quick()) as run:
        assert run.config["model"] == "a"
    assert "c.yaml" in job.runs.get("launched").config["_windlass"]["input_schemas"]["files"]


def test_a_stop_request_is_seen(store) -> None:
    with windlass.init(settings=quick(heartbeat_seconds=0.02)) as run:
        assert not run.should_stop()
        store.runs.request_stop(run.id)
        deadline = time.monotonic() + 5
        while not run.should_stop() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert run.should_stop()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_neither_records_nor_finishes(store) -> None:
    with windlass.init(settings=quick()) as run:
        run.flush()
        child = os.fork()
        if child == 0:
            try:
                run.log({"from": "child"})
                run.finish()
            finally:
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert store.runs.get(run.id).state is RunState.RUNNING
        run.log({"from": "parent"})
    assert [row.values for row in store.runs.metrics(run.id)] == [{"from": "parent"}]


def test_stopped_elsewhere_keeps_its_state(store) -> None:
    with windlass.init(settings=quick()) as run:
        run.log({"x": 1})
        run.flush()
        store.runs.update(run.id, RunUpdate(state=RunState.KILLED))
    assert store.runs.get(run.id).state is RunState.KILLED


def python(code: str, home, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("WINDLASS_")}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**clean, "WINDLASS_HOME": str(home), **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("end", "state", "code"),
    [
        ("pass", "finished", 0),
        ("import sys; sys.exit(4)", "failed", 4),
        ("raise ValueError('bad')", "failed", 1),
        ("import os, signal, time; os.kill(os.getpid(), signal.SIGTERM); time.sleep(5)", "killed", 143),
    ],
)
def test_a_program_that_just_ends(tmp_path, end, state, code) -> None:
    done = python(f"import windlass\nrun = windlass.init(id='r1')\nrun.log({{'x': 1}})\n{end}\n", tmp_path)
    assert done.stdout == ""
    assert done.returncode == code, done.stderr
    api = windlass.Api(Settings(home=tmp_path))
    with api:
        found = api.run("r1")
        assert (found.state, found.exit_code) == (state, code)
        assert [row["x"] for row in found.history()] == [1]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"project": "a/b"}, "not a valid project name"),
        ({"project": "x" * 200}, "not a valid project name"),
        ({"entity": "a:b"}, "not a valid entity name"),
        ({"name": "two\nlines"}, "name"),
    ],
)
def test_names_that_nothing_can_be_found_under_are_refused(store, given, said) -> None:
    with pytest.raises(UsageError, match=said):
        windlass.init(settings=quick(), **given)
    assert windlass.run is None
    assert not store.runs.list(windlass_filter())


def test_a_run_whose_machine_slept_goes_on(store) -> None:
    """Meanwhile somebody has seen that nothing is heard of it any more."""
    shift = [0.0]
    store.world.clock = lambda: time.time() + shift[0]
    with windlass.init(settings=quick(heartbeat_seconds=3600.0)) as run:
        run.log({"x": 1})
        run.flush()
        shift[0] = 2 * LOST_AFTER
        assert store.runs.get(run.id).state is RunState.CRASHED
        run.log({"x": 2})
        run.config.update({"lr": 1})
        run.flush()
        assert store.runs.get(run.id).state is RunState.RUNNING
        shift[0] *= 2
        assert store.runs.get(run.id).state is RunState.CRASHED
    assert (store.runs.get(run.id).state, store.runs.get(run.id).exit_code) == (RunState.FINISHED, 0)
