"""The programs are for running: importing one would begin to be it."""

collect_ignore_glob = ["*.py"]
