"""Settings, the wire format and secret references: the small modules everything starts with."""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import msgspec
import pytest

from windlass import ids, wire
from windlass.config.secrets import Secret, SecretResolver, is_reference, names_secret
from windlass.errors import ConfigError, SecretError, UsageError
from windlass.models.run import LogLine, Run, RunState
from windlass.settings import Settings

from .conftest import Install


def test_defaults(tmp_path: Path) -> None:
    settings = Settings.from_env({"WINDLASS_HOME": str(tmp_path), "USER": "ann lee"})
    assert settings.entity == "ann-lee"
    assert settings.project == "uncategorized"
    assert settings.cache_dir == tmp_path / "cache"
    assert settings.store_url == f"sqlite:///{tmp_path}/windlass.db"
    assert settings.attempt is None


def test_arguments_win(tmp_path: Path) -> None:
    env = {"WINDLASS_HOME": str(tmp_path), "WINDLASS_PROJECT": "p", "WINDLASS_ATTEMPT": "2", "WINDLASS_API_KEY": "k3y"}
    settings = Settings.from_env(env, project="q", entity=None)
    assert (settings.project, settings.attempt) == ("q", 2)
    assert "k3y" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WINDLASS_LEASE_SECONDS", "x"), ("WINDLASS_LEASE_SECONDS", "0"), ("WINDLASS_LEASE_SECONDS", "-1"),
        ("WINDLASS_LEASE_SECONDS", "nan"), ("WINDLASS_LEASE_SECONDS", "inf"), ("WINDLASS_ATTEMPT", "1.5"),
        ("WINDLASS_MODE", "offlin"),
    ],
)  # fmt: skip
def test_bad_settings(name: str, value: str) -> None:
    with pytest.raises(UsageError) as caught:
        Settings.from_env({name: value})
    assert caught.value.where == name
    assert caught.value.hint


def test_ids() -> None:
    assert all(ids.new_run_id()[0].isalpha() and len(ids.new_run_id()) == 8 for _ in range(100))
    made = {ids.new_id() for _ in range(1000)}
    assert len(made) == 1000
    assert {len(one) for one in made} == {26}
    assert len(set("".join(made))) == 36
    assert [ids.attempt_id("r", n) for n in (1, 2, 10)] == ["r", "r-2", "r-10"]


# -- wire -------------------------------------------------------------------------------------------------------------


def test_models_survive() -> None:
    run = Run(id="r1", state=RunState.FAILED, config={"lr": 0.1, "deep": [None, {"x": "ü"}]}, tags=("a",))
    assert wire.decode(wire.encode(run), Run) == run


def test_any_bytes_survive() -> None:
    line = LogLine(data=bytes(range(256)))
    assert wire.decode(wire.encode(line), LogLine) == line


def test_newer_data_is_read_and_nan_is_null() -> None:
    assert wire.decode(b'{"id": "r", "from_the_future": 1}', Run).id == "r"
    assert wire.encode({"loss": math.nan}) == b'{"loss":null}'


@pytest.mark.parametrize(
    ("data", "where", "said"),
    [
        (b'{"id": 5}', "$.id", "str"),
        (b"{}", "$", "required field `id`"),
        (b'{"id": "r", "state": "sleeping"}', "$.state", "sleeping"),
        (b'{"id": "r", "tags": ["a", 1]}', "$.tags[1]", "str"),
        (b"{", "", "not well-formed JSON"),
        (b"\xff", "", "not well-formed JSON"),
        (b'{"id": "\xff"}', "", "not UTF-8"),
        (b'{"id": "r", "config": {"a": ' + b"[" * 5000, "$", "nested too deeply"),
        (b"null", "$", "object"),
    ],
)
def test_bad_json(data: bytes, where: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        wire.decode(data, Run)
    assert caught.value.where == where
    assert said in caught.value.message


@pytest.mark.parametrize("value", [{"x": object()}, {"x": 1j}, {"x": "\ud800"}, {(1, 2): 3}, lambda: 1])
def test_what_json_cannot_say(value: object) -> None:
    with pytest.raises(UsageError, match="cannot be written as JSON"):
        wire.encode(value)


# -- secrets ----------------------------------------------------------------------------------------------------------


def test_secrets_resolve_and_hide(tmp_path: Path) -> None:
    (tmp_path / "s").write_bytes(b"p\xc3\xa4ss\n\n")
    resolver = SecretResolver({"TOKEN": "hunter2"})
    secret = resolver.resolve("env/TOKEN")
    assert secret.reveal() == "hunter2"
    assert "hunter2" not in f"{secret} {secret!r} {[secret]} {secret:>9}"
    assert resolver.resolve(f"file/{tmp_path}/s").reveal() == "päss\n", "one newline is taken away, not more"
    assert is_reference({"secret": "env/X"})
    assert not is_reference({"secret": "env/X", "other": 1})


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("env/MISSING", "MISSING is not set"),
        ("file//no/such/file", "cannot be read"),
        ("vault/x", "not a secret reference"),
        ("hunter2", "not a secret reference"),
        ("env/", "not a secret reference"),
        ("", "not a secret reference"),
    ],
)
def test_bad_references(reference: str, said: str) -> None:
    with pytest.raises(SecretError, match=said) as caught:
        SecretResolver({}).resolve(reference, where="f.yaml:3")
    assert caught.value.where == "f.yaml:3"
    assert "hunter2" not in str(caught.value)


def test_the_keyring() -> None:
    keyring = pytest.importorskip("keyring")
    from keyring.backend import KeyringBackend

    class Ring(KeyringBackend):  # type: ignore[misc,unused-ignore]
        priority = 1.0
        kept: ClassVar[dict[tuple[str, str], str]] = {}

        def get_password(self, service: str, username: str) -> str | None:
            if service == "locked":
                raise keyring.errors.KeyringLocked("hunter2")
            return self.kept.get((service, username))

        def set_password(self, service: str, username: str, password: str) -> None:
            self.kept[service, username] = password

    before = keyring.get_keyring()
    keyring.set_keyring(Ring())
    try:
        keyring.set_password("hub", "ann", "hunter2")
        secret = SecretResolver({}).resolve("keyring/hub/ann")
        assert secret.reveal() == "hunter2"
        assert "hunter2" not in repr(secret)
        with pytest.raises(SecretError, match="no entry hub/bob"):
            SecretResolver({}).resolve("keyring/hub/bob")
        with pytest.raises(SecretError, match="KeyringLocked") as caught:
            SecretResolver({}).resolve("keyring/locked/ann")
        assert "hunter2" not in str(caught.value)
    finally:
        keyring.set_keyring(before)


def test_a_scheme_of_another_package(install: Install) -> None:
    source = """
    def resolve(rest):
        if rest == "number":
            return 7
        if rest == "down":
            raise RuntimeError("hunter2 is not valid here")
        return rest.upper()
    """
    install("acme-vault", {"windlass.secrets": {"vault": "acme_vault:resolve"}}, acme_vault=source)
    install("acme-bad", {"windlass.secrets": {"bad": "acme_bad:resolve"}}, acme_bad="import no_such_sdk")
    assert SecretResolver({}).resolve("vault/x/y") == Secret("X/Y", "vault/x/y")
    for reference, said in (
        ("vault/number", "'vault' of acme-vault 1.2 returned int, not text"),
        ("vault/down", "'vault' of acme-vault 1.2 failed: RuntimeError"),
        ("bad/x", "'bad' of acme-bad 1.2 failed: ModuleNotFoundError"),
        ("other/x", "not a secret reference"),
    ):
        with pytest.raises(SecretError, match=said) as caught:
            SecretResolver({}).resolve(reference, where="f.yaml:3")
        assert caught.value.where == "f.yaml:3"
        assert "hunter2" not in str(caught.value)
    assert "vault/…" in caught.value.hint
    assert names_secret("vault/x")
    assert not names_secret("keys/mine.pem")


def test_an_address_that_is_none_says_which_variable_and_what_to_write(tmp_path: Path) -> None:
    from windlass.plugins.app import App

    app = App(Settings.from_env({"WINDLASS_HOME": str(tmp_path), "WINDLASS_BASE_URL": "windlass.example.com"}))
    with pytest.raises(UsageError) as caught:
        app.open_store()
    assert caught.value.where == "WINDLASS_BASE_URL"
    assert "postgresql://" in caught.value.hint
    app.close()


def test_decoders_are_made_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Side by side they crash the process now and then: msgspec shows other threads classes it has half looked at."""
    at_once: list[int] = []
    busy = 0

    class Slow:
        def __init__(self, kind: object) -> None:
            nonlocal busy
            busy += 1
            at_once.append(busy)
            time.sleep(0.01)
            busy -= 1

    monkeypatch.setattr(msgspec.json, "Decoder", Slow)
    monkeypatch.setattr(wire, "_decoders", {})
    kinds = [list[str], list[int], list[float], list[str]] * 2
    with ThreadPoolExecutor(len(kinds)) as pool:
        made = list(pool.map(wire.decoder, kinds))
    assert at_once == [1, 1, 1]
    assert made[0] is made[3] is made[7]
