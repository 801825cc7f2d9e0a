"""``windlass job``."""

from __future__ import annotations

from typing import Any

import click

from windlass_cli import shapes
from windlass_cli.options import entity_option, json_option, limit_option, project_option
from windlass_cli.output import ago, facts, print_json, table
from windlass_cli.state import State, pass_state
from windlass_cli.tree import lazy_group


@lazy_group("job")
def job() -> None:
    """Jobs: blueprints that can be launched again."""


@click.command()
@click.argument("kind", type=click.Choice(("git", "code", "image")))
@click.argument("path")
@click.option("-n", "-J", "--name", "--job-name", "job_name", default="", metavar="NAME",
              help="Name of the job. Default: made from the source.")  # fmt: skip
@click.option("-d", "--description", default="", help="For people.")
@click.option("-a", "--alias", "aliases", multiple=True, help="Alias beside latest. May be repeated.")
@click.option("-E", "--entry-point", default="", metavar="COMMAND", help='E.g. "python train.py".')
@click.option("-g", "--git-hash", default="", help="Branch, tag or commit of a git URI.")
@click.option("-r", "--runtime", "python", default="", metavar="3.N", help="Python version. Default: by the source.")
@click.option("-b", "--build-context", default="", metavar="DIR", help="Sub-directory that is the build context.")
@click.option("-D", "--dockerfile", default="", metavar="FILE", help="Relative to the build context.")
@click.option("-B", "--base-image", default="", metavar="IMAGE", help="Base of a generated Dockerfile.")
@entity_option
@project_option
@json_option
@pass_state
def create(state: State, /, kind: str, path: str, entity: str, project: str, as_json: bool, **given: Any) -> None:
    """Create a job of KIND (git, code or image) from PATH: a git URI, a directory, or an image."""
    from windlass.errors import ArtifactNotFoundError, UsageError
    from windlass.launch.drafts import make_draft, store_draft
    from windlass.launch.request import LaunchRequest
    from windlass.launch.uris import UriKind, classify
    from windlass_cli.git_hosts import signed_in

    if kind != "image":
        is_git = classify(path).kind is UriKind.GIT
        if is_git != (kind == "git"):
            right = "git" if is_git else "code"
            raise UsageError(
                f"{path!r} is no {'git URI' if kind == 'git' else 'directory here'}", where=f"job create {kind}",
                hint=f"windlass job create {right} {path}",
            )  # fmt: skip
    description = given["description"]
    request = signed_in(LaunchRequest(**{"image" if kind == "image" else "uri": path, **given}))
    entity, project = entity or state.settings.entity, project or state.settings.project
    draft = make_draft(request, engine=state.engine, settings=state.settings, entity=entity, project=project)
    try:
        before = state.engine.get(f"{entity}/{project}/{draft.name}").version
    except ArtifactNotFoundError:
        before = ""
    stored, _ = store_draft(
        draft, engine=state.engine, settings=state.settings, entity=entity, project=project, description=description
    )
    if as_json:
        print_json(shapes.artifact(state.engine.get(stored).info))
        return
    verb = "Created" if not before else "No changes in" if stored.endswith(f":{before}") else "Updated"
    click.echo(f"{verb} job {stored}")


@click.command()
@entity_option
@project_option
@limit_option
@json_option
@pass_state
def list_(state: State, entity: str, project: str, limit: int, as_json: bool) -> None:
    """List jobs and their versions, newest first."""
    from windlass.launch.jobs import list_jobs

    found = list_jobs(state.store, entity=entity or state.settings.entity, project=project, limit=limit)
    if as_json:
        print_json([shapes.artifact(item) for item in found])
        return
    table(
        ("name", "version", "aliases", "project", "created"),
        [(j.name, f"v{j.version}", ", ".join(j.aliases), j.project, ago(j.created_at)) for j in found],
        empty="There are no jobs. Make one with: windlass job create code DIRECTORY",
    )


@click.command()
@click.argument("path")
@entity_option
@project_option
@json_option
@pass_state
def describe(state: State, path: str, entity: str, project: str, as_json: bool) -> None:
    """Show what the job PATH ([[entity/]project/]name[:alias]) runs and which inputs it takes."""
    import attrs

    from windlass import wire
    from windlass.launch.jobs import describe_job

    found = describe_job(
        path, engine=state.engine, entity=entity or state.settings.entity, project=project or state.settings.project
    )
    source = {key: value for key, value in wire.to_plain(found.spec.source).items() if value}
    if as_json:
        print_json(
            {
                "path": found.path,
                "aliases": list(found.aliases),
                "description": found.description,
                "source": source,
                "inputs": [attrs.asdict(row) for row in found.inputs],
                "input_schemas": found.spec.input_schemas,
                "requirements": list(found.spec.requirements),
            }
        )
        return
    source["entry_point"] = " ".join(source.get("entry_point", ()))
    facts({"job": found.path, "aliases": ", ".join(found.aliases), "description": found.description, **source})
    if found.inputs:
        click.echo()
        table(
            ("input", "type", "default", "bounds", "description"),
            [
                (f"{i.file}: {i.path}" if i.file else i.path, i.type, i.default, i.bounds, i.description)
                for i in found.inputs
            ],
            empty="",
        )
