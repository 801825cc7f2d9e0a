"""The same, under the Pipes protocol."""

import os
import sys
import time
from pathlib import Path

from dagster_pipes import open_dagster_pipes

with open_dagster_pipes() as pipes:
    pipes.log.info("begun")
    Path(sys.argv[1]).write_text(str(os.getpid()))
    time.sleep(300)
