"""A simulator in a process of its own, and if need be in a Python environment of its own, behind the same protocol.

wire.py         what is said between the two processes, and how
picture_pool.py the memory that both see, for pictures
worker.py       the simulator's side: serves one Environment
environment.py  our side: an Environment that asks the worker
process.py      how the worker's process is started, watched and ended
"""
