"""What scripts/setup does. Runs on a bare Python 3.10, before anything is installed: standard library only."""
