"""The two factors of a LoRA adapter, apart from the base: what is mixed, and what a new adapter is started from.

A mixture of LoRA is the sum of w_j (alpha_j / r_j) B_j A_j x over adapters j. It is never mixed factor by factor: A of one
adapter and B of another mean nothing together.

Legend: r rank, I and O widths of a projection's input and output.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from worldagen.adaptation.adapter import ACCEPTED, Weights, lora_pairs, read_files, width_of
from worldagen.errors import BankError
from worldagen.mixture.embedding import LEVELS, level_of_layer
from worldagen.mixture.prototypes import BASE
from worldagen.network.config import NetworkConfig

LAYER = re.compile(r"backbone\.model\.\w+\.(\d+)\.")

LevelWeights = Mapping[str, Sequence[float]]  # adapter -> its share at each of LEVELS; BASE may be among them and does nothing


@dataclass(frozen=True, eq=False)
class LoraFactors:
    """An adapter that can be mixed.

    base: digest of the base it belongs to. scale: alpha / r. pairs: name of a projection's weight -> A (r, I) and B (O, r),
    float32 on the CPU; the adapter adds scale B A. verdict: of its gate. folder: where it came from, None where it was made in
    memory.
    """

    name: str
    base: str
    rank: int
    scale: float
    pairs: Mapping[str, tuple[torch.Tensor, torch.Tensor]]
    verdict: str = ACCEPTED
    folder: Path | None = None

    def __post_init__(self) -> None:
        for place, (a, b) in self.pairs.items():
            if a.ndim != 2 or b.ndim != 2 or len(a) != self.rank or b.shape[1] != self.rank:
                raise BankError(
                    f"adapter {self.name}: {place} has factors of the shapes {tuple(a.shape)} and {tuple(b.shape)}; expected "
                    f"({self.rank}, inputs) and (outputs, {self.rank})"
                )

    @property
    def values(self) -> int:
        """Numbers in all factors."""
        return sum(a.numel() + b.numel() for a, b in self.pairs.values())


def read_factors(folder: Path, config: NetworkConfig, base: Weights, digest: str) -> LoraFactors:
    """Read and check an adapter's folder for a base, the weights and digest of which are given.

    Raises AdaptationError for all that `adaptation.adapter.read_files` refuses, and BankError for an adapter that is no LoRA.
    """
    files = read_files(folder, config, base, digest)
    section, manifest = files.trained, files.manifest
    if section.what != "lora":
        raise BankError(f"{folder}: an adapter of the kind {section.what!r} cannot be mixed; adapt with trained.what=lora")
    # Copies: what safetensors gives lies in its file, which somebody may cut off.
    pairs = {name: (a.clone(), b.clone()) for name, (a, b) in lora_pairs(section, config, files.tensors, base).items()}
    verdict = manifest["gate"]["verdict"]
    return LoraFactors(manifest["id"], digest, section.rank, section.alpha / section.rank, pairs, verdict, folder)


def settle_weights(factors: Mapping[str, LoraFactors], weights: LevelWeights) -> dict[str, tuple[float, ...]]:
    """The weights of all factors that have a part at any level: name -> one for each of LEVELS. Raises BankError by name."""
    unknown = sorted({*weights} - {*factors, BASE})
    missing = sorted({*factors} - {*weights})
    if unknown or missing:
        raise BankError(
            f"weights and adapters of a mixture differ: {', '.join(missing) or 'no adapter'} without weights, weights without "
            f"an adapter: {', '.join(unknown) or 'none'}; expected weights for each adapter, and for nothing else but {BASE!r}"
        )
    for name, shares in weights.items():
        numbers = np.asarray(shares, dtype=np.float64)
        if numbers.shape != (len(LEVELS),) or not np.isfinite(numbers).all() or numbers.min() < 0.0 or numbers.max() > 1.0:
            raise BankError(
                f"adapter {name}: its weights are {list(shares)}; expected {len(LEVELS)} numbers from 0 to 1, for "
                f"{', '.join(LEVELS)}"
            )
    return {name: tuple(float(share) for share in weights[name]) for name in factors if any(weights[name])}


def require_fitting(factors: Mapping[str, LoraFactors], widths: Mapping[str, tuple[int, int]], base: str = "") -> None:
    """Refuse, by name, what is not of a network. widths: its projections' weights -> (O, I); base: its digest, "" for any.

    Raises BankError.
    """
    for name, one in factors.items():
        if base and one.base != base:
            raise BankError(
                f"adapter {name} belongs to a base with the digest {one.base[:12]}..., this network has {base[:12]}...; "
                "adapt this checkpoint, or load the other"
            )
        for place, (a, b) in one.pairs.items():
            found = (len(b), a.shape[1])
            if place not in widths:
                raise BankError(f"adapter {name} adds to {place}, which this network does not have; adapt this checkpoint")
            if found != widths[place]:
                raise BankError(
                    f"adapter {name}: {place} has {found[1]} inputs and {found[0]} outputs; this network has "
                    f"{widths[place][1]} and {widths[place][0]}; adapt this checkpoint"
                )


def projection_widths(config: NetworkConfig, base: Weights) -> dict[str, tuple[int, int]]:
    """(O, I) of every matrix in the backbone's layers, by its weight's name."""
    return {name: width_of(config, weight) for name, weight in base.items() if LAYER.match(name) and weight.ndim == 2}


def level_of(place: str, layers: int) -> int:
    """The level that a projection is weighted by, from its weight's name and the count of the backbone's layers."""
    found = LAYER.match(place)
    if found is None:
        raise BankError(f"{place} is in no layer of the backbone; only these are mixed")
    return level_of_layer(layers)[int(found[1])]
