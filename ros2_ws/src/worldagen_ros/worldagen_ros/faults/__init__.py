"""Faults on a running stack: what is done to it, what is seen on the wire, and whether that is what was expected.

table.py      the faults, each with what is expected of it: data
relay.py      stands between publishers and subscribers, and drops, delays, corrupts what it passes on
watching.py   what the stack says, with the time at which it was sent
injecting.py  a stack of its own that faults are put into, and how each is undone
judging.py    expected against seen, in numbers: pure
campaign.py   many trials
report.py     what came of them, as JSON and as a page
"""
