"""``python -m laptime``: so that launchers which start Python can start laptime."""

from laptime.cli.main import main

main()
