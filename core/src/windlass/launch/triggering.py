"""Making triggers: the request is resolved as for a launch, checked, and only then code and trigger are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from windlass.errors import UsageError
from windlass.launch.drafts import store_draft
from windlass.launch.submit import LaunchRequest, resolve
from windlass.models.schedule import Trigger, TriggerEvent
from windlass.schedule.triggers import check_trigger

if TYPE_CHECKING:
    from windlass.artifacts.engine import ArtifactEngine
    from windlass.metastore import MetadataStore
    from windlass.plugins.app import App

__all__ = ["create_trigger"]


def create_trigger(
    request: LaunchRequest,
    *,
    app: App,
    store: MetadataStore,
    engine: ArtifactEngine,
    name: str,
    event: TriggerEvent | str,
    artifact_name: str = "",
    artifact_type: str = "",
    artifact_project: str = "",
    alias: str = "",
    cron: str = "",
    timezone: str = "UTC",
) -> Trigger:
    """Make a trigger that launches `request` at each event; see `Trigger` for what the other arguments mean.

    Raises:
        UsageError: There is nothing to run, or no queue, or the trigger does not fit.
        ConfigError: The request does not fit. Nothing was stored.
        ConflictError: The name is taken.
    """
    if not (request.job or request.uri or request.image):
        raise UsageError("there is nothing to run", where="trigger create", hint="Give --job, --uri or --docker-image.")
    if not request.queue:
        raise UsageError("a trigger needs a queue", where="trigger create", hint="Give --queue.")
    found = resolve(request, app=app, store=store, engine=engine)
    item = found.item
    wanted = Trigger(
        entity=item.entity, name=name, event=TriggerEvent(event), queue=item.queue, spec=item.spec,
        artifact_name=artifact_name, artifact_type=artifact_type, artifact_project=artifact_project, alias=alias,
        cron=cron, timezone=timezone, project=item.project, run_name=item.name, author=item.author,
        priority=item.priority,
    )  # fmt: skip
    check_trigger(wanted)  # before code is stored for it
    path, source = store_draft(
        found.draft, engine=engine, settings=app.settings, entity=item.entity, project=item.project, description="",
    )  # fmt: skip
    return store.schedule.create_trigger(evolve(wanted, spec=evolve(item.spec, job=path, source=source)))
