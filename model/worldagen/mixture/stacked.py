"""The weighted adapters beside the base, without merging: y = W x + B_cat (g * (A_cat x)), g holding w_j alpha_j / r_j.

What several adapters add to a product is one product down to all of their bottlenecks and one back up, however many they are.
Each layer is weighted as its level. Buffers are of a fixed size and there twice: other adapters are written into the half that
is idle, then the halves change places. Other weights of the same adapters touch no factor at all.

Legend: J adapters that there is room for, r the rank there is room for, R = J r, P joined products, I and O their widths.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from worldagen.adaptation.adapter import weights_of
from worldagen.errors import BankError
from worldagen.mixture.embedding import LEVELS, level_of_layer
from worldagen.mixture.factors import LevelWeights, LoraFactors, projection_widths, require_fitting, settle_weights
from worldagen.network.lean import PRODUCTS, Added, LowRank, fits
from worldagen.network.worldagen import WorldAgen


@dataclass(frozen=True)
class Room:
    """What may be mixed at once. Every decision costs what all of it costs, so it takes the same time whatever is mixed."""

    adapters: int = 3
    rank: int = 16

    def __post_init__(self) -> None:
        if self.adapters < 1 or self.rank < 1:
            raise BankError(f"a mixture has room for {self.adapters} adapters of rank {self.rank}; expected 1 or more of each")


class StackedMixture:
    """The factors of some adapters of one network, as LeanBackbone.mix takes them. Belongs to the thread that owns the network.

    While a call of the backbone lasts, one other set of adapters may be written.
    """

    def __init__(self, network: WorldAgen, room: Room) -> None:
        """Makes both halves. The network must have a backbone that LeanBackbone `fits`; later it must not be moved."""
        if not fits(network):
            raise BankError("this backbone is not computed by LeanBackbone; merge the mixture into the weights")
        self.room = room
        self.device, self.dtype = network.position.device, network.position.dtype
        self._levels = level_of_layer(network.config.backbone.layers)
        self._widths = projection_widths(network.config, weights_of(network))
        with torch.inference_mode(False), torch.no_grad():
            self._halves = tuple(_Half(self._widths, len(self._levels), room, self.device, self.dtype) for _ in range(2))
        self._running = 0

    @property
    def bytes(self) -> int:
        """Of both halves."""
        return sum(buffer.numel() * buffer.element_size() for half in self._halves for buffer in half.buffers)

    def require(self, factors: Mapping[str, LoraFactors], weights: LevelWeights) -> None:
        """Raise BankError, by name, for what is not of this network, or more than there is room for."""
        mixed = settle_weights(factors, weights)
        require_fitting(factors, self._widths)
        for name in mixed:
            if factors[name].rank > self.room.rank:
                raise BankError(
                    f"adapter {name} has rank {factors[name].rank}; there is room for rank {self.room.rank}. Make more room, "
                    "or adapt with a smaller trained.rank"
                )
        if len(mixed) > self.room.adapters:
            raise BankError(
                f"{len(mixed)} adapters have a weight: {', '.join(mixed)}; there is room for {self.room.adapters}. Make more "
                "room, or give fewer of them a weight"
            )

    def use(self, factors: Mapping[str, LoraFactors], weights: LevelWeights) -> tuple[Added, ...] | None:
        """The mixture from now on, for LeanBackbone.mix; None where nothing is mixed. Raises as `require`, changing nothing.

        Adapters are told apart by their LoraFactors: the same object is not written again.
        """
        self.require(factors, weights)
        settled = settle_weights(factors, weights)
        if not settled:
            return None
        wanted = {name: factors[name] for name in settled}
        with torch.inference_mode(False), torch.no_grad():
            if not self._halves[self._running].holds(wanted):
                idle = 1 - self._running
                self._halves[idle].write(wanted)
                self._running = idle
            return self._added(self._halves[self._running], wanted, settled)

    def _added(
        self, half: "_Half", wanted: Mapping[str, LoraFactors], settled: Mapping[str, tuple[float, ...]]
    ) -> tuple[Added, ...]:
        gains = torch.zeros(len(LEVELS), self.room.adapters, self.room.rank, dtype=torch.float64)
        for name, one in wanted.items():
            gains[:, half.slot(one)] += torch.tensor(settled[name], dtype=torch.float64)[:, None] * one.scale
        by_level = gains.flatten(1).to(self.device, self.dtype)  # (levels, R); new, so that a call that has begun keeps its own
        touched = {place for one in wanted.values() for place in one.pairs}
        return tuple(
            Added(
                **{
                    product: LowRank(half.a[number, product], by_level[level], half.b[number, product])
                    for product, parts in PRODUCTS.items()
                    if any(_weight_name(number, part) in touched for part in parts)
                }
            )
            if any(shares[level] for shares in settled.values())
            else Added()
            for number, level in enumerate(self._levels)
        )


class _Half:
    """One set of factors. Adapters are in slots; those of a smaller rank, and of fewer projections, have zeros there."""

    def __init__(
        self, widths: Mapping[str, tuple[int, int]], layers: int, room: Room, device: torch.device, dtype: torch.dtype
    ) -> None:
        self._room = room
        self._slots: list[LoraFactors | None] = [None] * room.adapters
        self.a: dict[tuple[int, str], torch.Tensor] = {}  # (layer, product) -> (I, P R)
        self.b: dict[tuple[int, str], torch.Tensor] = {}  # -> (P, R, O)
        self._places: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}  # weight -> (J, I, r) and (J, r, O), views of these
        inner = room.adapters * room.rank
        for number in range(layers):
            for product, parts in PRODUCTS.items():
                names = [_weight_name(number, part) for part in parts]
                outputs, inputs = widths[names[0]]
                a = self.a[number, product] = torch.zeros(inputs, len(parts) * inner, device=device, dtype=dtype)
                b = self.b[number, product] = torch.zeros(len(parts), inner, outputs, device=device, dtype=dtype)
                downs = a.view(inputs, len(parts), room.adapters, room.rank).permute(1, 2, 0, 3)
                ups = b.view(len(parts), room.adapters, room.rank, outputs)
                self._places.update(zip(names, zip(downs, ups, strict=True), strict=True))

    @property
    def buffers(self) -> list[torch.Tensor]:
        """All of them."""
        return [*self.a.values(), *self.b.values()]

    def holds(self, wanted: Mapping[str, LoraFactors]) -> bool:
        """Whether all of them are here."""
        return all(any(one is kept for kept in self._slots) for one in wanted.values())

    def slot(self, one: LoraFactors) -> int:
        """Where an adapter that is here is."""
        return next(place for place, kept in enumerate(self._slots) if kept is one)

    def write(self, wanted: Mapping[str, LoraFactors]) -> None:
        """Put those that are not here into the places of others, which may be called for no longer."""
        free = [place for place, kept in enumerate(self._slots) if not any(kept is one for one in wanted.values())]
        for one in wanted.values():
            if not any(kept is one for kept in self._slots):
                self._fill(free.pop(0), one)

    def _fill(self, slot: int, one: LoraFactors) -> None:
        self._slots[slot] = None  # until all of it is there
        for name, (down, up) in self._places.items():
            if name not in one.pairs:
                down[slot].zero_()
                up[slot].zero_()
                continue
            a, b = one.pairs[name]
            down[slot, :, : one.rank].copy_(a.T)
            up[slot, : one.rank].copy_(b.T)
            down[slot, :, one.rank :].zero_()
            up[slot, one.rank :].zero_()
        self._slots[slot] = one


def _weight_name(layer: int, part: str) -> str:
    return f"backbone.model.layers.{layer}.{part}.weight"
