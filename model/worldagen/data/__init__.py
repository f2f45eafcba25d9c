"""Recorded episodes, whatever they come from, as the windows a network trains on.

source (bags.py, calvin.py, libero.py, lerobot.py) -> Episode -> cache.py -> windows
"""
