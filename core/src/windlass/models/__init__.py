"""The nouns of Windlass as frozen values. They cross every boundary: wire, database, plugin."""

from typing import Any

__all__ = ["INPUTS", "INTERNAL", "JSON", "LONGEST", "MOST", "RETRY_OF", "TRIGGER", "TRIGGER_CHAIN", "noted"]

JSON = Any
"""A JSON value: None, bool, int, float, str, list or dict with string keys."""

LONGEST = 10 * 365 * 86400.0
"""The most seconds that users may ask for: ten years. Times that lie further ahead have no date in the end."""

MOST = 2**31 - 1
"""The largest number that every store can count to."""

INTERNAL = "_windlass"
"""Key in a run's config under which Windlass notes where the run comes from; no value of the user's."""

RETRY_OF, TRIGGER, TRIGGER_CHAIN = "retry_of", "trigger", "trigger_chain"
"""Notes: the run that this one repeats, the trigger that started it, and all triggers that led to it."""

INPUTS = "pinned_inputs"
"""Note: the version of each artifact (``entity/project/name``) that this run is to use, as the one it repeats did."""


def noted(config: JSON, name: str) -> Any:
    """What is noted beside a run's config under a name; None where there is nothing."""
    notes = config.get(INTERNAL) if isinstance(config, dict) else None
    return notes.get(name) if isinstance(notes, dict) else None
