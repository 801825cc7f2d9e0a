"""Arrows point one way: plugins → core; agent, cli, server, testkit, integrations → core. The graph stands here."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from .conftest import ROOT, STDLIB, Import, Member, imports, members, requirement_name, shown

ALLOWED = {
    "windlass-core": set(),
    "windlass-agent": {"windlass", "windlass_server"},  # it serves the API of an embedded store to its jobs
    "windlass-cli": {"windlass", "windlass_agent", "windlass_server"},  # it starts both
    "windlass-server": {"windlass"},
    "windlass-testkit": {"windlass"},
    "dagster-windlass": {"windlass", "windlass_agent"},
}
"""Import packages of Windlass that a distribution may use beside itself. A plugin may use core only."""

OPTIONAL = {
    "IPython", "PIL", "bokeh", "cryptography", "h5py", "keyring", "lz4", "matplotlib", "moviepy", "numpy", "onnx",
    "opentelemetry", "pandas", "plotly", "polars", "pyarrow", "rich", "sklearn", "soundfile", "torch", "tensorflow",
}  # fmt: skip
"""Packages whose objects core and the kit know when they are there. Imported inside functions only, never required."""

COMES_WITH = {"botocore": "boto3", "requests": "docker", "anyio": "starlette"}
"""Packages that are part of another's interface (its exceptions, its options) and are versioned by it."""

ROOMS = {
    "windlass.errors": {"windlass.errors"},
    "windlass.models": {"windlass.errors", "windlass.models"},
    "windlass.artifacts": {"!windlass.launch", "!windlass.sdk"},
    "windlass.launch": {"!windlass.sdk"},
    "windlass.config": {"windlass.errors", "windlass.config"},
}
"""Inside core: what a room may import at start-up; with ``!``, what it may not."""

INTERFACES = ("builders", "runners", "registries", "environments", "storage", "serializers", "blobs", "metastore")

by_name = pytest.mark.parametrize("member", members(), ids=lambda member: member.name)


def of(member: Member) -> list[tuple[Path, Import]]:
    return [(path, item) for path in member.modules() for item in imports(path)]


@by_name
def test_arrows(member: Member) -> None:
    allowed = ALLOWED.get(member.name, {"windlass"}) | {member.package, "windlass"}
    wrong = {
        f"{shown(path)} imports {item.module}"
        for path, item in of(member)
        if item.top.startswith(("windlass", "dagster_windlass")) and item.top not in allowed
    }
    assert not wrong, "\n".join(sorted(wrong))


@by_name
def test_imports_are_declared(member: Member) -> None:
    """What comes with core is no reason to use it, but for attrs: the plugin contract is written in it."""
    providers = {**importlib.metadata.packages_distributions(), **{m.package: [m.name] for m in members()}}
    declared = {requirement_name(requirement) for requirement in member.dependencies} | {"attrs"}
    wrong = set()
    for path, item in of(member):
        if item.top in STDLIB or item.top == member.package or (item.late and item.top in OPTIONAL):
            continue
        if item.late and item.top in ALLOWED.get(member.name, ()):
            continue  # a command of a part that is not installed says so
        offers = {requirement_name(name) for name in providers.get(item.top, [item.top])}
        offers |= {COMES_WITH[name] for name in offers & set(COMES_WITH)}
        if not offers & declared:
            wrong.add(
                f"{shown(path)} imports {item.top}, and {member.name} declares none of {', '.join(sorted(offers))}"
            )
    assert not wrong, "\n".join(sorted(wrong))


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_of_core(room: str) -> None:
    source = ROOT / "core" / "src" / room.replace(".", "/")
    rules = ROOMS[room]
    wrong = set()
    for path in source.rglob("*.py") if source.is_dir() else [source.with_suffix(".py")]:
        for item in imports(path):
            if item.late or item.top != "windlass":
                continue
            refused = any(f"{item.module}.".startswith(f"{rule[1:]}.") for rule in rules if rule.startswith("!"))
            given = [rule for rule in rules if not rule.startswith("!")]
            if refused or (given and not any(f"{item.module}.".startswith(f"{rule}.") for rule in given)):
                wrong.add(f"{shown(path)} imports {item.module}")
    assert not wrong, "\n".join(sorted(wrong))


def test_interfaces_could_stand_alone() -> None:
    """What plugin authors code against needs neither engine: it could become a distribution of its own."""
    rooms = ("artifacts", "launch", "sdk", "transfer", "trust")
    wrong = set()
    paths = [ROOT / "core/src/windlass" / f"{name}.py" for name in INTERFACES]
    for path in [*paths, *(ROOT / "core/src/windlass/plugins").glob("*.py")]:
        for item in imports(path):
            if not item.late and item.module.startswith(tuple(f"windlass.{room}" for room in rooms)):
                wrong.add(f"{shown(path)} imports {item.module}")
    assert not wrong, "\n".join(sorted(wrong))


def test_nobody_imports_private_names_of_others() -> None:
    wrong = set()
    for member in members():
        for path, item in of(member):
            foreign = item.top.startswith("windlass") and item.top != member.package
            if foreign and any(part.startswith("_") and part != "__version__" for part in item.module.split(".")):
                wrong.add(f"{shown(path)} imports {item.module}")
    assert not wrong, "\n".join(sorted(wrong))
