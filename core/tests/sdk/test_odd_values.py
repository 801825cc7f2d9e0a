"""What a run is given: odd values are recorded, or refused at once and with nothing else lost."""

from __future__ import annotations

import pytest

import windlass
from windlass.errors import UsageError
from windlass.models.run import RunFilter
from windlass.sdk.settings import Settings


def quick(**more) -> Settings:
    return Settings(flush_seconds=0.01, disable_git=True, **more)


def test_a_word_is_one_tag_and_none_is_none(store) -> None:
    with windlass.init("demo", tags="nightly", notes=None, group=None, settings=quick()) as run:
        pass
    assert store.runs.get(run.id).tags == ("nightly",)
    with windlass.init("demo", tags=None, settings=quick()) as run:
        run.tags = "weekly"
    assert store.runs.get(run.id).tags == ("weekly",)


@pytest.mark.parametrize(
    "change",
    [
        lambda run: run.log({"name": "caf\udce9"}),
        lambda run: run.log({"caf\udce9": 1}),
        lambda run: run.log({"loss": 1}, step="7"),
        lambda run: run.log({"loss": 1}, step=2.5),
        lambda run: run.log({"loss": 1}, step=2**63),
        lambda run: run.config.update({"path": "caf\udce9"}),
        lambda run: run.summary.update({"path": "caf\udce9"}),
        lambda run: setattr(run, "tags", ["a", 3]),
        lambda run: setattr(run, "notes", {"a": 1}),
        lambda run: setattr(run, "notes", "caf\udce9"),
        lambda run: setattr(run, "name", "two\nlines"),
        lambda run: setattr(run, "name", 5),
    ],
)
def test_what_cannot_be_recorded_is_refused_at_once_and_spoils_nothing_else(store, change) -> None:
    with windlass.init("demo", settings=quick()) as run:
        with pytest.raises(UsageError):
            change(run)
        run.log({"loss": 0.5})
    found = store.runs.get(run.id)
    assert (found.state, found.summary, found.name) == ("finished", {"loss": 0.5, "_step": 0}, run.id)


@pytest.mark.parametrize("given", [{"tags": ["a", 3]}, {"notes": 5}, {"group": 5}, {"job_type": ["a"]}])
def test_labels_that_are_no_texts_are_refused(store, given) -> None:
    with pytest.raises(UsageError, match="is no text"):
        windlass.init(settings=quick(), **given)
    assert not store.runs.list(RunFilter())


def test_steps_of_array_libraries_are_integers(store) -> None:
    numpy = pytest.importorskip("numpy")
    with windlass.init(settings=quick()) as run:
        run.log({"loss": 1.0}, step=numpy.int64(5))
        run.log({"loss": 0.5}, step=numpy.int64(6))
    assert [row.step for row in store.runs.metrics(run.id)] == [5, 6]


@pytest.mark.parametrize("kind", [ValueError, UsageError])
def test_an_exception_that_quotes_bytes_ends_the_run(store, kind) -> None:
    with pytest.raises(kind), windlass.init(settings=quick()) as run:
        raise kind("no such file: caf\udce9\0")
    found = store.runs.get(run.id)
    assert found.state == "failed"
    assert found.reason.message.endswith(r"no such file: caf\udce9\0")


def test_a_job_that_was_asked_for_by_name_and_is_not_made_is_said(store, caplog) -> None:
    with windlass.init(settings=quick(job_name="trainer")):
        pass
    assert "no job was made from this run: it has no checkout with a remote, no code and no image" in caplog.text


def test_a_run_is_resumed_where_it_is(store) -> None:
    with windlass.init("demo", id="r", settings=quick()):
        pass
    with pytest.raises(UsageError, match="run r is in ann/demo, not in ann/other"):
        windlass.init("other", id="r", resume="allow", settings=quick())
    assert store.runs.get("r").state == "finished"
    with windlass.init(id="r", resume="allow", settings=quick()) as run:
        assert run.project == "demo"
