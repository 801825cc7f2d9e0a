"""The table of runs."""

from windlass.models.run import Run
from windlass_metastore_sql.rows import Mapper

RUNS = Mapper(Run)
