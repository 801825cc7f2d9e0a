"""What each ``--json`` prints. ``docs/reference/json.md`` is made from it; tests hold it against what is printed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from attrs import field, frozen

from windlass_cli.json_shapes import Keys, keys_of

__all__ = ["OUTPUTS", "Output", "undocumented"]


@frozen
class Output:
    """What a command prints.

    Attributes:
        shape: Name in `SHAPES`.
        many: An array of it.
        more: Further keys.
        when: In which case, if the command prints different things.
    """

    shape: str
    many: bool = False
    more: Keys = field(factory=dict)
    when: str = ""


_ARTIFACT = (Output("artifact"),)

OUTPUTS: dict[str, tuple[Output, ...]] = {
    "launch": (Output("run"), Output("plan", when="with `--dry-run`")),
    "queue create": (Output("queue"), Output("template field", many=True, when="with `--parse`")),
    "queue update": (Output("queue"), Output("template field", many=True, when="with `--parse`")),
    "queue list": (Output("queue", many=True, more={"status": "`queued`, `pending`, `running`, `agents`: how many."}),),
    "queue show": (
        Output("queue", more={
            "status": "`queued`, `pending`, `running`, `agents`: how many.",
            "waiting": "Why the first runs wait, each with its `id`, see waiting.",
        }),
    ),
    "run list": (Output("run", many=True),),
    "run show": (
        Output("run", more={
            "artifacts": "What it used and made, see edge.",
            "waiting": "Why it is not running yet, see waiting; null otherwise.",
        }),
    ),
    "run retry": (Output("run", when="of one run"), Output("run", many=True, when="of several, or chosen ones")),
    "job create": _ARTIFACT,
    "job list": (Output("artifact", many=True),),
    "job describe": (Output("job"),),
    "artifact put": _ARTIFACT,
    "artifact get": (
        Output("artifact", more={"root": "Where it lies now.", "missing": "References whose bytes were not there."}),
    ),
    "artifact ls": (Output("artifact", many=True),),
    "artifact show": (
        Output("artifact", more={
            "files": "Its entries, each with `path`, `size` (or null), `digest` and `ref`, the address of a reference.",
            "signatures": "Its signatures.",
        }),
    ),
    "artifact diff": (Output("diff"),),
    "artifact verify": (Output("verification"),),
    "artifact repair": (Output("repair"),),
    "artifact label": _ARTIFACT,
    "artifact link": _ARTIFACT,
    "artifact protect": (Output("protection"),),
    "artifact restore": _ARTIFACT,
    "artifact lineage": (Output("lineage"),),
    "artifact scan": (Output("scan"),),
    "artifact keygen": (Output("key pair"),),
    "artifact sign": (Output("signature"),),
    "artifact gc": (Output("collection of garbage"),),
    "artifact cache clean": (Output("cleaning"),),
    "artifact cache cleanup": (Output("cleaning"),),
    "artifact cache info": (Output("cache"),),
    "agent list": (Output("agent", many=True),),
    "plugins list": (Output("plugin", many=True),),
    "plugins show": (
        Output("plugin", more={
            "config": "JSON Schema of its settings; null of a kind that has none: hook, media, secret.",
            "resource_args": "JSON Schema of a queue's config; null when there is none.",
            "capabilities": "What it can do; null where nothing is said.",
        }),
    ),
    "plugins check": (Output("check"),),
    "trigger create": (Output("trigger"),),
    "trigger list": (Output("trigger", many=True),),
    "trigger show": (Output("trigger"),),
    "budget list": (Output("budget", many=True),),
    "budget prices": (Output("prices"),),
    "access user create": (Output("user"),),
    "access user list": (Output("user", many=True),),
    "access key create": (Output("new key"),),
    "access key list": (Output("key", many=True),),
    "access member list": (Output("member", many=True),),
    "store blobs": (Output("place of blobs"),),
    "store copy": (Output("counts"),),
    "doctor": (Output("finding", many=True),),
}  # fmt: skip
"""What the commands print, by command."""


def undocumented(command: str, value: Any) -> set[str]:
    """Keys of what a command printed that are not described, or described and missing, in the case that fits best."""
    results = [_difference(output, value) for output in OUTPUTS.get(command, ())]
    return min(results, key=len, default={f"the command {command!r}"})


def _difference(output: Output, value: Any) -> set[str]:
    if output.many is not isinstance(value, list):
        return {"an array" if output.many else "no array"} | {f"case {number}" for number in range(9)}
    wanted = {**keys_of(output.shape), **output.more}.keys()
    items: Iterable[Mapping[str, Any]] = value if isinstance(value, list) else (value,)
    return set() if "*" in wanted else {key for item in items for key in item.keys() ^ wanted}
