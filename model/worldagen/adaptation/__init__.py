"""Test-time training: a recorded bag in, a small adapter of the world model out, judged before it may drive.

recipe.py -> windows.py -> trained.py (what is trained) -> update.py (the training) -> gate.py (the judgement) -> adapter.py
(the folder on disk) -> bank.py (swapping it into a running network). run.py is the way from one end to the other; worker.py and
process.py put it into a process of its own, for a robot that is moving meanwhile.
"""
