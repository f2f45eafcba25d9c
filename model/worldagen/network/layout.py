"""Where every token of the window stands: the groups of a unit, in order, and the index ranges they occupy.

A window is K units in time order; a unit is its groups in the order of `Group`. For n > 1 the latents go frame by frame,
static view before wrist view; the cls tokens likewise; the observation-prediction tokens likewise. Indices count tokens of
the whole window and are the tokens' rotary positions, so a token that is dropped leaves a gap and moves nobody.

Legend: K units, n frames and m action rows per unit, q latents per picture, L tokens in the window.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

import numpy as np

from worldagen.network.config import VIEWS, NetworkConfig


class Group(Enum):
    """A kind of token. The order of the members is the order inside a unit."""

    TEXT = "text"
    STATE = "state"
    ACTION = "action"
    LATENT = "image latents"
    CLS = "image cls"
    IMAGE_PREDICTION = "image prediction"
    STATE_PREDICTION = "state prediction"
    ACTION_PREDICTION = "action prediction"


CONTEXT_GROUPS = (Group.TEXT, Group.STATE, Group.ACTION, Group.LATENT, Group.CLS)
PREDICTION_GROUPS = (Group.IMAGE_PREDICTION, Group.STATE_PREDICTION, Group.ACTION_PREDICTION)


@dataclass(frozen=True)
class Layout:
    """The token layout of a window of `units` units; `counts` has an entry for every group, in unit order."""

    units: int
    counts: tuple[int, ...]

    @classmethod
    def of(cls, config: NetworkConfig) -> "Layout":
        """The layout of that network; numbers as in section 3 of the specification."""
        n, m, views = config.frames, config.rows, len(VIEWS)
        counts = {
            Group.TEXT: 1,
            Group.STATE: n,
            Group.ACTION: m,
            Group.LATENT: views * config.resampler.queries * n,
            Group.CLS: views * n,
            Group.IMAGE_PREDICTION: views * config.image_head.tokens * n if config.image_prediction else 0,
            Group.STATE_PREDICTION: n if config.state_prediction else 0,
            Group.ACTION_PREDICTION: m * config.action_steps,
        }
        return cls(config.units, tuple(counts[group] for group in Group))

    def count(self, group: Group) -> int:
        """Tokens of that group in one unit."""
        return self.counts[list(Group).index(group)]

    @property
    def unit_length(self) -> int:
        """Tokens of one unit."""
        return sum(self.counts)

    @property
    def length(self) -> int:
        """L, the tokens of the whole window."""
        return self.units * self.unit_length

    def span(self, group: Group) -> slice:
        """The range of that group inside a unit."""
        start = sum(self.counts[: list(Group).index(group)])
        return slice(start, start + self.count(group))

    def indices(self, unit: int, groups: Iterable[Group]) -> np.ndarray:
        """Window indices of those groups of one unit, ascending."""
        ranges = [
            np.arange(self.length)[unit * self.unit_length :][self.span(group)] for group in Group if group in set(groups)
        ]
        return np.concatenate([np.empty(0, dtype=np.int64), *ranges])

    def unit_of(self) -> np.ndarray:
        """(L,) the unit every token belongs to."""
        return np.repeat(np.arange(self.units), self.unit_length)

    def group_of(self) -> np.ndarray:
        """(L,) the group every token belongs to, as its place in `Group`."""
        return np.tile(np.repeat(np.arange(len(Group)), self.counts), self.units)
