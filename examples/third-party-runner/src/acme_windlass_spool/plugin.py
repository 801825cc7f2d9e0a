"""The plugin: run jobs from a spool directory."""

from collections.abc import Iterator
from pathlib import Path

from acme_windlass_spool.config import SpoolArgs, SpoolConfig
from windlass.plugins import Context, RunnerPlugin, hookimpl
from windlass.runners import Runner, RunnerCapabilities


def _create(config: SpoolConfig, context: Context) -> Runner:
    from acme_windlass_spool.runner import SpoolRunner

    return SpoolRunner(Path(config.spool or context.settings.home / "spool"))


@hookimpl
def windlass_runners() -> Iterator[RunnerPlugin[SpoolConfig]]:
    """Yield the spool runner."""
    yield RunnerPlugin(
        name="spool",
        summary="Jobs in a spool directory of this host, one folder each.",
        config=SpoolConfig,
        create=_create,
        capabilities=RunnerCapabilities(needs_image=False, host_bound=True),
        resource_args=SpoolArgs,
    )
