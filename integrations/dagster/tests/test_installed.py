"""Everything else here needs Dagster; where it is missing, this says so."""

from __future__ import annotations

import pytest


@pytest.mark.service("dagster")
def test_dagster_is_installed() -> None:
    import dagster_windlass

    assert dagster_windlass.WindlassArtifactsIOManager
