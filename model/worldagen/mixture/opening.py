"""A bank on disk and a running policy -> what routes the policy by the bank."""

from dataclasses import asdict
from pathlib import Path

from worldagen.engines.parts import encoder_digest
from worldagen.mixture.driving import MixtureDriver
from worldagen.mixture.places import Base, PlaceBank
from worldagen.mixture.refinement import RefinementConfig
from worldagen.mixture.routing import RoutingConfig
from worldagen.session import NetworkPolicy


def open_driver(
    policy: NetworkPolicy, folder: Path, config: RoutingConfig, refinement: RefinementConfig | None = None, override: str = ""
) -> MixtureDriver:
    """Read and check a whole bank for a policy: base, encoder, every place and its adapter. Nothing is mixed yet.

    override: as in MixtureDriver. Raises BankError or AdaptationError by name; the policy goes on as it was.
    """
    base = Base(policy.adapters.digest, encoder_digest(policy.network), asdict(policy.network.config.backbone))
    bank = PlaceBank(folder, base)
    factors = {place.name: policy.read_factors(place.folder) for place in bank.places()}
    return MixtureDriver(policy, bank.routable(), factors, config, refinement, override)
