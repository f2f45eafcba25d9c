"""How a mixture drives a running network: beside the weights where LeanBackbone computes the backbone, elsewhere merged.

Everything is checked before anything changes, and the base comes back as it was, to the last bit.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from worldagen.adaptation.adapter import MANIFEST, REJECTED, note_activation
from worldagen.adaptation.bank import MIXTURE, AdapterBank
from worldagen.errors import AdaptationError
from worldagen.mixture.factors import LevelWeights, LoraFactors, projection_widths, require_fitting, settle_weights
from worldagen.mixture.merged import merge_mixture
from worldagen.mixture.stacked import Room, StackedMixture
from worldagen.network.lean import Added, Attender, LeanBackbone
from worldagen.network.worldagen import WorldAgen


class Mixer:
    """Belongs to the thread that owns the network. Whoever activates an adapter instead tells it by `drop`."""

    def __init__(self, network: WorldAgen, bank: AdapterBank, attender: Attender, room: Room) -> None:
        """attender: what runs the backbone."""
        self._network, self._bank, self._attender, self._room = network, bank, attender, room
        self._widths = projection_widths(network.config, bank.base)
        self._stacked: StackedMixture | None = None  # made when something is first mixed
        self._mixed: tuple[Mapping[str, LoraFactors], LevelWeights] | None = None
        self._added: tuple[Added, ...] | None = None  # what is added beside the weights now

    @property
    def mixed(self) -> tuple[Mapping[str, LoraFactors], LevelWeights] | None:
        """What is mixed now, None while the base or one adapter drives."""
        return self._mixed

    def use(self, factors: Mapping[str, LoraFactors], weights: LevelWeights, override: str = "") -> bool:
        """Mix from now on; returns as AdapterBank.activate. Raises BankError or AdaptationError, changing nothing."""
        settled = settle_weights(factors, weights)
        require_fitting(factors, self._widths, self._bank.digest)
        if isinstance(self._attender, LeanBackbone):
            self._stack().require(factors, weights)
        before = self._mixed[0] if self._mixed else {}
        had_weight = settle_weights(*self._mixed) if self._mixed else {}
        coming = [name for name in settled if name not in had_weight or before[name] is not factors[name]]
        _require_accepted([factors[name] for name in coming], override)
        return self._put(dict(factors), dict(weights))

    def drop(self) -> None:
        """Add nothing any more. The weights are the bank's matter."""
        self._mixed = self._added = None
        if isinstance(self._attender, LeanBackbone):
            self._attender.mix(None)

    def make_room(self, room: Room) -> None:
        """Room for other counts and ranks. What is mixed stays. Raises BankError, changing nothing, where it does not fit."""
        if isinstance(self._attender, LeanBackbone) and self._mixed is not None:
            stacked = StackedMixture(self._network, room)
            stacked.require(*self._mixed)
            self._stacked = stacked
            self._put(*self._mixed)
        else:
            self._stacked = None
        self._room = room

    def move_to(self, attender: Attender) -> None:
        """Another attender runs the backbone from now on; what is mixed stays."""
        mixed = self._mixed
        self.drop()
        self._attender, self._stacked = attender, None
        if mixed is not None:
            self._put(*mixed)

    @contextmanager
    def compared(self, name: str) -> Iterator[None]:
        """As AdapterBank.compared, with what is added beside the weights."""
        with self._bank.compared(name):
            if not isinstance(self._attender, LeanBackbone):
                yield
                return
            try:
                self._attender.mix(self._added if name == MIXTURE else None)
                yield
            finally:
                self._attender.mix(self._added)

    def _put(self, factors: Mapping[str, LoraFactors], weights: LevelWeights) -> bool:
        if isinstance(self._attender, LeanBackbone):
            self._added, merged = self._stack().use(factors, weights), {}
            self._attender.mix(self._added)
        else:
            self._added, merged = None, merge_mixture(self._network.config, self._bank.base, factors, weights)
        self._mixed = factors, weights
        return self._bank.mix(merged)

    def _stack(self) -> StackedMixture:
        """The buffers, on the device and of the type that the network is of now."""
        position = self._network.position
        if self._stacked is None or (self._stacked.device, self._stacked.dtype) != (position.device, position.dtype):
            self._stacked = StackedMixture(self._network, self._room)
        return self._stacked


def _require_accepted(coming: Sequence[LoraFactors], override: str) -> None:
    """Of adapters that had no weight before. Raises AdaptationError for a rejected one without an override; it is recorded."""
    rejected = [one for one in coming if one.verdict == REJECTED]
    if rejected and not override:
        where = f" ({rejected[0].folder / MANIFEST})" if rejected[0].folder is not None else ""
        raise AdaptationError(
            f"adapter {rejected[0].name} was rejected by its gate{where}; it is mixed only where that is allowed explicitly"
        )
    for one in rejected:
        if one.folder is not None:
            note_activation(one.folder, one.verdict, override)
