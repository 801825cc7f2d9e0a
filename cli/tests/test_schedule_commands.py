"""Triggers, budgets, access and copies by the command line."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

import windlass


def test_a_trigger_starts_a_run_that_says_why_it_waits(call: Any) -> None:
    made = call("trigger", "create", "onv", "--on-version", "--type", "dataset", "-q", "q", "-u", ".", "-E",
                "python t.py", "--set", "data={{artifact}}", "--json")  # fmt: skip
    assert (made["event"], made["queue"], made["fired"]) == ("version", "team/q", 0)
    call("artifact", "put", "t.py", "-n", "data", "--type", "dataset")
    (run,) = call("run", "list", "--json")
    assert run["config"] == {"data": "team/uncategorized/data:v0"}
    assert (run["trigger"], run["retry_of"]) == ("onv", "")
    assert "trigger onv" in call("run", "show", run["id"])
    shown = call("run", "show", run["id"], "--json")
    assert shown["waiting"]["position"] == 1
    assert [reason["code"] for reason in shown["waiting"]["reasons"]] == ["agent-absent"]
    assert "no agent takes items" in call("run", "show", run["id"])
    assert [item["id"] for item in call("queue", "show", "q", "--json")["waiting"]] == [run["id"]]
    assert call("trigger", "show", "onv", "--json")["last_run"] == run["id"]
    assert "  data: '{{artifact}}'\n" in call("trigger", "show", "onv")
    call("trigger", "pause", "onv")
    call("trigger", "resume", "onv")
    call("trigger", "delete", "onv")
    assert call("trigger", "list", "--json") == []


def test_wrong_triggers_are_refused(call: Any) -> None:
    common = ("-q", "q", "-u", ".", "-E", "python t.py")
    assert "name one event" in call("trigger", "create", "x", *common, code=2)
    assert "5" in call("trigger", "create", "x", "--cron", "* * *", *common, code=2)
    assert "nothing to run" in call("trigger", "create", "x", "--cron", "@daily", "-q", "q", code=2)
    assert call("artifact", "ls", "--json") == [], "no code was stored for them"


def test_budgets_and_prices(call: Any) -> None:
    call("budget", "set", "0", "--unit", "money")
    assert call("budget", "prices", "q", "hour=1.5", "gpu=2", "--json") == {"hour": 1.5, "gpu": 2.0}
    assert call("budget", "list", "--json") == [
        {"entity": "team", "user": "", "unit": "money", "limit": 0.0, "used": 0.0}
    ]
    call("launch", "-u", ".", "-E", "python t.py", "-q", "q")
    (waiting,) = call("queue", "show", "q", "--json")["waiting"]
    assert "budget" in [reason["code"] for reason in waiting["reasons"]]
    for wrong in ("inf", "nan", "1e12"):
        assert "limit" in call("budget", "set", wrong, code=2).lower()
    assert "has no budget of hours" in call("budget", "remove", code=1)
    call("budget", "remove", "--unit", "money")
    assert call("budget", "list", "--json") == []
    assert "gpu" in call("queue", "show", "q")
    assert "$.prices.huor: no run of this queue has 'huor' (did you mean 'hour'?)" in call(
        "budget", "prices", "q", "huor=2", code=2
    )
    Path("c.yaml").write_text("slots: {license: 1}\nnice: 3\n")
    call("queue", "update", "q", "-c", "c.yaml", "--open", "resource_args.extra")
    assert call("budget", "prices", "q", "license=1", "nice=2", "extra=3", "--json")["extra"] == 3.0


def test_users_keys_and_roles(call: Any) -> None:
    call("access", "user", "create", "ada")
    call("access", "user", "create", "robot", "--service")
    assert [user["name"] for user in call("access", "user", "list", "--json")] == ["ada", "robot"]
    made = call("access", "key", "create", "ada", "--description", "laptop", "--json")
    assert made["key"].startswith("wlk_")
    (listed,) = call("access", "key", "list", "ada", "--json")
    assert listed["id"] == made["id"]
    assert made["key"] not in json.dumps(listed)
    assert (made["expires_at"], listed["expires_at"]) == (None, None)
    call("access", "key", "revoke", made["id"])
    assert call("access", "key", "list", "ada", "--json") == []
    made = call("access", "key", "create", "ada", "--expires", "30d", "--json")
    assert made["expires_at"][:10] in call("access", "key", "list", "ada")
    for wrong in ("soon", "30", "-1d", "0d", "1e9d", "9999999w"):
        assert "such as 30d" in call("access", "key", "create", "ada", "--expires", wrong, code=2)
    assert "more than ten years" in call("access", "key", "create", "ada", "--expires", "999999w", code=2)
    call("access", "member", "set", "ada", "submitter")
    assert call("access", "member", "list", "--json") == [{"entity": "team", "user": "ada", "role": "submitter"}]
    call("access", "member", "remove", "ada")
    assert call("access", "member", "list", "--json") == []


def test_a_store_is_copied(call: Any, tmp_path: Path) -> None:
    old, new = (f"sqlite:///{tmp_path}/{name}.db" for name in ("home/windlass", "home/copy"))
    assert call("store", "copy", old, new, "--json")["queues"] == 1
    assert "not empty" in call("store", "copy", old, new, code=1)
    assert "there is no such database" in call("store", "copy", f"sqlite:///{tmp_path}/nothing.db", new, code=2)
    assert not (tmp_path / "nothing.db").exists()


def test_a_dry_run_tells_the_price(call: Any) -> None:
    call("budget", "prices", "q", "hour=1.5")
    plan = call("launch", "-u", ".", "-E", "python t.py", "-q", "q", "--dry-run", "--json")
    assert (plan["cost_per_hour"], plan["used_up"]) == (1.5, [])
    call("budget", "set", "0", "--unit", "money")
    call("budget", "set", "0", "--user", "somebody-else")
    plan = call("launch", "-u", ".", "-E", "python t.py", "-q", "q", "--dry-run", "--json")
    assert plan["used_up"] == ["the budget of 'team' is used up: 0.00 of 0 money this month"]


def test_a_key_signs_in_over_http(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import socket

    from windlass.plugins.app import App
    from windlass.settings import Settings

    pytest.importorskip("windlass_server")
    from windlass_server.app import create_app
    from windlass_server.running import BackgroundServer

    call("access", "user", "create", "ada")
    call("access", "member", "set", "ada", "submitter")
    key = call("access", "key", "create", "ada", "--json")["key"]
    app = App(Settings.from_env({"WINDLASS_HOME": str(tmp_path / "home")}))
    store = app.open_store()
    listener = socket.create_server(("127.0.0.1", 0))
    server = BackgroundServer(create_app(store), listener)
    server.start()
    try:
        monkeypatch.setenv("WINDLASS_HOME", str(tmp_path / "elsewhere"))
        (tmp_path / "key").write_text(key)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert "as ada" in call("login", url, "--key-file", str(tmp_path / "key"))
        assert "when it starts" in call("store", "migrate", code=2)
        with monkeypatch.context() as nameless:
            nameless.delenv("WINDLASS_ENTITY")
            assert windlass.Api().default_entity == "ada", "who signed in works in the entity of his name"
            assert windlass.Api(windlass.Settings(entity="team")).default_entity == "team"
            assert call("queue", "list", "--json") == []
        assert [queue["name"] for queue in call("queue", "list", "--json")] == ["q"]
        assert len(call("access", "key", "list", "--json")) == 1
        call("access", "user", "list", code=1)
        call("budget", "set", "1", code=1)
        call("launch", "-u", ".", "-E", "python t.py", "-q", "q")
        (run,) = call("run", "list", "-p", "uncategorized", "--json")
        assert run["author"] == "ada"
        assert call("agent", "list", "--all", "--json") == []
        assert "Say whose" not in call("run", "list", "-e", "others", code=1)
        made = call("access", "key", "create", "--expires", "1s", "--json")
        monkeypatch.setenv("WINDLASS_BASE_URL", url)
        monkeypatch.setenv("WINDLASS_API_KEY", made["key"])
        time.sleep(1.1)
        refused = call("queue", "list", code=1)
        assert f"this API key expired at {made['expires_at'][:17]}" in refused
        assert "windlass login" in refused
    finally:
        server.stop()
        store.close()
        app.close()


def test_a_run_whose_process_was_killed_is_seen_and_can_be_ended(call: Any, tmp_path: Path) -> None:
    from windlass.models.run import Run
    from windlass.plugins.app import App

    app = App()
    store = app.open_store()
    long_ago = store.now() - 3600
    store.runs.create(Run(id="gone", entity="team", project="p", created_at=long_ago, started_at=long_ago))
    store.close()
    app.close()
    assert "last heard of 60 min ago" in call("run", "list")
    assert "windlass run stop gone" in call("run", "show", "gone")
    assert "Stop it first" in call("run", "delete", "gone", code=1)
    assert "Run gone is crashed." in call("run", "stop", "--wait", "gone")
    assert call("run", "show", "gone", "--json")["reason"]["code"] == "lost"
    call("run", "delete", "gone")


def test_a_key_that_is_not_there_was_not_revoked(call: Any) -> None:
    call("access", "user", "create", "ann")
    call("access", "key", "create", "ann")
    (key,) = call("access", "key", "list", "ann", "--json")
    assert "there is no key 'nope'" in call("access", "key", "revoke", "nope", code=1)
    assert "good for nothing" in call("access", "key", "revoke", key["id"])
    assert "there is no key" in call("access", "key", "revoke", key["id"], code=1)
