"""Configuration of the process runner."""

from __future__ import annotations

from attrs import frozen

from windlass.config import option


@frozen(kw_only=True)
class ProcessConfig:
    """The agent's settings, ``runners: {process: {…}}`` in launch-config.yaml."""

    allow_env: tuple[str, ...] = option(
        default=(),
        key="allow-env",
        help="Names (globs) of the agent's environment that a queue may pass on with `env: [NAME]`.",
    )
    pass_env: tuple[str, ...] = option(
        default=(),
        key="pass-env",
        help="Names (globs) of the agent's environment that every job gets, beside PATH, HOME, LANG and the like.",
    )


@frozen(kw_only=True)
class ProcessArgs:
    """What a queue's config may say for the resource ``process``."""

    env: tuple[str, ...] = option(
        default=(),
        help="Environment variables, `NAME=value`; a bare `NAME` is taken from the agent if it allows that name.",
    )
    cwd: str = option(default="", help="Working directory, relative to the job's code or absolute.")
    nice: int = option(default=0, minimum=0, maximum=19, help="Niceness added to the agent's.")
    cpus: float | None = option(
        default=None, minimum=0.01, help="Processor cores; the job is bound to as many, rounded up."
    )
    gpus: int | str | None = option(
        default=None,
        help="GPUs: a number, or `device=0,1`. An agent with `slots` chooses them, so that no two jobs share one; the "
        "job sees them in CUDA_VISIBLE_DEVICES.",
    )
    memory: str = option(
        default="",
        pattern=r"\d+(\.\d+)?\s*([kKmMgGtT]i?)?[bB]?",
        help="Address space of each process of the job, e.g. 512m or 4g; what asks for more gets an error.",
    )
