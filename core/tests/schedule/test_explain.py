"""Why a run waits, where the facts are odd."""

from windlass.models.queue import Queue
from windlass.models.run import Run, RunState
from windlass.schedule.explain import Facts, waiting


def test_a_time_that_has_no_date_is_explained_all_the_same() -> None:
    run = Run(id="r", name="r", entity="team", project="p", state=RunState.QUEUED, attempt=2, not_before=1e13)
    facts = Facts(run=run, queue=Queue(entity="team", name="q", resource="process"), now=1e9, ahead=0)
    (held,) = [reason for reason in waiting(facts).reasons if reason.code == "back-off"]
    assert "no date" in held.message
    assert held.context["until"] == 1e13
