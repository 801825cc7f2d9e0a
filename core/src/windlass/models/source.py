"""The code of a job. Every run that was launched has one in its spec, and only a job has the rest of a job."""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen


class SourceKind(StrEnum):
    """Where a job's code comes from."""

    GIT = "git"
    CODE = "code"
    IMAGE = "image"


@frozen(kw_only=True)
class JobSource:
    """Where the code is and how it starts. Exactly the fields of its `kind` are set.

    Attributes:
        kind: git, code or image.
        remote: git: https or ssh URL, or an absolute file path that was given explicitly.
        commit: git: full commit hash (40 or 64 hexadecimal digits).
        patch: git: path of an artifact of type ``code-patch`` with uncommitted changes (``git diff --binary``), or
            empty.
        artifact: code: artifact path ``entity/project/name:v<N>``.
        image: image: container image reference.
        entry_point: Command and leading arguments. Empty: the image's own.
        build_context: Sub-directory of the source that is the build context. Empty: the root.
        dockerfile: Path of the Dockerfile, relative to the build context. Empty: generated.
        base_image: Base of a generated Dockerfile. Empty: by Python version.
        python: Python version ``3.N`` the job wants. Empty: found in the source, else the agent's.
    """

    kind: SourceKind
    remote: str = ""
    commit: str = ""
    patch: str = ""
    artifact: str = ""
    image: str = ""
    entry_point: tuple[str, ...] = ()
    build_context: str = ""
    dockerfile: str = ""
    base_image: str = ""
    python: str = ""
