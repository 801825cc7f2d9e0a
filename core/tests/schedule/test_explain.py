"""Why a run waits, where the facts are odd."""

from windlass.models.queue import Agent, Queue
from windlass.models.run import Run, RunState
from windlass.schedule.explain import Facts, waiting
from windlass.schedule.room import AgentView


def test_a_time_that_has_no_date_is_explained_all_the_same() -> None:
    run = Run(id="r", name="r", entity="team", project="p", state=RunState.QUEUED, attempt=2, not_before=1e13)
    facts = Facts(run=run, queue=Queue(entity="team", name="q", resource="process"), now=1e9, ahead=0)
    (held,) = [reason for reason in waiting(facts).reasons if reason.code == "back-off"]
    assert "no date" in held.message
    assert held.context["until"] == 1e13


def test_an_agent_that_is_busy_with_other_queues_is_waited_for() -> None:
    run = Run(id="r", name="r", entity="team", project="p", state=RunState.QUEUED)
    full = AgentView(agent=Agent(id="a", max_jobs=1), held=((4.0, {}),))  # its run is of another queue
    queue = Queue(entity="team", name="q", resource="process")
    found = waiting(Facts(run=run, queue=queue, now=1e9, ahead=0, agents=(full,), history=(10.0,)))
    assert [reason.code for reason in found.reasons] == ["agents-busy"]
    assert found.starts_in == 6.0
    unknown = waiting(Facts(run=run, queue=queue, now=1e9, ahead=0, agents=(full,)))
    assert unknown.starts_in is None
