"""What users may set."""

from attrs import frozen

from windlass.config import option


@frozen(kw_only=True)
class SpoolConfig:
    """Settings of the spool runner."""

    spool: str = option(default="", help="Directory of the spool; default: `spool` in WINDLASS_HOME.")


@frozen(kw_only=True)
class SpoolArgs:
    """Queue config of the spool runner."""

    nice: int = option(default=0, help="Niceness of the job, 0 to 19.", minimum=0, maximum=19)
