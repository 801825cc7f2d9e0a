"""Dagster Pipes over Windlass queues: the job reports logs, metadata and checks while it runs."""

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
from dagster._core.definitions.resource_annotation import TreatAsResourceParam
from dagster_pipes import PIPES_PROTOCOL_VERSION_FIELD, PipesDefaultMessageWriter

from dagster_windlass.client import WindlassClient
from dagster_windlass.errors import WindlassLaunchError
from dagster_windlass.launch.ops import LAUNCH_SCHEMA, launch_request
from dagster_windlass.launch.waiting import launch
from dagster_windlass.resources import WindlassResource

try:
    from dagster import PipesClientCompletedInvocation
except ImportError:  # Dagster 1.11
    from dagster._core.pipes.client import PipesClientCompletedInvocation

__all__ = ["PipesRunLogMessageReader", "PipesWindlassClient"]


class PipesRunLogMessageReader(dg.PipesMessageReader):
    """Finds the messages in the output of the run, where ``dagster-pipes`` writes them as lines of JSON.

    Nothing has to be shared with the job, so this works on every queue. Used for one run.
    """

    def __init__(self) -> None:
        self._handler: Any = None

    @contextlib.contextmanager
    def read_messages(self, handler: Any) -> Iterator[dict[str, Any]]:
        """Called by Dagster."""
        self._handler = handler
        try:
            yield {PipesDefaultMessageWriter.STDIO_KEY: PipesDefaultMessageWriter.STDOUT}
        finally:
            self._handler = None

    def sift(self, lines: Sequence[str]) -> list[str]:
        """Handle the messages among lines of output; returns the other lines."""
        return [line for line in lines if not self._is_message(line)]

    def _is_message(self, line: str) -> bool:
        if PIPES_PROTOCOL_VERSION_FIELD not in line:
            return False
        try:
            message = json.loads(line)
        except ValueError:
            return False
        if not isinstance(message, dict) or PIPES_PROTOCOL_VERSION_FIELD not in message:
            return False
        try:
            self._handler.handle_message(message)
        except Exception:  # a message that Dagster does not take must not end the run
            self._handler.report_pipes_framework_exception(type(self).__name__, sys.exc_info())
        return True

    def no_messages_debug_text(self) -> str:
        """Called by Dagster."""
        return "Attempted to read messages from the standard output of the Windlass run, one JSON object per line."


class PipesWindlassClient(dg.PipesClient, TreatAsResourceParam):
    """Runs jobs on Windlass queues under the Pipes protocol; the code needs only ``dagster-pipes``.

    Messages come back in the run's output, so the job may run anywhere; what else it prints is shown as its log. Pass a
    `message_reader` for another way. The queue must open the environment variables ``DAGSTER_PIPES_CONTEXT`` and
    ``DAGSTER_PIPES_MESSAGES`` to submitters (``open_fields: [env]``).

    Example::

        @dg.asset
        def model(context: dg.AssetExecutionContext, pipes: PipesWindlassClient):
            return pipes.run(
                context=context, uri="train/", entry_point=["python", "train.py"], queue="gpu"
            ).get_materialize_result()

    Args:
        windlass: The store.
        context_injector: How the job gets its context. Default: environment variables.
        message_reader: How its messages come back. Default: `PipesRunLogMessageReader`.
    """

    def __init__(
        self,
        windlass: WindlassResource | WindlassClient | None = None,
        context_injector: dg.PipesContextInjector | None = None,
        message_reader: dg.PipesMessageReader | None = None,
    ) -> None:
        self._windlass = windlass or WindlassResource()
        self._injector = context_injector or dg.PipesEnvContextInjector()
        self._reader = message_reader

    @classmethod
    def _is_dagster_maintained(cls) -> bool:
        return False

    def run(
        self,
        *,
        context: dg.OpExecutionContext | dg.AssetExecutionContext,
        extras: Mapping[str, Any] | None = None,
        entry_point: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **config: Any,
    ) -> PipesClientCompletedInvocation:
        """Launch a job and wait for its end. When Dagster cancels, the run is stopped.

        Args:
            context: Of the op or asset.
            extras: Values for the job's ``PipesContext.extras``.
            entry_point: The command.
            env: More environment variables.
            timeout: Seconds to wait; then the run is stopped.
            config: More keys as in the config of `run_launch_job`: ``uri``, ``queue``, ``resource_args`` …

        Raises:
            dagster.Failure: The run did not finish well.
            WindlassLaunchError: A key in `config` does not exist.
        """
        unknown = sorted(set(config) - set(LAUNCH_SCHEMA))
        if unknown:
            raise WindlassLaunchError(f"there is no argument '{unknown[0]}'", code="bad-launch", where="run()")
        given = self._windlass
        client = given if isinstance(given, WindlassClient) else given.client().scoped()
        reader = self._reader or PipesRunLogMessageReader()
        sift = reader.sift if isinstance(reader, PipesRunLogMessageReader) else None
        with dg.open_pipes_session(
            context=context, extras=dict(extras or {}), context_injector=self._injector, message_reader=reader
        ) as session:
            variables = {**(env or {}), **session.get_bootstrap_env_vars()}
            request = launch_request(client, {**config, "entry_point": list(entry_point), "env": variables})
            try:
                outcome = launch(client, request, context.log, timeout=timeout, sift=sift)
            finally:
                if client is not given:  # Dagster does not close what it was given as a plain object
                    client.close()
        return PipesClientCompletedInvocation(session, metadata=outcome.metadata(client))
