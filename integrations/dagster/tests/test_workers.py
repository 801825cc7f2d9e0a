"""Dagster's own steps on queues, under ``dagster dev`` with a real agent; cancelling them is in ``test_cancel.py``."""

from typing import Any

import dagster as dg
import pytest

from windlass_testkit.waiting import eventually

pytestmark = [pytest.mark.service("dagster-webserver"), pytest.mark.slow, pytest.mark.timeout(300)]


def runs_of(pages: Any, dagster_run: str) -> dict[str, tuple[str, str]]:
    """The Windlass runs that the steps' events name: name, state and queue by step."""
    with dg.DagsterInstance.get() as instance:
        events = [entry.dagster_event for entry in instance.all_logs(dagster_run) if entry.is_dagster_event]
    started = [event for event in events if event.event_type_value == "STEP_WORKER_STARTING"]
    ids = {event.step_key: event.engine_event_data.metadata["windlass_run_id"].value for event in started}
    with pages.store() as store:
        runs = {step: store.run(run_id) for step, run_id in ids.items()}
    return {step: (run.name, str(run.state)) for step, run in runs.items()}


def test_executor(pages: Any) -> None:
    """Each step is a run on the queue, and its values are artifacts."""
    dagster_run = pages.launch("steps_job")
    pages.until_it_is("SUCCESS", dagster_run)
    both = {"short": ("dagster-step-short", "finished"), "after_short": ("dagster-step-after_short", "finished")}
    eventually(lambda: runs_of(pages, dagster_run) == both)  # Dagster has heard of the step's end before the agent
    with pages.store() as store:
        assert store.artifact("after_short").get("output") == 2


def test_killed_step_is_told(pages: Any) -> None:
    dagster_run = pages.launch("killed_job")
    pages.until_it_is("FAILURE", dagster_run)
    assert runs_of(pages, dagster_run)["killed"] == ("dagster-step-killed", "failed")
    with dg.DagsterInstance.get() as instance:
        (failed,) = instance.all_logs(dagster_run, of_type=dg.DagsterEventType.STEP_FAILURE)
    assert failed.step_key == "killed"
    assert "Windlass run" in str(failed.dagster_event.event_specific_data)
    with pages.store() as store:
        assert not store.artifact_exists("killed")
