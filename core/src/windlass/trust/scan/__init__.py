"""Tells what pickles would do, without doing it."""

from windlass.trust.scan.files import scan_file, scan_path
from windlass.trust.scan.report import CallFound, ImportFound, ScannedPickle, ScanReport, Verdict, render

__all__ = ["CallFound", "ImportFound", "ScanReport", "ScannedPickle", "Verdict", "render", "scan_file", "scan_path"]
