"""Runs in threads, in forked and in spawned processes, and in blocks within blocks."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import textwrap

import pytest

import windlass
from windlass.models.run import RunState
from windlass.sdk.settings import Settings


def quick(**more) -> Settings:
    return Settings(flush_seconds=0.01, disable_git=True, **more)


def python(code: str, folder) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("WINDLASS_")}
    script = folder / "program.py"
    script.write_text(textwrap.dedent(code))
    return subprocess.run(
        [sys.executable, str(script)],
        env={**clean, "WINDLASS_HOME": str(folder / "home")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("how", ["fork", "spawn"])
@pytest.mark.parametrize(
    ("end", "state", "code"),
    [
        ("pass", "finished", 0),
        ("raise ValueError('bad')", "failed", 1),
        ("sys.exit(3)", "failed", 3),
        ("raise SystemExit(3)", "failed", 3),
        ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(5)", "killed", 143),
    ],
)
def test_a_child_that_just_ends(tmp_path, how, end, state, code) -> None:
    program = f"""
        import multiprocessing, os, signal, sys, time
        import windlass

        def work():
            windlass.init(id="child").log({{"x": 1}})
            {end}

        if __name__ == "__main__":
            windlass.init(id="parent")
            child = multiprocessing.get_context("{how}").Process(target=work)
            child.start()
            child.join()
            windlass.log({{"code": child.exitcode}})
    """
    done = python(program, tmp_path)
    assert done.returncode == 0, done.stderr
    with windlass.Api(Settings(home=tmp_path / "home")) as api:
        child, parent = api.run("child"), api.run("parent")
        assert (child.state, child.exit_code) == (state, code), done.stderr
        assert [row["x"] for row in child.history()] == [1]
        assert (parent.state, parent.summary["code"]) == ("finished", code)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Python 3.11 tells nobody of it")
@pytest.mark.parametrize(
    ("end", "state", "code"),
    [
        ("raise SystemExit(3)", "failed", 3),
        ("raise SystemExit('no data')", "failed", 1),
        ("raise SystemExit(None)", "finished", 0),
        ("work()", "failed", 7),
        ("try:\n    work()\nexcept SystemExit:\n    pass", "finished", 0),
        ("windlass.finish(); windlass.init(id='second'); work()", "finished", 7),
    ],
)
def test_an_exit_that_is_raised(tmp_path, end, state, code) -> None:
    program = f"import windlass\nwindlass.init(id='r')\ndef work():\n    raise SystemExit(7)\n{end}\n"
    done = python(program, tmp_path)
    assert done.returncode == code, done.stderr
    with windlass.Api(Settings(home=tmp_path / "home")) as api:
        assert (api.run("r").state, api.run("r").exit_code) == (state, code if state == "failed" else 0)
        if "second" in end:
            assert (api.run("second").state, api.run("second").exit_code) == ("failed", 7)


def test_the_end_of_a_thread_is_not_the_end_of_the_run(tmp_path) -> None:
    program = """
        import sys, threading
        import windlass

        windlass.init(id="r")
        thread = threading.Thread(target=sys.exit, args=(3,))
        thread.start()
        thread.join()
    """
    done = python(program, tmp_path)
    assert done.returncode == 0, done.stderr
    with windlass.Api(Settings(home=tmp_path / "home")) as api:
        assert api.run("r").state == "finished"


def test_a_block_that_was_given_the_active_run_leaves_it_open(store) -> None:
    with windlass.init(settings=quick()) as run:
        with windlass.init() as same:
            assert same is run
        with pytest.raises(ZeroDivisionError), windlass.init():
            _ = 1 / 0
        windlass.init()  # a library that does without a block
        run.log({"x": 1})
    assert store.runs.get(run.id).state is RunState.FINISHED
    begun = windlass.init(settings=quick())
    with windlass.init():
        pass
    begun.log({"x": 1})
    begun.finish()
    assert store.runs.get(begun.id).state is RunState.FINISHED


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_copies_of_config_and_summary_go_to_workers_and_record_nothing(store, again) -> None:
    with windlass.init(config={"a": {"b": 1}}, settings=quick()) as run:
        run.summary["best"] = 1
        config, summary = again(run.config), again(run.summary)
        assert (config.a, summary.best) == ({"b": 1}, 1)
        config["a"], summary["best"] = 2, 2
    found = store.runs.get(run.id)
    assert (found.config["a"], found.summary["best"]) == ({"b": 1}, 1)


def test_what_is_set_when_the_run_is_over_is_said_to_be_lost(store, caplog) -> None:
    with windlass.init(settings=quick()) as run:
        run.config["lr"] = 1
    assert "not recorded" not in caplog.text
    run.summary["late"] = 1
    run.config["lr"] = 2
    assert caplog.text.count("not recorded") == 1
    assert store.runs.get(run.id).config["lr"] == 1
