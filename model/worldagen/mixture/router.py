"""The router of an episode: frames in, weights out, when they change. It looks at the beginning, after a surprise, on request.

Between those it rests: weights never follow the robot's every move. While it looks, every decision's frame goes into a running
average, which is routed by; after enough frames it rests again. Pure logic, no clock: what it does is a function of the frames.
"""

from dataclasses import dataclass

import numpy as np

from worldagen.mixture.embedding import FIRST_FRAMES, Embedding, RunningEmbedding
from worldagen.mixture.refinement import RefinementConfig, refine
from worldagen.mixture.routing import SCENE, HeldRoute, Places, Routing, RoutingConfig, route

BEGIN, SURPRISE, REQUEST = "episode begins", "surprise", "request"


@dataclass(frozen=True, eq=False)
class Routed:
    """How the next decision is mixed. weights: (L, 1 + N), the base first, for Places.names. routing: what was taken last.

    looking: whether frames are still being taken in; why: what it began to look for; saturated: refinement was discarded.
    """

    names: tuple[str, ...]
    weights: np.ndarray
    routing: Routing
    looking: bool
    why: str
    saturated: bool

    @property
    def shares(self) -> dict[str, float]:
        """The weights at the scene level of those that have any."""
        return {name: share for name, share in zip(self.names, self.weights[SCENE].tolist(), strict=True) if share > 0}


class Router:
    """Belongs to the thread that decides."""

    def __init__(self, places: Places, config: RoutingConfig, refinement: RefinementConfig | None = None) -> None:
        self.config, self._refinement = config, refinement or RefinementConfig()
        self._anchors = self._places = places
        self._held = HeldRoute(config)
        self._running: RunningEmbedding | None = None
        self._why, self._saturated = "", False
        self.begin()

    @property
    def places(self) -> Places:
        """What is routed by now; refinement moves its prototypes within an episode."""
        return self._places

    @property
    def looking(self) -> bool:
        """Whether it wants the next frame."""
        return self._running is not None

    def begin(self) -> None:
        """Another episode: nothing is known, and what refinement did is undone."""
        self._places = self._anchors
        self._held.clear()
        self.look(BEGIN)

    def look(self, why: str) -> None:
        """Take in frames again, from the next on."""
        self._running, self._why, self._saturated = RunningEmbedding(), why, False

    def see(self, frame: Embedding | None) -> Routed | None:
        """One decision's frame, None while resting; how that decision is mixed, None as long as no frame has been seen.

        Raises BankError for a frame of another encoder; what held before goes on.
        """
        if frame is not None:
            self._places.whitening(frame)  # refused before anything has moved
        self._held.advance()
        if self._running is not None and frame is not None:
            now = self._running.add(frame)
            refined = refine(now, self._places, self._anchors, self._refinement, self.config)
            self._places, self._saturated = refined.places, refined.saturated
            self._held.offer(route(now, self._places, self.config))
            if self._running.frames >= FIRST_FRAMES + self.config.patience:  # a late lead can still take over
                self._running = None
        if self._held.routing is None or self._held.weights is None:
            return None
        return Routed(self._places.names, self._held.weights, self._held.routing, self.looking, self._why, self._saturated)
