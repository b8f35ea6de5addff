"""Entry point of `python -m optagent.cli`."""

from optagent.cli import main

main()
