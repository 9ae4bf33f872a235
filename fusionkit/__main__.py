"""``python -m fusionkit`` is the command ``fusionkit``."""

from fusionkit.cli import main

main()
