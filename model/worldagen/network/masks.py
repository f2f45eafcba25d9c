"""Who may attend to whom: the one mask of the network, as a table of rules and the table's expansion to tokens.

Read RULES beside section 4.1 of the specification: a row is the token that asks, a column the token that is read. Nothing of
a later unit is ever read, and prediction tokens are pure readers: nobody reads them, not even they themselves.

Legend: L tokens in the window; i is the unit of the asking token, j the unit of the token that is read.
"""

from enum import Enum

import numpy as np

from worldagen.network.layout import Group, Layout


class Reach(Enum):
    """Which units of a group may be read."""

    NEVER = "never"
    PAST = "j < i"
    NOW = "j <= i"
    OWN = "j = i"


NEVER, PAST, NOW, OWN = Reach

# The image column and rows of the specification stand for latents and cls alike.
# fmt: off
RULES = {
    #                         text   state  action image
    Group.TEXT:              (NOW,   NEVER, PAST,  NEVER),
    Group.STATE:             (NEVER, NOW,   PAST,  NOW),
    Group.LATENT:            (NEVER, NOW,   PAST,  NOW),
    Group.CLS:               (NEVER, NOW,   PAST,  NOW),
    Group.ACTION:            (NOW,   NOW,   NOW,   NOW),
    Group.IMAGE_PREDICTION:  (NEVER, NOW,   NOW,   NOW),
    Group.STATE_PREDICTION:  (NEVER, NOW,   NOW,   NOW),
    Group.ACTION_PREDICTION: (NOW,   NOW,   PAST,  NOW),
}

# What goal attention changes (section 4.3): no history for predicted observations, no text for predicted actions.
GOAL_RULES = RULES | {
    Group.IMAGE_PREDICTION:  (NEVER, OWN,   OWN,   OWN),
    Group.STATE_PREDICTION:  (NEVER, OWN,   OWN,   OWN),
    Group.ACTION_PREDICTION: (NEVER, NOW,   PAST,  NOW),
}
# fmt: on

# The column of the table that a group is read through; prediction tokens have none.
_COLUMN = {Group.TEXT: 0, Group.STATE: 1, Group.ACTION: 2, Group.LATENT: 3, Group.CLS: 3}


def reach(asking: Group, read: Group, goal_attention: bool = False) -> Reach:
    """Which units of the group `read` a token of the group `asking` may attend to."""
    if read not in _COLUMN:
        return Reach.NEVER
    return (GOAL_RULES if goal_attention else RULES)[asking][_COLUMN[read]]


def build_mask(layout: Layout, goal_attention: bool = False) -> np.ndarray:
    """(L, L) bool: True where the token of that row may attend to the token of that column."""
    unit, group = layout.unit_of(), layout.group_of()  # (L,), (L,)
    i, j = unit[:, None], unit[None, :]
    within = {Reach.NEVER: np.zeros_like(i == j), Reach.PAST: j < i, Reach.NOW: j <= i, Reach.OWN: j == i}
    mask = np.zeros((layout.length, layout.length), dtype=bool)
    for row, asking in enumerate(Group):
        for column, read in enumerate(Group):
            cells = (group == row)[:, None] & (group == column)[None, :]
            mask |= cells & within[reach(asking, read, goal_attention)]
    return mask
