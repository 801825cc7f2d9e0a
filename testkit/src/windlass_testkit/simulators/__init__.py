"""Stand-ins for cloud services, as real servers on the loopback interface.

Each module has pytest fixtures; a plugin's ``conftest.py`` imports those it needs::

    from windlass_testkit.simulators.aws import moto_server, s3_bucket  # noqa: F401
"""
