"""Backends for tests: complete, without services, with a log of calls and faults on order. Each keeps its contract."""

from windlass_testkit.fakes.faults import Call, Crash, FakeClock, Faults, faulty

__all__ = ["PLUGIN_FILE", "Call", "Crash", "FakeClock", "Faults", "faulty"]

PLUGIN_FILE = __file__.replace("__init__.py", "plugin.py")
"""The fakes as plugins, for `App(plugins=…)` and for ``plugin_files`` of a contract class."""
