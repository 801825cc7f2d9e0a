"""What a scan found; JSON by `windlass.wire`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum

from attrs import frozen


class Verdict(StrEnum):
    """From good to bad; what is put together has the worst verdict of its parts.

    ``safe``: only names on the allow-list. ``review``: other names; a person must look. ``unreadable``: it could not
    be analysed to its end, which hides anything. ``dangerous``: names that run programs or code.
    """

    SAFE = "safe"
    REVIEW = "review"
    UNREADABLE = "unreadable"
    DANGEROUS = "dangerous"


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst of some verdicts; ``safe`` of none."""
    return max(verdicts, key=list(Verdict).index, default=Verdict.SAFE)


@frozen(kw_only=True)
class ImportFound:
    """A name the pickle would import.

    Attributes:
        name: ``module.name``.
        verdict: ``safe`` (on the allow-list), ``review`` or ``dangerous``.
    """

    name: str
    verdict: Verdict


@frozen(kw_only=True)
class CallFound:
    """A call the pickle would make.

    Attributes:
        function: What would be called.
        arguments: The beginning of its arguments, for people.
    """

    function: str
    arguments: str = ""


@frozen(kw_only=True)
class ScannedPickle:
    """One pickle stream.

    Attributes:
        place: File, with ``!`` before each thing inside another (``model.npz!w.npy``).
        offset: Where in its file it begins, in bytes (after decompression).
        size: Its length in bytes, raw arrays left out.
        findings: What else is to be said, one sentence each.
    """

    place: str
    offset: int
    size: int
    verdict: Verdict
    imports: tuple[ImportFound, ...] = ()
    calls: tuple[CallFound, ...] = ()
    findings: tuple[str, ...] = ()


@frozen(kw_only=True)
class ScanReport:
    """The result of a scan.

    Attributes:
        target: What was scanned.
        verdict: The worst of all pickles.
        files: Number of files looked into.
        scanners: Who looked: ``windlass``, and ``fickling <version>`` when it is installed.
        pickles: All pickles found.
    """

    target: str
    verdict: Verdict
    files: int
    scanners: tuple[str, ...]
    pickles: tuple[ScannedPickle, ...] = ()


def render(report: ScanReport) -> Iterator[str]:
    """The report as lines for people."""
    files = "1 file" if report.files == 1 else f"{report.files} files"
    pickles = "1 pickle" if len(report.pickles) == 1 else f"{len(report.pickles)} pickles"
    yield f"{report.target}: {report.verdict} ({pickles} in {files}; scanned by {', '.join(report.scanners)})"
    for pickle in report.pickles:
        yield f"  {pickle.place} @{pickle.offset}: {pickle.verdict}"
        for found in pickle.imports:
            yield f"    import {found.name}  [{found.verdict}]"
        for call in pickle.calls:
            yield f"    call   {call.function}({call.arguments})"
        for finding in pickle.findings:
            yield f"    note   {finding}"
