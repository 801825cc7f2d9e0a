"""``windlass plugins``."""

from __future__ import annotations

from typing import Any

import click

from windlass_cli import shapes
from windlass_cli.options import json_option
from windlass_cli.output import print_json, table
from windlass_cli.state import State, pass_state
from windlass_cli.tree import lazy_group


@lazy_group("plugins")
def plugins() -> None:
    """Installed plugins, their settings, and whether they work."""


@click.command()
@click.option("--kind", default="", help="Only this kind.")
@json_option
@pass_state
def list_(state: State, kind: str, as_json: bool) -> None:
    """List installed plugins, from their metadata: none is imported."""
    from windlass.plugins.plain import PLAIN_KINDS

    if kind and kind not in PLAIN_KINDS:
        state.app.catalog(kind)
    infos = [info for info in state.app.installed() if not kind or info.kind == kind]
    if as_json:
        print_json([shapes.plugin(info) for info in infos])
        return
    table(
        ("kind", "name", "summary", "distribution", "version"),
        [(i.kind, i.name, i.summary, i.distribution, i.version) for i in infos],
        empty="No plugins are installed. Install the local ones with: pip install windlass",
    )


@click.command()
@click.argument("kind")
@click.argument("name")
@json_option
@pass_state
def show(state: State, kind: str, name: str, as_json: bool) -> None:
    """Show the settings of the plugin NAME of KIND (builder, runner, registry …); with --json as JSON Schema."""
    from windlass.config.schema import json_schema
    from windlass.plugins.plain import PLAIN_KINDS, check_plain, plain_infos

    if kind in PLAIN_KINDS:
        for info in plain_infos(state.app.installed(), kind, name):
            check_plain(info)
            if as_json:
                print_json(shapes.plugin(info) | {"config": None, "resource_args": None, "capabilities": None})
                return
            click.echo(f"{kind} {name}: {info.summary}\n{info.distribution} {info.version}  ({info.target})")
        return
    catalog = state.app.catalog(kind)
    descriptor = catalog.get(name)
    info = catalog.info(name)
    args = getattr(descriptor, "resource_args", None)
    if as_json:
        shape = shapes.plugin(info) | {
            "summary": descriptor.summary,
            "config": json_schema(descriptor.config, f"{kind} {name}"),
            "resource_args": json_schema(args, f"{name} resource") if args is not None else None,
            "capabilities": _capabilities(descriptor),
        }
        print_json(shape)
        return
    click.echo(f"{kind} {name}: {descriptor.summary}\n{info.distribution} {info.version}  ({info.target})")
    click.echo()
    _keys("Settings", descriptor.config)
    if args is not None:
        click.echo()
        _keys("Resource arguments (queue config and --resource-args)", args)


def _keys(title: str, cls: type[Any]) -> None:
    from windlass.config.schema import keys

    infos = keys(cls)
    click.echo(f"{title}:" + ("" if infos else " none"))
    if infos:
        rows = [(k.name, k.type, "required" if k.required else _default(k.default), k.help) for k in infos]
        table(("key", "type", "default", "help"), rows, empty="")


def _default(value: Any) -> str:
    if value is None:
        return "-"
    return {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def _capabilities(descriptor: Any) -> Any:
    import attrs

    found: Any = getattr(descriptor, "capabilities", None)
    return attrs.asdict(found) if attrs.has(type(found)) else None


@click.command()
@click.argument("kind")
@click.argument("name")
@click.option("-c", "--config", "path", default="", metavar="FILE", help="YAML or JSON file with its settings.")
@json_option
@pass_state
def check(state: State, kind: str, name: str, path: str, as_json: bool) -> None:
    """Find out whether the plugin NAME of KIND would work: settings valid, service in reach, permissions given."""
    from windlass.config.converter import structure
    from windlass.config.document import Document, load
    from windlass.plugins.plain import PLAIN_KINDS, check_plain, plain_infos

    if kind in PLAIN_KINDS:
        for info in plain_infos(state.app.installed(), kind, name):
            check_plain(info)
        _works(kind, name, as_json)
        return
    catalog = state.app.catalog(kind)
    descriptor = catalog.get(name)
    document = load(path) if path else Document(data={})
    settings = document.data
    if isinstance(settings, dict) and "type" in settings:
        settings = {key: value for key, value in settings.items() if key != "type"}
    if kind == "metastore" and isinstance(settings, dict):
        settings = {"url": state.settings.store_url, **settings}
    structure(settings, descriptor.config, document=document)
    backend = state.app.create(kind, name, settings)
    try:
        verify = getattr(backend, "verify", None) if kind == "environment" else getattr(backend, "check", None)
        if verify is not None:
            verify()
    finally:
        close = getattr(backend, "close", None)
        if close is not None:
            close()
    _works(kind, name, as_json)


def _works(kind: str, name: str, as_json: bool) -> None:
    if as_json:
        print_json({"kind": kind, "name": name, "ok": True})
    else:
        click.echo(f"{kind} {name}: ok")
