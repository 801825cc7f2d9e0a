"""Queues, dead letters and agents by the command line and by `windlass.Api`."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

import windlass
from windlass.errors import ConfigError, NotFoundError, StoreUnavailableError
from windlass.models.queue import Agent, ClaimRequest, Lease, Queue, QueueRef, TemplateVariable
from windlass.models.reason import Reason
from windlass.models.run import RunState, RunUpdate

REF = QueueRef(entity="team", name="q")
CONFIG = "env: ['A={{alpha}}', 'B={{ beta }}-{{alpha}}']\nnice: 1\n"
TEMPLATES = "alpha: {type: integer, default: 3, minimum: 1, maximum: 8}\nbeta: {type: string, enum: [p, q]}\n"


def fields_in(text: str) -> list[Any]:
    """The array that ``--parse --json`` prints, also before an error."""
    found, _ = json.JSONDecoder().raw_decode(text)
    assert isinstance(found, list)
    return found


def test_fields_are_listed_and_must_be_declared(call: Any) -> None:
    Path("c.yaml").write_text(CONFIG)
    Path("t.yaml").write_text(TEMPLATES)
    refused = call("queue", "create", "n", "-r", "process", "-c", "c.yaml", "--parse", "--json", code=2)
    assert [(f["name"], f["paths"], f["declared"], f["type"]) for f in fields_in(refused)] == [
        ("alpha", ["$.env[0]", "$.env[1]"], False, None),
        ("beta", ["$.env[1]"], False, None),
    ]
    error = json.loads(refused.splitlines()[-1])
    assert error["code"] == "config"
    assert {p["where"] for p in error["context"]["problems"]} == {"c.yaml:1 ($.env[0])", "c.yaml:1 ($.env[1])"}
    assert [q["name"] for q in call("queue", "list", "--json")] == ["q"], "nothing was made"
    call("queue", "create", "n", "-r", "process", "-c", "c.yaml", "--templates", "t.yaml")
    before = call("queue", "show", "n", "--json")
    alpha, beta = call("queue", "update", "n", "--parse", "--json")
    assert (alpha["default"], alpha["minimum"], alpha["maximum"], alpha["required"]) == (3, 1.0, 8.0, False)
    assert (beta["enum"], beta["required"], beta["type"]) == (["p", "q"], True, "string")
    assert "one of p, q" in call("queue", "update", "n", "--parse")
    assert call("queue", "show", "n", "--json") == before, "--parse alone changes nothing"
    Path("c.yaml").write_text("env: ['A={{alpha}}', 'B=${HOME}']\n")
    told = call("queue", "update", "n", "-c", "c.yaml", "--parse", code=2)
    assert "unknown macro ${HOME}" in told
    Path("c.yaml").write_text("env: ['A={{alpha}}', 'B=$${HOME}']\n")
    told = call("queue", "update", "n", "-c", "c.yaml", "--parse")
    assert "warning: the template variable 'beta' is declared" in told
    assert call("queue", "show", "n", "--json")["config"] == {"env": ["A={{alpha}}", "B=$${HOME}"]}


def test_dry_run_tells_where_everything_comes_from(call: Any) -> None:
    Path("c.yaml").write_text(CONFIG)
    Path("t.yaml").write_text(TEMPLATES)
    Path("p.yaml").write_text("retries: {exit-code: 1}\nstop_grace: 3\n")
    Path("m.yaml").write_text("attempt_timeout: 60\nretries: {preemption: 9}\n")
    call("queue", "create", "n", "-r", "process", "-c", "c.yaml", "--templates", "t.yaml", "--policy", "p.yaml",
         "--policy-max", "m.yaml")  # fmt: skip
    call("budget", "prices", "n", "hour=2")
    over = '{"policy": {"attempt_timeout": 30, "retries": {"preemption": 1}}}'
    shown = call("launch", "-u", ".", "-E", "python t.py", "-q", "n", "-v", "beta=p", "-c", over, "--dry-run", "--json")
    origins = shown["origins"]
    assert (shown["cost_per_hour"], shown["expected"], shown["priority"]) == (2.0, None, "medium")
    wanted = {
        "template_values.alpha": "queue",
        "template_values.beta": "flag",
        "resource_args.env": "queue, with template_values.alpha, template_values.beta",
        "resource_args.nice": "queue",
        "resource": "queue",
        "priority": "default",
        "entity": "settings",
        "policy.attempt_timeout": "overrides file",
        "policy.retries.preemption": "overrides file",
        "policy.retries.exit-code": "queue",
        "policy.retries.out-of-memory": "default",
        "policy.stop_grace": "queue",
        "policy.deadline": "default",
    }
    assert {path: origins.get(path) for path in wanted} == wanted
    policy = [f"policy.{name}" for name in shown["plan"]["policy"] if name != "retries"]
    assert [path for path in policy if path not in origins] == [], "no value without an origin"
    assert call("run", "list", "--json") == []


def test_all_that_is_wrong_with_a_queue_has_its_line(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text("env:\n  - A=${nope}\n  - B={{b}}\n")
    Path("t.yaml").write_text("b: {type: integer,\n    default: x}\nd: {type: nope}\n")
    Path("p.yaml").write_text("queue_timeout: 3\nretries:\n  infrastructur: 3\n")
    Path("m.yaml").write_text("deadline: -1\n")
    said = call("queue", "create", "w", "-r", "process", "-c", "c.yaml", "--templates", "t.yaml", "--policy", "p.yaml",
                "--policy-max", "m.yaml", code=2)  # fmt: skip
    for place in ("c.yaml:2 ($.env[0])", "t.yaml:2 ($.b.default)", "t.yaml:3 ($.d)", "p.yaml:3 ($.retries.infra",
                  "m.yaml:1 ($.deadline)"):  # fmt: skip
        assert place in said


def test_what_cannot_be_read_does_not_hide_what_makes_no_sense(call: Any) -> None:
    Path("t.yaml").write_text("a: {type: intger, minimum: x}\nb:\n  type: integer\n  minimum: 9\n  maximum: 3\nc: 5\n")
    Path("p.yaml").write_text("stop_grace: x\ndeadline: -1\n")
    said = call("queue", "create", "w", "-r", "process", "--templates", "t.yaml", "--policy", "p.yaml", code=2)
    for place in ("t.yaml:1 ($.a.minimum)", "t.yaml:1 ($.a): unknown", "t.yaml:3 ($.b): minimum 9", "t.yaml:6 ($.c)",
                  "p.yaml:1 ($.stop_grace)", "p.yaml:2 ($.deadline)"):  # fmt: skip
        assert place in said
    Path("t.yaml").write_text("a: [1\n")
    said = call("queue", "create", "w", "-r", "process", "--templates", "t.yaml", "--policy", "no.yaml", code=2)
    assert "t.yaml:2: not well-formed YAML" in said
    assert "no.yaml: the file does not exist" in said
    assert [q["name"] for q in call("queue", "list", "--json")] == ["q"]


def test_a_template_without_allowed_values_is_refused(call: Any) -> None:
    Path("c.yaml").write_text("nice: '{{n}}'\n")
    Path("t.yaml").write_text("n: {type: integer,\n    enum: []}\nm: 5\n")
    said = call("queue", "create", "w", "-r", "process", "-c", "c.yaml", "--templates", "t.yaml", code=2)
    assert "t.yaml:2 ($.n.enum): no value would be allowed" in said
    assert "t.yaml:3 ($.m)" in said


def test_durations_have_an_end(call: Any) -> None:
    Path("p.yaml").write_text("retry_delay: 1e13\nstop_grace: 3\nretries: {exit-code: 99999999999}\n")
    said = call("queue", "create", "w", "-r", "process", "--policy", "p.yaml", code=2)
    assert "p.yaml:1 ($.retry_delay): 10000000000000.0 is too much" in said
    assert "ten years" in said
    assert "p.yaml:3 ($.retries.exit-code)" in said
    Path("p.yaml").write_text("retry_delay: 315360000\n")
    call("queue", "create", "w", "-r", "process", "--policy", "p.yaml")


def test_where_a_run_without_a_queue_would_be_executed(call: Any) -> None:
    for words, origin in (((), "default"), (("-r", "process"), "flag")):
        shown = call("launch", "-u", ".", "-E", "python t.py", *words, "--dry-run", "--json")
        assert (shown["plan"]["resource"], shown["origins"]["resource"]) == ("process", origin)


def test_dead_letters_are_launched_again_once(call: Any) -> None:
    for name in ("a", "b", "c"):
        call("launch", "-u", ".", "-E", "python t.py", "-q", "q", "--name", name)
    with windlass.Api() as api:
        store = api._session.store
        reasons = {"a": "agent-lost", "b": "exit-code", "c": "agent-lost"}
        for found in store.queues.claim(ClaimRequest(agent="x", queues=(REF,), limit=9)):
            reason = Reason(code=reasons[found.run.name])
            lease = Lease(run_id=found.run.id, fence=found.run.fence)
            store.runs.update(found.run.id, RunUpdate(state=RunState.CRASHED, reason=reason), fence=lease.fence)
        assert sorted(run.name for run in api.dead_letters("q")) == ["a", "b", "c"]
        first = call("run", "retry", "-q", "q", "--reason", "agent-lost", "--json")
        assert [run["name"] for run in first] == ["a", "c"], "oldest first"
        assert {run["state"] for run in first} == {"queued"}
        again = call("run", "retry", "-q", "q", "--reason", "agent-lost", "--json")
        assert [run["id"] for run in again] == [run["id"] for run in first], "a repeated call launches nothing twice"
        assert "No run fits" in call("run", "retry", "--queue", "q", "--state", "failed")
        assert "No run fits" in call("run", "retry", "--queue", "q", "--reason", "out-of-memory")
        assert "Did you mean 'agent-lost'?" in call("run", "retry", "-q", "q", "--reason", "agent-lots", code=2)
        (dead,) = api.dead_letters("q", reasons=("exit-code",))
        named = call("run", "retry", dead.id, "--json")
        assert (named["trigger"], named["retry_of"]) == ("", dead.id)
        assert re.search(rf"retry of +{dead.id}", call("run", "show", named["id"]))
        assert (named["name"], named["state"]) == ("b", "queued")
        assert api.retry(dead.id).id not in (named["id"], dead.id), "a named one is launched each time"
        nameless = call("launch", "-u", ".", "-E", "python t.py", "-q", "q", "--json")
        call("run", "stop", nameless["id"])
        retried = call("run", "retry", nameless["id"], "--json")
        assert retried["name"] == retried["id"] != nameless["id"]
        told = call("run", "retry", "nothing", dead.id, code=1)
        assert "there is no run 'nothing'" in told
        assert "Launched run" in told
        call("run", "retry", code=2)
        call("run", "retry", dead.id, "-q", "q", code=2)


def test_agents_are_listed_with_what_they_offer(call: Any) -> None:
    with windlass.Api() as api:
        store = api._session.store
        store.agents.register(
            Agent(id="a1", name="big", entity="team", host="h", version="9.8", queues=(REF,), max_jobs=-1,
                  slots={"cpu": 4.0, "memory": 2.0**33})
        )  # fmt: skip
        (agent,) = call("agent", "list", "--json")
        assert {k: agent[k] for k in ("id", "name", "host", "version", "queues", "max_jobs", "slots", "state")} == {
            "id": "a1", "name": "big", "host": "h", "version": "9.8", "queues": ["team/q"], "max_jobs": -1,
            "slots": {"cpu": 4.0, "memory": 2.0**33}, "state": "polling",
        }  # fmt: skip
        assert agent["heartbeat_at"]
        table = call("agent", "list")
        assert all(word in table for word in ("9.8", "4 cpu, 8 GiB memory", "0 of any", "big"))
        assert api.drain_agent("a1").drain_requested
        assert [agent.id for agent in api.agents()] == ["a1"]


def test_every_verb_has_a_call(call: Any) -> None:
    with windlass.Api() as api:
        variable = TemplateVariable(type="integer", default=1)
        wanted = Queue(entity="team", name="n", resource="process", config={"env": ["A={{x}}"], "mem": 1})
        with pytest.raises(ConfigError) as caught:
            api.create_queue(wanted)
        assert [problem.where for problem in caught.value.problems] == ["$.env[0]", "$.mem"]
        made = api.create_queue(evolve(wanted, config={"env": ["A={{x}}"]}, templates={"x": variable}))
        assert [queue.name for queue in api.queues()] == ["n", "q"]
        assert [field.paths for field in api.template_fields("n")] == [("$.env[0]",)]
        assert api.update_queue(evolve(made, description="d")).description == "d"
        assert api.pause_queue("n").paused
        assert not api.resume_queue("n").paused
        assert api.queue_status("n").queued == 0
        trigger = api.create_trigger(
            "t", "cron", cron="0 3 * * *", timezone="Asia/Tokyo", uri=".", entry_point="python t.py", queue="q"
        )
        assert trigger.next_at % 86400 == 18 * 3600, "3 in the morning there is 18 h UTC"
        assert api.pause_trigger("t").paused
        assert not api.resume_trigger("t").paused
        assert [found.name for found in api.triggers()] == ["t"]
        assert call("trigger", "show", "t", "--json")["timezone"] == "Asia/Tokyo"
        api.delete_trigger("t")
        with pytest.raises(NotFoundError):
            api.trigger("t")
        assert api.set_prices("q", {"hour": 2.0}).prices == {"hour": 2.0}
        assert api.set_budget(0, user="ada").limit == 0
        assert [budget.user for budget in api.budgets()] == ["ada"]
        api.remove_budget(user="ada")
        with pytest.raises(NotFoundError):
            api.remove_budget(user="ada")
        run = windlass.sdk.launch.launch_add(uri=".", entry_point="python t.py", queue="q")
        assert [reason.code for reason in api.waiting(run.id).reasons] == ["agent-absent"]
        api.delete_queue("q", force=True)
        api.delete_queue("n")
        assert api.queues() == ()


def test_who_follows_a_run_bears_with_a_store_that_is_away(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from windlass_metastore_sql.runs import SqlRuns

    run_id = call("launch", "-u", ".", "-E", "python t.py", "-p", "p", "-q", "q", "--json")["id"]
    call("run", "stop", run_id)
    real, away = SqlRuns.read_log, [True, True]

    def read_log(self: Any, *args: Any) -> Any:
        if away:
            away.pop()
            raise StoreUnavailableError("connection lost")
        return real(self, *args)

    monkeypatch.setattr(SqlRuns, "read_log", read_log)
    assert "connection lost" in call("run", "logs", run_id, code=1)
    call("run", "logs", "-f", run_id)
    assert away == []


def test_what_was_opened_is_closed_again(call: Any) -> None:
    call("queue", "update", "q", "--open", "env.A", "--open", "env.B")
    assert call("queue", "show", "q", "--json")["open_fields"] == ["env.A", "env.B"]
    call("queue", "update", "q", "--open", "env.B")
    assert call("queue", "show", "q", "--json")["open_fields"] == ["env.B"]
    call("queue", "update", "q", "--open", "")
    assert call("queue", "show", "q", "--json")["open_fields"] == []
