"""Which places the present one resembles, and with what weights their adapters are mixed. A pure function of frames and bank.

Legend: N places beside the base, M places that the base itself knows, E width of a level, L levels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from worldagen.config import setting
from worldagen.errors import BankError
from worldagen.mixture.embedding import LEVELS, Embedding
from worldagen.mixture.prototypes import BASE, Prototype
from worldagen.mixture.whitening import Whitening

SCENE = LEVELS.index("scene")
MODES = ("off", "nearest", "mixture", "uniform")  # in the order of their numbers in Routing.msg


@dataclass(frozen=True)
class RoutingConfig:
    """How weights come from cosines, and how they may change."""

    route: str = setting(
        "nearest",
        "nearest: one place; mixture; uniform: all places alike, for comparisons; off: the base, or the adapter that is loaded",
        choices=MODES,
    )
    active: int = setting(3, "mixture: places with a weight at each level, the base counted (K)", low=1, high=64)
    temperature: float = setting(0.1, "of the softmax over whitened cosines (tau)", low=1e-3, high=10.0)
    lead: float = setting(0.05, "cosine by which another place must lead at the scene level to take over", low=0.0, high=2.0)
    patience: int = setting(3, "evaluations in a row in which it must lead", low=1, high=1000)
    slew: int = setting(3, "decisions in which a weight may move from 0 to 1", low=1, high=1000)


@dataclass(frozen=True, eq=False)
class Places:
    """What is routed by: the base and the places of a bank, whitened.

    names: (1 + N,), the base first. anchors: for each level (1 + N, E), of any length. least: the scene cosine below which a
    place is none of these. known: for each level (M, E); of which the nearest stands for the base. Without them its anchor
    does, which is where the whitening puts the origin if both are of the same frames: then the base resembles nothing.
    """

    names: tuple[str, ...]
    anchors: tuple[np.ndarray, ...]
    whitening: Whitening
    least: float
    known: tuple[np.ndarray, ...] = ()

    def cosines(self, embedding: Embedding) -> np.ndarray:
        """(L, 1 + N) of what is seen with the base and the places. Raises BankError for one of another encoder."""
        seen = self.whitening(embedding)
        table = np.stack([cosines_of(anchors, level) for anchors, level in zip(self.anchors, seen, strict=True)])
        if self.known:
            table[:, 0] = [cosines_of(known, level).max() for known, level in zip(self.known, seen, strict=True)]
        return table


@dataclass(frozen=True, eq=False)
class Routing:
    """What came of it. weights, cosines: (L, 1 + N); a level's weights sum to one, the base's share leaves the base alone."""

    names: tuple[str, ...]
    weights: np.ndarray
    cosines: np.ndarray
    abstains: bool

    @property
    def entropy(self) -> np.ndarray:
        """(L,) nats, of the weights."""
        return np.array([entropy_of(row) for row in self.weights])

    @property
    def best(self) -> float:
        """The largest cosine at the scene level: how familiar this is."""
        return float(self.cosines[SCENE].max())

    @property
    def nearest(self) -> str:
        """Who has the largest weight at the scene level; the first of several."""
        return self.names[int(np.argmax(self.weights[SCENE]))]


def whiten_places(
    base: Prototype,
    places: Sequence[tuple[str, Prototype]],
    whitening: Whitening,
    least: float,
    known: Sequence[tuple[str, Prototype]] = (),
) -> Places:
    """Prototypes made ready for routing. known: of the places that the base was trained in.

    Raises BankError for one of another encoder, by name, or a name that comes twice.
    """
    names = (BASE, *(name for name, _ in places))
    if len(set(names)) != len(names):
        raise BankError(f"places are called {', '.join(names)}; every name must be there once, and {BASE!r} is the base's")
    anchors = _whitened(((BASE, base), *places), whitening)
    return Places(names, anchors, whitening, least, _whitened(known, whitening) if known else ())


def _whitened(places: Sequence[tuple[str, Prototype]], whitening: Whitening) -> tuple[np.ndarray, ...]:
    """For each level (places, E)."""
    rows = []
    for name, prototype in places:
        try:
            rows.append(whitening(prototype.mean))
        except BankError as error:
            raise BankError(f"place {name!r}: {error}") from None
    return tuple(np.stack([row[level] for row in rows]) for level in range(len(LEVELS)))


def route(embedding: Embedding, places: Places, config: RoutingConfig) -> Routing:
    """Weights of the places for what is seen.

    mixture: at each level the softmax over the K largest cosines divided by the temperature, 0 elsewhere; of equal ones the
    first by name. nearest: everything for the place with the largest mean cosine over the levels. Where the scene's best
    cosine is below `places.least`, everything for the base. uniform: every place but the base alike, whatever is seen. Raises
    BankError for an embedding of another encoder.
    """
    return route_cosines(places.cosines(embedding), places.names, places.least, config)


def route_cosines(cosines: np.ndarray, names: tuple[str, ...], least: float, config: RoutingConfig) -> Routing:
    """The same from cosines (L, 1 + N)."""
    weights = np.zeros_like(cosines)
    abstains = bool(cosines[SCENE].max() < least) and config.route != "uniform"
    order = [0, *sorted(range(1, len(names)), key=lambda place: names[place])]  # the base first: of equals, the plainest
    if abstains or config.route == "off" or len(names) == 1:
        weights[:, 0] = 1.0
    elif config.route == "uniform":
        weights[:, 1:] = 1.0 / (len(names) - 1)
    elif config.route == "nearest":
        mean = cosines.mean(axis=0)
        weights[:, max(order, key=lambda place: mean[place])] = 1.0
    else:
        for level, row in enumerate(cosines):
            kept = sorted(order, key=lambda place: -row[place])[: min(config.active, len(names))]
            scores = np.exp((row[kept] - row[kept].max()) / config.temperature)
            weights[level, kept] = scores / scores.sum()
    return Routing(names, weights, cosines, abstains)


class HeldRoute:
    """The weights that hold from decision to decision: they change late, and then by and by.

    The first routing is taken as it is. Later ones are taken when nothing new leads by them, or when the new one has led for
    `patience` evaluations in a row; abstention at once. Not thread-safe.
    """

    def __init__(self, config: RoutingConfig) -> None:
        self._config = config
        self.clear()

    def clear(self) -> None:
        """Another episode: the next routing is the first."""
        self._target: Routing | None = None
        self._weights: np.ndarray | None = None
        self._step = np.zeros(0)
        self._left = 0
        self._challenger, self._led = "", 0

    @property
    def routing(self) -> Routing | None:
        """What was taken last; None before the first."""
        return self._target

    @property
    def weights(self) -> np.ndarray | None:
        """(L, 1 + N) of the decision that comes; None before the first routing."""
        return self._weights

    def offer(self, routing: Routing) -> bool:
        """A new evaluation; returns whether it was taken. Raises BankError where the places are others: clear first."""
        held = self._target
        if held is None or self._weights is None:
            self._target, self._weights = routing, routing.weights.copy()
            return True
        if held.names != routing.names:
            raise BankError(f"routed by the places {', '.join(routing.names)} after {', '.join(held.names)}; begin an episode")
        if not self._may_take(held, routing):
            return False
        self._target, self._challenger, self._led = routing, "", 0
        change = routing.weights - self._weights
        self._left = max(1, math.ceil(np.abs(change).max() * self._config.slew - 1e-9))
        self._step = change / self._left
        return True

    def advance(self) -> bool:
        """A decision has been made: move on; returns whether the weights changed."""
        if not self._left or self._weights is None or self._target is None:
            return False
        self._left -= 1
        # The last step lands on the target to the bit.
        self._weights = self._weights + self._step if self._left else self._target.weights.copy()
        return True

    def _may_take(self, held: Routing, routing: Routing) -> bool:
        if routing.abstains != held.abstains and routing.abstains:
            return True
        if routing.nearest == held.nearest:
            self._challenger, self._led = "", 0
            return True
        names, cosines = routing.names, routing.cosines[SCENE]
        lead = cosines[names.index(routing.nearest)] - cosines[names.index(held.nearest)]
        if lead < self._config.lead:
            self._challenger, self._led = "", 0
            return False
        self._led = self._led + 1 if routing.nearest == self._challenger else 1
        self._challenger = routing.nearest
        return self._led >= self._config.patience


def cosines_of(rows: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Of (N, E) rows with a vector (E,) of unit length -> (N,); 0 for a row without length."""
    lengths = np.linalg.norm(rows, axis=-1)
    products = (rows * seen).sum(axis=-1)  # row by row: a matrix product rounds equal rows by where they stand, and breaks ties
    return np.clip(products / np.where(lengths > 0, lengths, 1.0), -1.0, 1.0)


def entropy_of(weights: np.ndarray) -> float:
    """Of weights (N,) that sum to one, in nats."""
    present = weights[weights > 0]
    return float(-(present * np.log(present)).sum()) + 0.0


def most_entropy(places: int) -> float:
    """Of so many places with equal weights, in nats."""
    return math.log(max(places, 1))
