"""From what a program hands to ``run.log_artifact`` to an artifact."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from windlass.errors import UsageError

if TYPE_CHECKING:
    from windlass.artifacts.artifact import Artifact
    from windlass.plugins.app import App

__all__ = ["code_artifact", "make_artifact"]


def make_artifact(
    given: Any,
    *,
    name: str,
    type: str,
    run_id: str,
    app: App | None,
    serializer: str = "",
    parameters: Mapping[str, Any] | None = None,
) -> Artifact:
    """An artifact ready to be logged from an artifact, a path, a URI or any object. Raises `UsageError`."""
    from windlass.artifacts.artifact import Artifact

    if isinstance(given, Artifact):
        return given
    if isinstance(given, (str, os.PathLike)) and not serializer:
        return _from_path(os.fspath(given), name, type or "unspecified", run_id, app)
    if not name:
        raise UsageError(
            "an object needs a name to be stored under",
            where="log_artifact()",
            hint='Pass name="model".',
        )
    from windlass.artifacts.objects import qualified_name

    artifact = Artifact(name, type=type or "object", metadata={"python_type": qualified_name(given.__class__)})
    artifact.app = app
    path = artifact.add(given, name, serializer=serializer, parameters=parameters)
    record = cast("Mapping[str, Any]", (artifact.draft.items[path].extra or {})["object"])
    if record["kind"] == "python":
        artifact.metadata |= {"serializer": record["serializer"], **record["versions"]}
    return artifact


def _from_path(path: str, name: str, type: str, run_id: str, app: App | None) -> Artifact:
    from windlass.artifacts.artifact import Artifact

    is_uri = re.match(r"^[a-zA-Z][a-zA-Z0-9+.-]*://", path) is not None
    if not is_uri and not os.path.exists(path):
        raise UsageError(
            f"there is no file or directory '{path}'",
            where="log_artifact()",
            hint="Give an existing path; to store a text as an object, pass serializer=…",
        )
    base = os.path.basename(path.rstrip("/")) or os.path.basename(os.path.abspath(path)) or "artifact"
    artifact = Artifact(name or f"run-{run_id}-{re.sub(r'[^A-Za-z0-9_.-]', '_', base)}", type=type)
    artifact.app = app
    if is_uri:
        artifact.add_reference(path)
    elif os.path.isdir(path):
        artifact.add_dir(path)
    else:
        artifact.add_file(path)
    return artifact


def code_artifact(
    root: str, name: str, include: Callable[[str], bool] | None, exclude: Callable[[str], bool] | None
) -> Artifact | None:
    """The source code below `root` as an artifact, or None when there is none.

    By default that is what a job made from it needs: Python files and ``requirements.txt``, the notebook that runs, and
    the config files that were declared as inputs.
    """
    from windlass.artifacts.artifact import Artifact
    from windlass.launch.entry import entry_of_process
    from windlass.launch.ignore import LeftOut, code_files
    from windlass.sdk.launch import declared_files

    others = {os.path.abspath(path) for path in (entry_of_process().script, *declared_files()) if path}
    artifact = Artifact.internal(name, "code")
    found, left_out = False, LeftOut()
    for file in code_files(Path(root), left_out=left_out):
        path = os.path.join(root, file.path)
        ours = path.endswith((".py", "requirements.txt")) or os.path.abspath(path) in others
        if (include(path) if include else ours) and not (exclude and exclude(path)):
            artifact.add_file(str(file.source), name=file.path)
            found = True
    left_out.say(root)
    return artifact if found else None
