"""Finding mistakes in configurations before anything is computed.

`WindlassArtifactConfiguration` checks itself. Plain dicts in metadata are checked here, all at once: from code with
`validate_definitions`, or on the command line with ``dagster-windlass-check -m my_project.definitions``.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from dagster_windlass.config import configuration_in, read_configuration, write_configuration
from dagster_windlass.errors import WindlassArtifactsIOManagerError
from dagster_windlass.names import artifact_name

__all__ = ["problems_of", "validate_definitions"]


def validate_definitions(definitions: dg.Definitions) -> dg.Definitions:
    """Check all configurations in the metadata of assets, ops and their inputs; returns the definitions.

    Use it around them, and loading fails when something does not fit::

        defs = validate_definitions(dg.Definitions(assets=[...], resources={...}))

    Raises:
        WindlassArtifactsIOManagerError: With every problem. Its code is that of the first.
    """
    problems = list(problems_of(definitions))
    if not problems:
        return definitions
    first = problems[0]
    if len(problems) == 1:
        raise first
    text = "\n".join(f"- {problem}" for problem in problems)
    raise WindlassArtifactsIOManagerError(f"{len(problems)} configurations do not fit:\n{text}", code=first.code)


def problems_of(definitions: dg.Definitions) -> Iterator[WindlassArtifactsIOManagerError]:
    """All problems."""
    repository: Any = definitions.get_repository_def()
    seen: dict[str, str] = {}
    for assets in repository.assets_defs_by_key.values():
        for key, metadata in assets.metadata_by_key.items():
            name = key.to_user_string()
            yield from _check(metadata, f"output of {name}", writing=assets.is_executable, named=True)
            if not assets.is_executable:
                continue
            stored = artifact_name(key.path)
            if seen.setdefault(stored, name) != name:
                yield WindlassArtifactsIOManagerError(
                    f"'{name}' and '{seen[stored]}' are both stored as '{stored}'", code="bad-configuration"
                )
    for job in repository.get_all_jobs():
        for op in job.all_node_defs:
            if not isinstance(op, dg.OpDefinition):
                continue
            of_assets = job.asset_layer.has_assets_defs if hasattr(job.asset_layer, "has_assets_defs") else False
            for one in op.input_defs:
                yield from _check(one.metadata, f"input {one.name} of {op.name}", writing=False, named=of_assets)
            if not of_assets:
                for out in op.output_defs:
                    yield from _check(out.metadata, f"output {out.name} of {op.name}", writing=True, named=False)


def check_outputs_of_step(context: dg.InputContext) -> None:
    """Check how the outputs of a step are to be stored, when its inputs are loaded: before it computes.

    Raises:
        WindlassArtifactsIOManagerError: The first problem.
    """
    try:
        step: Any = context.step_context
    except Exception:  # nothing executes
        return
    assets = getattr(step, "assets_def", None)
    if assets is not None:
        outputs = [(f"output of {key.to_user_string()}", found) for key, found in assets.metadata_by_key.items()]
    else:
        outputs = [(f"output of {out.name}", out.metadata) for out in step.op_def.output_defs]
    for where, metadata in outputs:
        for problem in _check(metadata, where, writing=True, named=assets is not None):
            raise problem


def _check(
    metadata: Mapping[str, Any] | None, where: str, *, writing: bool, named: bool
) -> Iterator[WindlassArtifactsIOManagerError]:
    try:
        given = configuration_in(metadata, where)
        config = write_configuration(given, where) if writing else read_configuration(given, where)
        if named and config.name:
            code = "name-of-asset" if writing else "name-of-asset-input"
            yield WindlassArtifactsIOManagerError(
                f"'{config.name}' is given as name, but the asset key is the name", code=code, where=where
            )
    except WindlassArtifactsIOManagerError as error:
        yield error


def main(arguments: list[str] | None = None) -> int:
    """The command ``dagster-windlass-check``; returns the exit code."""
    parser = argparse.ArgumentParser(prog="dagster-windlass-check", description=__doc__)
    parser.add_argument("-m", "--module", required=True, help="module that holds the definitions")
    parser.add_argument("-a", "--attribute", default="defs", help="name of the definitions in it (default: defs)")
    chosen = parser.parse_args(arguments)
    sys.path.insert(0, "")
    found = getattr(importlib.import_module(chosen.module), chosen.attribute)
    problems = list(problems_of(found() if callable(found) else found))
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    sys.stdout.write(f"{len(problems)} problems\n" if problems else "All configurations fit.\n")
    return 1 if problems else 0
