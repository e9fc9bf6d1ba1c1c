"""Run connaudit as `python -m connaudit`."""

from connaudit.cli.main import main

main()
