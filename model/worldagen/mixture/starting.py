"""A new adapter from a mixture: the LoRA of a given rank that is nearest to what the mixture adds, to start an adaptation from.

What it adds to a projection is T = sum of w_j (alpha_j / r_j) B_j A_j, of rank K r at most. With thin QR of the stacked B and
of the stacked A transposed, T = Q_b (R_b R_a^T) Q_a^T, and the SVD of that small core is the SVD of T. Its r largest singular
values give the nearest matrix of rank r (Eckart and Young 1936); the energy they keep is their squares' share of all squares.

Legend: K adapters, r rank of each or of the new one, I and O widths of a projection's input and output.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from worldagen.adaptation.adapter import Weights, digest_of, lora_targets, name_adapter, save_adapter, weights_of
from worldagen.adaptation.gate import Check, Verdict
from worldagen.adaptation.recipe import AdaptationRecipe, TrainedSection
from worldagen.adaptation.trained import lora_names
from worldagen.errors import BankError
from worldagen.mixture.embedding import Embedding
from worldagen.mixture.factors import (
    LevelWeights,
    LoraFactors,
    level_of,
    projection_widths,
    read_factors,
    require_fitting,
    settle_weights,
)
from worldagen.mixture.routing import RoutingConfig, route
from worldagen.network.config import NetworkConfig
from worldagen.provenance import describe_run

if TYPE_CHECKING:
    from worldagen.mixture.places import PlaceBank
    from worldagen.network.worldagen import WorldAgen

LEAST_ENERGY = 0.8  # below it the nearest adapter is another one, and zero is the better start
Pair = tuple[torch.Tensor, torch.Tensor]  # A (r, I), B (O, r)
NOT_ADAPTED = Check("adapted", False, "a start from a mixture, nothing was learned yet; adapt from it")


@dataclass(frozen=True, eq=False)
class Start:
    """A and B to start from, by their names in an adapter's file.

    energy: kept of what the mixture adds to each projection, by its weight's name, 0 to 1; overall: of all together.
    from_zero: whether that is too little, so that B is zero as without a mixture. told: the same in words.
    """

    tensors: Mapping[str, torch.Tensor]
    section: TrainedSection
    base: str
    weights: Mapping[str, tuple[float, ...]]
    energy: Mapping[str, float]
    overall: float
    from_zero: bool

    @property
    def told(self) -> str:
        """In words."""
        of = ", ".join(self.weights) or "no adapter"
        kept = f"rank {self.section.rank} keeps {100 * self.overall:.1f} % of what the mixture of {of} adds"
        return f"{kept}: too little, started from zero" if self.from_zero else kept


def start_by_bank(
    bank: "PlaceBank", seen: Embedding, config: RoutingConfig, network: "WorldAgen", recipe: AdaptationRecipe
) -> Start:
    """The start for a place that looks like that: of the mixture that a bank's router makes of it.

    Also where none of the bank's places is near: a start need not be right, it is trained on. Raises BankError or
    AdaptationError.
    """
    base = weights_of(network)
    digest = digest_of(base)
    factors = {place.name: read_factors(place.folder, network.config, base, digest) for place in bank.places()}
    routing = route(seen, replace(bank.routable(), least=-1.0), config)
    weights = {name: tuple(routing.weights[:, 1 + number].tolist()) for number, name in enumerate(routing.names[1:])}
    return make_start(factors, weights, recipe.trained, network.config, base, recipe.seed)


def make_start(
    factors: Mapping[str, LoraFactors],
    weights: LevelWeights,
    section: TrainedSection,
    config: NetworkConfig,
    base: Weights,
    seed: int = 0,
    least_energy: float = LEAST_ENERGY,
) -> Start:
    """The start of an adapter of a section's rank and targets.

    What the mixture adds where the section has no target is lost, and counts so. A direction that the mixture leaves over has A
    drawn as for a start from zero (from the seed) and B zero: with both at zero it would never learn. Raises BankError for a
    section that is no LoRA or scales by zero, factors that are not of this network, or of several bases.
    """
    if section.what != "lora" or not section.alpha:
        raise BankError(f"trained.what is {section.what!r}, alpha {section.alpha:g}; a start is LoRA with an alpha above 0")
    settled = settle_weights(factors, weights)
    widths = projection_widths(config, base)
    bases = sorted({one.base for one in factors.values()})
    if len(bases) > 1:
        raise BankError(
            f"the adapters belong to several bases: {', '.join(one[:12] + '...' for one in bases)}; mix those of one"
        )
    require_fitting(factors, widths)
    random = torch.Generator().manual_seed(seed)
    targets = {f"{name}.weight" for name in lora_targets(section, config, base)}
    kept: dict[str, float] = {}
    whole: dict[str, float] = {}
    zero: dict[str, Pair] = {}
    nearest: dict[str, Pair] = {}
    for place in widths:
        left, singular, right = _singular(_parts(place, factors, settled, config))
        squares = singular.square()
        whole[place] = float(squares.sum())
        kept[place] = float(squares[: section.rank].sum()) if place in targets else 0.0
        if place in targets:
            zero[place] = _drawn(section.rank, widths[place], random)
            nearest[place] = _nearest(left, singular, right, zero[place], section)
    total = math.fsum(whole.values())
    overall = math.fsum(kept.values()) / total if total else 1.0
    from_zero = overall < least_energy
    tensors = {}
    for place, pair in (zero if from_zero else nearest).items():
        for name, part in zip(lora_names(place), pair, strict=True):
            tensors[name] = part.to(base[place].dtype).contiguous()
    energy = {place: kept[place] / whole[place] for place in widths if whole[place]}
    return Start(tensors, section, bases[0] if bases else "", settled, energy, overall, from_zero)


def write_start(root: Path, start: Start, config: NetworkConfig, base: str, recipe: AdaptationRecipe | None = None) -> Path:
    """Write it below a root as an adapter's folder, which an adaptation takes as its `start`, and return it.

    base: the digest of the network it is for. recipe: that of the adaptation. Its gate is pending: it must not drive as it is.
    Raises BankError for another base, AdaptationError where it cannot be written.
    """
    if start.base not in ("", base):
        raise BankError(f"this start is of a base with the digest {start.base[:12]}..., not {base[:12]}...; make it anew")
    notes: dict[str, Any] = {
        "made": describe_run("mixture start"),
        "recipe_name": "mixture",
        "mixture": {
            "weights": {name: list(shares) for name, shares in start.weights.items()},
            "energy": start.overall,
            "energy_of": dict(start.energy),
            "from_zero": start.from_zero,
            "told": start.told,
        },
        "gate": Verdict((NOT_ADAPTED,), {}).to_json(),
    }
    name = name_adapter("mixture", start.tensors, datetime.now(timezone.utc))
    whole = replace(recipe or AdaptationRecipe(), trained=start.section)
    return save_adapter(root, name, start.tensors, config.backbone, base, whole, notes)


def _parts(
    place: str, factors: Mapping[str, LoraFactors], settled: Mapping[str, tuple[float, ...]], config: NetworkConfig
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """w_j (alpha_j / r_j) B_j and A_j of a projection, in double precision."""
    level = level_of(place, config.backbone.layers)
    return [
        (shares[level] * factors[name].scale * factors[name].pairs[place][1].double(), factors[name].pairs[place][0].double())
        for name, shares in settled.items()
        if shares[level] and place in factors[name].pairs
    ]


def _singular(parts: list[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The SVD of the sum of B A: (O, s), (s,), (s, I), largest first; without what is zero but for rounding."""
    if not parts:
        nothing = torch.zeros(0, dtype=torch.float64)
        return nothing[None], nothing, nothing[:, None]
    outer, inner = torch.cat([b for b, _ in parts], dim=1), torch.cat([a for _, a in parts])
    left, upper_left = torch.linalg.qr(outer)
    right, upper_right = torch.linalg.qr(inner.T)
    u, singular, v = torch.linalg.svd(upper_left @ upper_right.T, full_matrices=False)
    count = int((singular > singular[0] * len(singular) * torch.finfo(singular.dtype).eps).sum())
    return left @ u[:, :count], singular[:count], v[:count] @ right.T


def _nearest(
    left: torch.Tensor,
    singular: torch.Tensor,
    right: torch.Tensor,
    zero: Pair,
    section: TrainedSection,
) -> Pair:
    """A = sqrt(S) V^T and B = U sqrt(S), both over the root of alpha / r, for the adapter multiplies by it."""
    a, b = (part.clone() for part in zero)
    count = min(section.rank, len(singular))
    root = (singular[:count] * section.rank / section.alpha).sqrt()
    a[:count] = root[:, None] * right[:count]
    b[:, :count] = left[:, :count] * root
    return a, b


def _drawn(rank: int, widths: tuple[int, int], random: torch.Generator) -> Pair:
    """A and B of a start from zero: A uniform within 1 / sqrt(I), as Kaiming's rule with a = sqrt(5) draws it; B zero."""
    outputs, inputs = widths
    a = (torch.rand(rank, inputs, generator=random, dtype=torch.float64) * 2 - 1) / math.sqrt(inputs)
    return a, torch.zeros(outputs, rank, dtype=torch.float64)
