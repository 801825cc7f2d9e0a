"""What a run takes in and gives out as artifacts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from windlass.artifacts.names import words
from windlass.errors import UsageError
from windlass.models import INPUTS, noted
from windlass.sdk.identity import RunIdentity

if TYPE_CHECKING:
    from windlass.artifacts.artifact import Artifact
    from windlass.models.artifact import ArtifactVersion
    from windlass.plugins.app import App

__all__ = ["RunArtifacts"]


class RunArtifacts(RunIdentity):
    """The part of a run that deals with artifacts."""

    _attempt: int | None

    @abstractmethod
    def _usable(self, what: str) -> bool:
        """True when something can be recorded now. Raises `UsageError` when the run is over."""

    @property
    def app(self) -> App | None:
        """Plugins with the configs that this run sees; None when nothing is recorded."""
        return self._session.app if self._session else None

    def log_artifact(
        self,
        artifact_or_path: Any,
        name: str = "",
        type: str = "",
        aliases: str | Sequence[str] = (),
        tags: str | Sequence[str] = (),
        *,
        serializer: str = "",
        parameters: Mapping[str, Any] | None = None,
    ) -> Artifact:
        """Store a version of an artifact as an output of this run. Returns when it is visible.

        Args:
            artifact_or_path: An `Artifact`; the path of a file or directory; a URI, which is tracked by reference;
                or any object, which is written by a serializer.
            name: Name of the artifact. Default for paths: ``run-<id>-<file name>``. Needed for objects.
            type: Its type. Default ``unspecified``.
            aliases: Aliases beside ``latest``; one or several.
            tags: Tags of the version; one or several.
            serializer: Name of the serializer for an object. Default: the natural one for its type, else pickle.
            parameters: Passed to the serializer (``{"compress": 3}``).

        Raises:
            UsageError: There is no such file, or a name breaks the rules.
            StorageError, StoreError: It could not be stored; nothing is visible.
            FencedError: Another attempt of the run has taken over.
        """
        artifact = self._made(artifact_or_path, name, type, serializer=serializer, parameters=parameters)
        if not self._usable("log_artifact") or self._session is None:
            return artifact
        return self._session.engine.log(
            artifact,
            entity=self.entity,
            project=self.project,
            run=self.id,
            attempt=self._attempt,
            aliases=words(aliases),
            tags=words(tags),
        )

    def link_artifact(self, artifact: Artifact, target_path: str, aliases: str | Sequence[str] = ()) -> Artifact:
        """Make a version a version of another collection, too, such as that of the models in production.

        No byte is copied. The new version has a number, aliases and labels of its own, and stays when the one it came
        from is deleted; to unlink, delete it. Signatures are for the name that was signed: sign it anew.

        Args:
            artifact: A version; one that is not logged yet is logged by this run first.
            target_path: The other collection, ``[[entity/]project/]name``; it is made when there is none.
            aliases: Its aliases there beside ``latest``; one or several.

        Returns:
            The version in the other collection.

        Raises:
            UsageError: `target_path` is no collection, or one of another type.
            AccessError: You may not write there; the token of a launched run is good for its own project only.
        """
        if not self._usable("link_artifact") or self._session is None:
            return artifact
        from windlass.artifacts.linking import link

        return link(
            self._session.engine,
            artifact if artifact.logged else self.log_artifact(artifact),
            target_path,
            entity=self.entity,
            project=self.project,
            run=self.id,
            attempt=self._attempt,
            aliases=words(aliases),
        )

    def upsert_artifact(
        self, artifact_or_path: Any, name: str = "", type: str = "", *, distributed_id: str = ""
    ) -> Artifact:
        """Give this run's share of a version that several runs make together.

        Nothing is visible before one of them calls `finish_artifact`. Called again, it replaces this run's share.

        Args:
            artifact_or_path: See `log_artifact`; what this run contributes.
            name: See `log_artifact`.
            type: See `log_artifact`.
            distributed_id: What the runs agreed on. Default: their group.

        Raises:
            UsageError: Neither `distributed_id` nor a group is known.
        """
        artifact, group = self._made(artifact_or_path, name, type), self._agreed(distributed_id, "upsert_artifact")
        if self._usable("upsert_artifact") and self._session is not None:
            self._session.engine.add_part(artifact, group=group, part=self.id, entity=self.entity, project=self.project)
        return artifact

    def finish_artifact(
        self,
        artifact_or_path: Any,
        name: str = "",
        type: str = "",
        aliases: str | Sequence[str] = (),
        *,
        distributed_id: str = "",
    ) -> Artifact:
        """Make one version of all shares given by `upsert_artifact`, and of what the artifact holds itself.

        Args:
            artifact_or_path: See `log_artifact`.
            name: See `log_artifact`.
            type: See `log_artifact`.
            aliases: See `log_artifact`.
            distributed_id: What the runs agreed on. Default: their group.

        Raises:
            UsageError: There is no share, or two hold different content under one path (names both).
        """
        artifact, group = self._made(artifact_or_path, name, type), self._agreed(distributed_id, "finish_artifact")
        if not self._usable("finish_artifact") or self._session is None:
            return artifact
        return self._session.engine.finish(
            artifact,
            group=group,
            entity=self.entity,
            project=self.project,
            run=self.id,
            attempt=self._attempt,
            aliases=words(aliases),
        )

    def use_artifact(
        self, artifact_or_name: Artifact | str, type: str = "", aliases: str | Sequence[str] = ()
    ) -> Artifact:
        """Record that the run uses an artifact, and return it for reading.

        Args:
            artifact_or_name: ``name:alias``, ``project/name:v3``, ``entity/project/name@digest`` …; or an
                `Artifact`, which is logged first if it is new (content that is there already makes no new version).
            type: Expected type; another one is an error.
            aliases: Aliases to put on a new artifact.

        Raises:
            ArtifactNotFoundError: There is none; lists what is there.
            UsageError: Recording is disabled, or the type differs.
        """
        from windlass.artifacts.artifact import Artifact

        if self._session is None:
            raise UsageError("artifacts cannot be used while recording is disabled", hint="Unset WINDLASS_MODE.")
        self._usable("use_artifact")
        engine = self._session.engine
        if isinstance(artifact_or_name, str):
            found = engine.get(self._as_used(artifact_or_name), type=type, entity=self.entity, project=self.project)
        elif isinstance(artifact_or_name, Artifact):
            found = artifact_or_name
            if type and found.type != type:
                raise UsageError(f"'{found.name}' has the type '{found.type}', not '{type}'", where="use_artifact()")
            if not found.logged:
                found = engine.log(found, entity=self.entity, project=self.project, aliases=words(aliases))
        else:
            raise UsageError(
                f"an artifact is used by its name or as an Artifact, not as {artifact_or_name.__class__.__name__}",
                where="use_artifact()",
                hint='run.use_artifact("digits:latest")',
            )
        engine.use(found, self.id, self._attempt)
        return found

    def _as_used(self, name: str) -> str:
        pins = noted(self._record.config, INPUTS)
        if not pins:
            return name
        from windlass.launch.provenance import as_used

        return as_used(name, pins, entity=self.entity, project=self.project)

    def logged_artifacts(self) -> tuple[ArtifactVersion, ...]:
        """Versions this run has logged."""
        return self._session.versions_of(self.id, "output") if self._session else ()

    def used_artifacts(self) -> tuple[ArtifactVersion, ...]:
        """Versions this run has used."""
        return self._session.versions_of(self.id, "input") if self._session else ()

    def log_code(
        self,
        root: str | None = ".",
        name: str = "",
        include_fn: Callable[[str], bool] | None = None,
        exclude_fn: Callable[[str], bool] | None = None,
    ) -> Artifact | None:
        """Store the source code under `root` as an artifact of type ``code``.

        Args:
            root: Directory. What ``.gitignore`` and ``.windlassignore`` name is left out.
            name: Name of the artifact. Default ``source-<project>``.
            include_fn: Takes a path, says whether it belongs to the code. Default: Python files,
                ``requirements.txt``, the notebook that runs, and the config files declared as inputs.
            exclude_fn: Takes a path, says whether it is left out.

        Returns:
            The artifact, or None when no file was found.
        """
        from windlass.sdk.outputs import code_artifact

        artifact = code_artifact(root or ".", name or f"source-{self.project}", include_fn, exclude_fn)
        return None if artifact is None else self.log_artifact(artifact)

    def _made(self, given: Any, name: str, type: str, **how: Any) -> Artifact:
        from windlass.sdk.outputs import make_artifact

        return make_artifact(given, name=name, type=type, run_id=self.id, app=self.app, **how)

    def _agreed(self, distributed_id: str, what: str) -> str:
        if not (distributed_id or self.group):
            raise UsageError(
                "it is not said which runs make the version together",
                where=f"{what}()",
                hint="Pass distributed_id=…, the same in all runs, or give them a group: windlass.init(group=…).",
            )
        return distributed_id or self.group
