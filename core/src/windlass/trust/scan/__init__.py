"""Tells what pickles would do, without doing it."""

from windlass.trust.scan.files import report_of, scan_file, scan_path
from windlass.trust.scan.report import CallFound, ImportFound, ScannedPickle, ScanReport, Verdict, render

__all__ = [
    "CallFound",
    "ImportFound",
    "ScanReport",
    "ScannedPickle",
    "Verdict",
    "render",
    "report_of",
    "scan_file",
    "scan_path",
]
