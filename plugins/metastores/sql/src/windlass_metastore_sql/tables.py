"""The tables that the ways of a run share."""

from windlass.models.queue import Queue
from windlass.models.run import Run
from windlass_metastore_sql.rows import Mapper

RUNS, QUEUES = Mapper(Run), Mapper(Queue)
