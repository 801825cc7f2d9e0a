"""Commands side by side, as one process: it ends when the first command ends or when it is told to, and all with it."""

import json
import signal
import subprocess
import sys

children = [subprocess.Popen(command) for command in json.loads(sys.argv[1])]
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
try:
    children[0].wait()
finally:
    for child in children:
        child.terminate()
    for child in children:
        child.wait()
