"""One pickle stream after the other: what is recorded becomes a report, with a second opinion where there is one."""

from __future__ import annotations

import ast
import io
import os
from collections.abc import Iterator
from importlib import metadata
from typing import BinaryIO

from windlass.trust.scan.allow import judge
from windlass.trust.scan.recorder import CannotFollow, Recorder
from windlass.trust.scan.report import CallFound, ImportFound, ScannedPickle, Verdict, worst

_CONTAINER_MARK = b"windlass-pickle1"
_CONTAINER_TAIL = 32  # length of the stream and number of buffers (u64 each), mark
_MAX_DEPTH = 8
_MAX_FICKLING = 32 << 20
_MALICIOUS = ("LIKELY_OVERTLY_MALICIOUS", "OVERTLY_MALICIOUS")


def scan_streams(
    file: BinaryIO, place: str, *, certain: bool, joblib: bool = False, allow: tuple[str, ...] = (), depth: int = 0
) -> Iterator[ScannedPickle]:
    """Report all pickles from the current position of a file to its end.

    Args:
        file: Seekable.
        place: For the reports.
        certain: It must be a pickle. If not, bytes that are none, or that do nothing, give no report.
        joblib: It is to be read by joblib, which has raw arrays between the opcodes.
        allow: More allowed names.
        depth: How deep it is nested in other pickles.
    """
    end, buffers = _end_of_streams(file)
    first = True
    while (offset := file.tell()) < end or first:
        recorder = Recorder(file, joblib=joblib)
        problem = ""
        try:
            recorder.follow()
        except CannotFollow as error:
            problem = str(error)
        if file.tell() > end and not problem:
            problem = "it goes on beyond its end"
        # Text may begin like a pickle that imports something; a pickle that does harm also calls something.
        if first and not certain and not (recorder.calls if problem else recorder.imports):
            return
        if problem and not first and not recorder.imports and not recorder.calls:
            yield ScannedPickle(
                place=place,
                offset=offset,
                size=end - offset,
                verdict=Verdict.UNREADABLE,
                findings=(f"{end - offset} bytes follow that are no pickle",),
            )
            return
        yield from _report(recorder, place, offset, problem, buffers, allow, depth)
        if problem:
            return
        first = False


def fickling_version() -> str:
    """The version of fickling, or an empty text if it is not installed."""
    try:
        return metadata.version("fickling")
    except metadata.PackageNotFoundError:
        return ""


def _report(
    recorder: Recorder, place: str, offset: int, problem: str, buffers: int, allow: tuple[str, ...], depth: int
) -> Iterator[ScannedPickle]:
    imports = [
        ImportFound(name=f"{module}.{name}", verdict=judge(module, name, allow)) for module, name in recorder.imports
    ]
    findings = [f"{buffers} buffers out of band"] if buffers else []
    verdicts: list[Verdict] = []
    if recorder.cuts:
        findings.append(f"{len(recorder.cuts)} raw arrays passed over; this holds only when joblib reads it")
    if recorder.changed:
        findings.append(f"it would change {', '.join(dict.fromkeys(recorder.changed))}")
        verdicts.append(Verdict.DANGEROUS)
    if problem:
        findings.append(f"it cannot be followed to its end: {problem}")
        verdicts.append(Verdict.UNREADABLE)
    position = recorder.file.tell()
    size = max(position - offset - sum(end - begin for begin, end in recorder.cuts), 0)
    malicious, opinion, unseen = _second_opinion(recorder, offset, position, size)
    imports += [ImportFound(name=f"{module}.{name}", verdict=judge(module, name, allow)) for module, name in unseen]
    verdicts += [found.verdict for found in imports]
    # It calls joblib malicious, whatever it is used for; so alone it does not decide.
    if malicious and worst(verdicts) is not Verdict.SAFE and not (recorder.cuts or recorder.inner):
        verdicts.append(Verdict.DANGEROUS)
    elif malicious:
        opinion += ", as of all that uses joblib; this alone does not decide"
    findings += [opinion] if opinion else []
    recorder.file.seek(position)
    yield ScannedPickle(
        place=place,
        offset=offset,
        size=size,
        verdict=worst(verdicts),
        imports=tuple(imports),
        calls=tuple(CallFound(function=function, arguments=arguments) for function, arguments in recorder.calls),
        findings=tuple(findings),
    )
    for payload in recorder.payloads:
        inner = f"{place}!nested"
        if depth >= _MAX_DEPTH:
            yield ScannedPickle(
                place=inner, offset=0, size=len(payload), verdict=Verdict.UNREADABLE, findings=("nested too deep",)
            )
            return
        yield from scan_streams(io.BytesIO(payload), inner, certain=False, allow=allow, depth=depth + 1)


def _end_of_streams(file: BinaryIO) -> tuple[int, int]:
    """Where the pickles end, and how many out-of-band buffers lie behind them."""
    start = file.tell()
    end = file.seek(0, os.SEEK_END)
    buffers = 0
    if end - start >= _CONTAINER_TAIL:
        file.seek(end - _CONTAINER_TAIL)
        tail = file.read(_CONTAINER_TAIL)
        stream = int.from_bytes(tail[:8], "little")
        if tail[16:] == _CONTAINER_MARK and start + stream <= end - _CONTAINER_TAIL:
            end, buffers = start + stream, int.from_bytes(tail[8:16], "little")
    file.seek(start)
    return end, buffers


def _second_opinion(recorder: Recorder, offset: int, end: int, size: int) -> tuple[bool, str, set[tuple[str, str]]]:
    """Whether fickling calls the stream malicious, its words, and imports that only it sees.

    It gets the stream without what joblib puts between the opcodes.
    """
    if not fickling_version():
        return False, "", set()
    if size > _MAX_FICKLING:
        return False, f"too long for fickling ({size} bytes)", set()
    parts, position = [], offset
    for begin, stop in [*sorted(recorder.cuts + recorder.inner), (end, end)]:
        recorder.file.seek(position)
        parts.append(recorder.file.read(max(begin - position, 0)))
        position = stop
    try:
        from fickling.analysis import check_safety
        from fickling.fickle import Pickled

        pickled = Pickled.load(b"".join(parts), fail_on_decode_error=False)
        severity = check_safety(pickled).severity.name
        seen = {
            (node.module, alias.name)
            for node in pickled.properties.imports
            if isinstance(node, ast.ImportFrom) and node.module
            for alias in node.names
        }
    except Exception as error:  # a scanner that gives up has no opinion; the verdict does not rest on it
        return False, f"fickling gave up: {type(error).__name__}", set()
    return severity in _MALICIOUS, f"fickling: {severity.lower().replace('_', ' ')}", seen - set(recorder.imports)
