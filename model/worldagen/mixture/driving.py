"""A policy that is routed by a bank of places: what it sees goes to the router, whose weights mix its adapters.

Nothing of it is on the way from a picture to a chunk but at an episode's first decision, which would otherwise be the base's:
frames are embedded and weights applied in `prepare`, while the chunk before is played, for the decision that comes.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from worldagen.errors import BankError
from worldagen.mixture.embedding import Embedding, average, embed
from worldagen.mixture.factors import LoraFactors
from worldagen.mixture.refinement import RefinementConfig
from worldagen.mixture.router import Routed, Router
from worldagen.mixture.routing import Places, RoutingConfig
from worldagen.mixture.stacked import Room
from worldagen.session import NetworkPolicy
from worldagen.types import Observation

ROOM = 2  # adapters that there is room for, in multiples of those active at a level: levels differ, and weights move by and by


class MixtureDriver:
    """Belongs to the thread that owns the policy. `begin` comes before the first `decide` of an episode."""

    def __init__(
        self,
        policy: NetworkPolicy,
        places: Places,
        factors: Mapping[str, LoraFactors],
        config: RoutingConfig,
        refinement: RefinementConfig | None = None,
        override: str = "",
    ) -> None:
        """factors: the adapter of each place but the base. override: why rejected ones may drive; recorded.

        Raises BankError for places without an adapter, and for ranks that differ.
        """
        missing = sorted({*places.names[1:]} - {*factors})
        if missing:
            raise BankError(f"places without an adapter: {', '.join(missing)}; add them to the bank again")
        ranks = {name: one.rank for name, one in factors.items()}
        if len(set(ranks.values())) > 1:
            told = ", ".join(f"{name} {rank}" for name, rank in ranks.items())
            raise BankError(f"adapters of one bank have one rank; found {told}")
        self._policy, self._factors, self._override = policy, factors, override
        at_once = len(factors) if config.route == "uniform" else ROOM * config.active
        self._room = min(max(len(factors), 1), at_once)
        self.router = Router(places, config, refinement)
        self.routed: Routed | None = None  # of the decision that comes, or has just been made
        self._applied: tuple[tuple[str, tuple[float, ...]], ...] = ()  # what the policy mixes
        self._fresh = True
        policy.make_mixture_room(Room(self._room, next(iter(ranks.values()), 1)))

    def begin(self) -> None:
        """Another episode: whatever was mixed goes, and the next frame is routed by before it is answered."""
        self.router.begin()
        self.routed, self._fresh = None, True
        self._put({})

    def take_in(self, observations: Sequence[Observation]) -> None:
        """Another episode, mixed as it is once these have been seen, one for each decision; for measuring on recorded ones."""
        self.begin()
        self._fresh = False
        for observation in observations:
            self._see(self._embedding(observation) if self.router.looking else None)

    def look(self, why: str) -> None:
        """Take in frames again."""
        self.router.look(why)

    def before(self, observation: Observation) -> None:
        """Of each decision; does something at an episode's first only."""
        if self._fresh:
            self._see(self._embedding(observation))

    def after(self) -> None:
        """Of each decision, while its chunk plays: what is mixed in the next."""
        if self._fresh:
            self._fresh = False  # its frame has been taken in
            self._see(None)
        else:
            self._see(self._embedding(None) if self.router.looking else None)

    def close(self) -> None:
        """The base alone drives again, exactly."""
        self._put({})

    def _embedding(self, observation: Observation | None) -> Embedding:
        """Of an observation, None for the one that was answered last."""
        return average(embed(self._policy.encode_all(observation)))

    def _see(self, frame: Embedding | None) -> None:
        self.routed = self.router.see(frame)
        if self.routed is not None:
            self._put(shares_of(self.routed, self._room))

    def _put(self, shares: Mapping[str, tuple[float, ...]]) -> None:
        wanted = tuple(sorted(shares.items()))
        if wanted == self._applied:
            return
        if shares:
            self._policy.use_mixture({name: self._factors[name] for name in shares}, shares, self._override)
        else:
            self._policy.drop_mixture()
        self._applied = wanted


def shares_of(routed: Routed, most: int) -> dict[str, tuple[float, ...]]:
    """Name of each place that is mixed -> its weight at each level; the base's are left out, it is always there.

    most: beyond so many places those with the smallest weights are left to the base.
    """
    weights = routed.weights[:, 1:]
    mixed = [place for place in np.argsort(-weights.sum(axis=0), kind="stable").tolist() if weights[:, place].any()][:most]
    return {routed.names[1 + place]: tuple(float(share) for share in weights[:, place]) for place in mixed}
