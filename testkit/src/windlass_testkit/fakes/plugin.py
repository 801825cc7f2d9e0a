"""The fakes as plugins: ``windlass --plugin …/fakes/plugin.py``, or ``plugin_files`` of a contract class."""

from __future__ import annotations

from collections.abc import Iterator

from windlass.plugins import Context, RunnerPlugin, hookimpl
from windlass.runners import Runner, RunnerCapabilities
from windlass_testkit.fakes.runner import FakeResourceArgs, FakeRunnerConfig


def _runner(config: FakeRunnerConfig, context: Context) -> Runner:
    from windlass_testkit.fakes.runner import FakeRunner, cluster_named

    return FakeRunner(cluster_named(config.cluster or str(context.settings.home)))


@hookimpl
def windlass_runners() -> Iterator[RunnerPlugin[FakeRunnerConfig]]:
    """Yield the fake runner."""
    yield RunnerPlugin(
        name="fake",
        summary="Runs jobs as processes that only this process knows of.",
        config=FakeRunnerConfig,
        create=_runner,
        capabilities=RunnerCapabilities(needs_image=False, host_bound=True),
        resource_args=FakeResourceArgs,
    )
