"""What a job learns of its inputs from its runs."""

from windlass.sdk.jobs import _joined


def test_a_run_that_ends_early_takes_no_inputs_away() -> None:
    """It has declared one of two files, and nothing of the run config."""
    known = {"@windlass.config": {"type": "object"}, "files": {"a.yaml": {"old": 1}, "b.toml": {"old": 1}}}
    found = {"files": {"a.yaml": {"new": 1}}}
    assert _joined(known, found) == {
        "@windlass.config": {"type": "object"},
        "files": {"a.yaml": {"new": 1}, "b.toml": {"old": 1}},
    }
    assert _joined({}, {}) == {}
    assert _joined({}, found) == found
