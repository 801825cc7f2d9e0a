"""``windlass artifact``: compare, verify, repair, lineage."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from windlass.errors import UsageError
from windlass_cli import shapes
from windlass_cli.options import json_option
from windlass_cli.output import json_text, note, print_json, size, table
from windlass_cli.progress import Progress
from windlass_cli.state import State, pass_state

if TYPE_CHECKING:
    from windlass.artifacts.artifact import Artifact
    from windlass.artifacts.lineage import LineageNode


def find(state: State, path: str) -> Artifact:
    """The version that a word on the command line names."""
    return state.engine.get(path, entity=state.settings.entity, project=state.settings.project)


@click.command()
@click.argument("old")
@click.argument("new")
@json_option
@pass_state
def diff(state: State, old: str, new: str, as_json: bool) -> None:
    """Compare the versions OLD and NEW: which entries and metadata were added, removed or changed."""
    first, second = (find(state, path) for path in (old, new))
    before, after = ({entry.path: entry for entry in found.entries()} for found in (first, second))
    was, now = first.metadata, second.metadata
    facts = {key: [was.get(key), now.get(key)] for key in sorted({**was, **now}) if was.get(key) != now.get(key)}
    added = sorted(after.keys() - before.keys())
    removed = sorted(before.keys() - after.keys())
    both = after.keys() & before.keys()
    changed = sorted(path for path in both if not after[path].is_same(before[path]))
    if as_json:
        print_json({"added": added, "removed": removed, "changed": changed, "metadata": facts})
        return
    rows = [
        *(("+", path, "-", size(after[path].size)) for path in added),
        *(("-", path, size(before[path].size), "-") for path in removed),
        *(("~", path, size(before[path].size), size(after[path].size)) for path in changed),
        *(("~", f"metadata {key}", json_text(values[0]), json_text(values[1])) for key, values in facts.items()),
    ]
    table(("", "path", "old", "new"), rows, empty="They hold the same.")


@click.command()
@click.argument("path")
@click.option("--root", default="", metavar="DIR", help="Compare this directory with the version, not the store.")
@click.option("--signed", is_flag=True, help="Fail unless a key that trust.yaml names has signed it.")
@json_option
@click.pass_context
def verify(context: click.Context, path: str, root: str, signed: bool, as_json: bool) -> None:
    """Read every byte of the version PATH and compare it with its digest; check its signatures, too.

    All that is damaged is named. Nothing is written.
    """
    from windlass.trust.policy import load_policy, signer_of

    state = context.find_object(State)
    assert state is not None
    found = find(state, path)
    key = signer_of(found.info, load_policy(state.settings.home), required=signed)
    problems: list[str] = []
    if root:
        state.engine.verify(found.manifest, os.path.abspath(root))
    else:
        found.check_manifest()
        with Progress("read", found.size) as progress:
            problems = [str(error) for error in state.engine.damages(found.manifest, done=progress)]
    signer = key.name or key.id if key else ""
    if as_json:
        facts = {"path": found.info.path, "ok": not problems, "entries": found.info.entries}
        print_json(facts | {"size": shapes.size(found.info.size), "problems": problems, "signed_by": signer or None})
    elif not problems:
        by = f", signed by {signer}" if signer else ""
        click.echo(f"{found.info.path}: {found.info.entries} entries, {size(found.info.size)}, all as recorded{by}")
    if problems:
        for problem in problems:
            note(problem)
        note(f"{found.info.path}: {len(problems)} of {found.info.entries} entries are damaged.")
        context.exit(1)


@click.command()
@click.argument("path")
@click.option(
    "--from", "source", default="", metavar="PATH", help="A directory with its files or some of them, or a file."
)
@json_option
@click.pass_context
def repair(context: click.Context, path: str, source: str, as_json: bool) -> None:
    """Make damaged or lost bytes of the version PATH whole again, from files that still have the content.

    Content is looked for below PATH (under whatever name), in the cache and in what is left, and is proven before it is
    stored. Every version that shares the bytes is whole again; signatures stay valid.
    """
    from windlass.artifacts.repair import repair as work

    state = context.find_object(State)
    assert state is not None
    if source and not os.path.exists(source):
        raise UsageError(f"there is no '{source}'", where="--from", hint="Give what holds files of the version.")
    found = find(state, path)
    with Progress("read", found.size) as progress:
        done = work(state.engine, found.info, source and os.path.abspath(source), done=progress)
    if as_json:
        print_json({"path": found.info.path, "blobs": done.blobs, "restored": done.restored, "lost": done.lost})
    elif not done.restored and not done.lost:
        click.echo(f"{found.info.path}: all {done.blobs} blobs are whole")
    else:
        click.echo(f"{found.info.path}: {len(done.restored)} of {done.blobs} blobs were restored")
    if done.lost:
        for paths in done.lost.values():
            more = f" and {len(paths) - 5} more" if len(paths) > 5 else ""
            note(f"still damaged: {', '.join(paths[:5])}{more}")
        note("Give a directory that holds these files as they were: --from PATH.")
        context.exit(1)


@click.command()
@click.argument("path")
@click.option(
    "--depth",
    default=20,
    type=click.IntRange(1),
    show_default=True,
    help="Steps to go; a run and an artifact are one each.",
)
@click.option("--openlineage", is_flag=True, help="Print OpenLineage run events, one JSON document a line.")
@json_option
@pass_state
def lineage(state: State, path: str, depth: int, openlineage: bool, as_json: bool) -> None:
    """Show what the version PATH was made from, and what was made from it."""
    from windlass.artifacts.lineage import lineage_tree, openlineage_events

    found = find(state, path).info
    up, down = (lineage_tree(state.store, found, direction=way, depth=depth) for way in ("up", "down"))
    if openlineage:
        import json

        seen: set[str] = set()
        for event in (*openlineage_events(state.store, up), *openlineage_events(state.store, down)):
            if event["run"]["runId"] not in seen:
                seen.add(event["run"]["runId"])
                click.echo(json.dumps(event))
        return
    if as_json:
        edges = state.store.artifacts.edges(version_id=found.id)
        shape = {"path": found.path, "edges": [shapes.edge(edge, found.path) for edge in edges]}
        print_json(shape | {"up": _plain(up), "down": _plain(down)})
        return
    click.echo(f"{found.path}  {found.type}")
    if not up.children and not down.children:
        note(f"No run made or used {found.path}.")
    _branches(up, "", {"run": "made by", "artifact": "from"}, more=bool(down.children))
    _branches(down, "", {"run": "used by", "artifact": "gave"}, more=False)


def _plain(node: LineageNode) -> dict[str, Any]:
    return {
        "kind": node.kind,
        "id": node.id,
        "name": node.name,
        "type": node.type,
        "job": node.job,
        "repeated": node.repeated,
        "children": [_plain(child) for child in node.children],
    }


def _branches(node: LineageNode, indent: str, words: dict[str, str], *, more: bool) -> None:
    """Print what hangs below a node. `more`: other branches of it follow."""
    for index, child in enumerate(node.children):
        last = index == len(node.children) - 1 and not more
        tail = f"  {child.job}" if child.job else ""
        tail += "  (see above)" if child.repeated and child.kind == "artifact" else ""
        name = child.id if child.kind == "run" and child.name == child.id else child.name
        click.echo(f"{indent}{'└─' if last else '├─'} {words[child.kind]} {name}  {child.type}{tail}")
        _branches(child, indent + ("   " if last else "│  "), words, more=False)
