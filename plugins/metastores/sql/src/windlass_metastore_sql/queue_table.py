"""The table of queues, beside that of runs: who only looks at runs builds no class of queues."""

from windlass.models.queue import Queue
from windlass_metastore_sql.rows import Mapper

QUEUES = Mapper(Queue)
