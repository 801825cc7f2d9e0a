"""The tree of errors: unique codes, no loss on the way through pickle and JSON."""

from __future__ import annotations

import copy
import json
import pickle
import re

import pytest

from windlass import errors
from windlass.errors import ConfigError, Problem, StoreUnavailableError, WindlassError, all_errors, from_dict
from windlass.models.reason import Reason

KINDS = [kind for kind in all_errors() if kind.__module__ == "windlass.errors"]


def test_codes_are_unique_kebab_case() -> None:
    codes = [kind.code for kind in KINDS]
    assert len(codes) == len(set(codes))
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in codes)


def test_every_error_is_in_the_picture() -> None:
    picture = errors.__doc__ or ""
    missing = [kind.__name__ for kind in KINDS if not re.search(rf"\b{kind.__name__}\b", picture)]
    assert not missing
    drawn = set(re.findall(r"\b[A-Z]\w+Error\b", picture))
    assert drawn == {kind.__name__ for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("retryable", [True, False])
def test_nothing_is_lost_on_the_way(kind: type[WindlassError], retryable: bool) -> None:
    error = kind("what", where="$.x", hint="do", context={"n": [1]}, retryable=retryable)
    for again in (
        from_dict(json.loads(json.dumps(error.to_dict()))),
        pickle.loads(pickle.dumps(error)),
        copy.copy(error),
    ):
        assert type(again) is kind
        assert again.to_dict() == error.to_dict()
        assert str(again) == str(error)
    assert str(error) == "$.x: what\n  hint: do"


def test_problems_survive() -> None:
    error = ConfigError("2 problems", where="f", problems=[Problem("a", where="f:1", hint="b"), Problem("c")])
    for again in (from_dict(json.loads(json.dumps(error.to_dict()))), pickle.loads(pickle.dumps(error))):
        assert isinstance(again, ConfigError)
        assert str(again) == str(error) == "f: 2 problems\n  f:1: a (b)\n  c"


def test_unknown_code_is_still_an_error() -> None:
    error = from_dict({"code": "from-the-future", "message": "m"})
    assert type(error) is WindlassError
    assert error.message == "m"
    assert type(from_dict({})) is WindlassError


def test_retryable_is_a_default_and_a_fact() -> None:
    assert StoreUnavailableError("busy").retryable
    assert not StoreUnavailableError("gone", retryable=False).retryable
    assert from_dict(StoreUnavailableError("busy").to_dict()).retryable


def test_reasons_of_exit_codes() -> None:
    killed, own, beyond = Reason.of_exit(137), Reason.of_exit(3), Reason.of_exit(255)
    assert (killed.code, killed.message) == ("signal", "it was killed by SIGKILL")
    assert (own.code, own.message, own.context) == ("exit-code", "it ended with exit code 3", {"exit_code": 3})
    assert beyond.code == "exit-code", "there is no signal of that number"
