"""The plugin: run jobs as supervised processes on this machine."""

from __future__ import annotations

from collections.abc import Iterable

from windlass.plugins import Context, RunnerPlugin, hookimpl
from windlass.runners import Runner, RunnerCapabilities
from windlass_runner_process.config import ProcessArgs, ProcessConfig


def _create(config: ProcessConfig, context: Context) -> Runner:
    from windlass_runner_process.runner import ProcessRunner

    return ProcessRunner(config, context)


@hookimpl
def windlass_runners() -> Iterable[RunnerPlugin[ProcessConfig]]:
    """Yield the process runner."""
    yield RunnerPlugin(
        name="process",
        summary="Processes on this machine, each in its own session and directory.",
        config=ProcessConfig,
        create=_create,
        capabilities=RunnerCapabilities(needs_image=False, host_bound=True, usage=True),
        resource_args=ProcessArgs,
    )
