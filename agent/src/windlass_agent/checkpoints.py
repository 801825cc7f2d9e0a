"""What the attempts of one run hand on: a directory of this host, for runners whose jobs live on it."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from windlass.models.run import RunState
from windlass.runners import Mount

if TYPE_CHECKING:
    from windlass.models.run import Run
    from windlass.runners import RunnerCapabilities
    from windlass_agent.services import Services

__all__ = ["for_job", "tidy"]

_VARIABLE = "WINDLASS_CHECKPOINT_DIR"
_TARGET = "/run/windlass-checkpoint"


def _folder(services: Services, run: Run) -> Path:
    return services.app.settings.home / "checkpoints" / run.id


def for_job(services: Services, run: Run, capabilities: RunnerCapabilities) -> tuple[dict[str, str], tuple[Mount, ...]]:
    """Variables and paths that lead a job to its predecessor's checkpoint; none for runners of other machines."""
    if not capabilities.host_bound or (capabilities.needs_image and not capabilities.local_mounts):
        return {}, ()
    folder = _folder(services, run)
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o711)
    folder.mkdir(exist_ok=True)
    with contextlib.suppress(PermissionError):
        folder.chmod(0o777)  # the job in the container is another user
    if not capabilities.needs_image:
        return {_VARIABLE: str(folder)}, ()
    return {_VARIABLE: _TARGET}, (Mount(source=str(folder), target=_TARGET, read_only=False),)


def tidy(services: Services, run: Run) -> None:
    """Remove the checkpoint of a run that reached its end; of others that are over only an empty one."""
    folder = _folder(services, run)
    if run.state is RunState.FINISHED:
        shutil.rmtree(folder, ignore_errors=True)
    elif run.state.is_terminal:
        with contextlib.suppress(OSError):
            folder.rmdir()
