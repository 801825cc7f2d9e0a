"""Names and files: who has seen one distribution has seen all."""

from __future__ import annotations

import tomllib

import pytest

import windlass

from .conftest import FOLDERS, ROOT, STDLIB, Import, Member, imports, members, requirement_name, shown

PLUGINS = [member for member in members() if member.is_plugin]
WITH_CODE = [member for member in members() if member.package]
MAIN_FILE = {kind: f"{kind}.py" for kind in FOLDERS.values()} | {"metastore": "store.py"}

by_name = pytest.mark.parametrize("member", members(), ids=lambda member: member.name)
plugins = pytest.mark.parametrize("member", PLUGINS, ids=lambda member: member.name)


@plugins
def test_plugin_names(member: Member) -> None:
    """``plugins/runners/process`` ⇔ windlass-runner-process ⇔ windlass_runner_process ⇔ the entry point process."""
    name = member.folder.name
    assert member.name == f"windlass-{member.kind}-{name}"
    points = member.project["entry-points"][f"windlass.{member.folder.parent.name}"]
    assert name in points
    assert all(target.startswith(f"{member.package}.") for target in points.values())
    assert points[name].startswith(f"{member.package}.plugin")


@plugins
def test_plugin_files(member: Member) -> None:
    wanted = ["plugin.py", "config.py", MAIN_FILE[member.kind]]
    missing = [name for name in wanted if not (member.source / name).is_file()]
    missing += [name for name in ("README.md", "tests/test_contract.py") if not (member.folder / name).is_file()]
    assert not missing


@plugins
def test_plugin_and_config_import_no_sdk(member: Member) -> None:
    wrong = {
        f"{shown(member.source / name)} imports {item.module}"
        for name in ("plugin.py", "config.py")
        for item in imports(member.source / name)
        if not item.late and not _light(item, member)
    }
    assert not wrong, "\n".join(sorted(wrong))


def _light(item: Import, member: Member) -> bool:
    return item.top in STDLIB or item.top in ("attrs", "windlass", member.package)


@by_name
def test_metadata(member: Member) -> None:
    assert member.project["requires-python"] == ">=3.11"
    assert member.project["license"] == "Apache-2.0"
    assert (member.folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes(), "it goes along in wheels"
    assert member.project["description"].endswith(".")
    assert (member.folder / member.project["readme"]).read_text(encoding="utf-8").startswith(f"# {member.name}\n")


@by_name
def test_typed(member: Member) -> None:
    if member.package:
        assert (member.source / "py.typed").is_file()


@by_name
def test_versions_go_in_lockstep(member: Member) -> None:
    assert member.project["version"] == windlass.__version__
    ours = {other.name for other in members()}
    for requirement in member.dependencies:
        assert "==" not in requirement, f"{requirement} pins a version"
        name = requirement_name(requirement)
        if name in ours:
            assert requirement.partition(">=")[2] == f"{windlass.__version__},<0.2", requirement
        else:
            assert ">=" in requirement, f"{requirement} has no lower bound"


def test_workspace_knows_all_members() -> None:
    root = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    missing = [member.name for member in members() if member.name not in root["tool"]["uv"]["sources"]]
    assert not missing, "add them to tool.uv.sources"


@pytest.mark.parametrize("member", WITH_CODE, ids=lambda member: member.name)
def test_wheels_hold_their_package_only(member: Member) -> None:
    wheel = member.pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["packages"] == [f"src/{member.package}"]
    assert sorted(p.name for p in (member.folder / "src").iterdir() if not p.name.startswith((".", "_"))) == [
        member.package
    ]
    assert not list((member.folder / "tests").rglob("__init__.py")), "tests are no package"


def test_core_knows_the_names_of_our_plugins() -> None:
    from windlass.plugins.lookup import OFFICIAL

    ours = {f"windlass-{kind}-{name}" for kind, names in OFFICIAL.items() for name in names}
    assert ours == {member.name for member in members() if "plugins" in member.folder.relative_to(ROOT).parts}
