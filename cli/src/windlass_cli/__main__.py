"""``python -m windlass_cli``."""

from windlass_cli.main import main

main()
