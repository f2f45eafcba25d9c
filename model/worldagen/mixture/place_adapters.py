"""The adapters that a bank of places takes: LoRA of one base, of one rank and on the same projections, whole, and accepted."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldagen.errors import BankError
from worldagen.provenance import sha256_of

if TYPE_CHECKING:
    from worldagen.network.worldagen import WorldAgen

SCALE = "alpha / rank"  # of B A; the only form there is here


@dataclass(frozen=True, eq=False)
class PlaceAdapter:
    """An adapter's files, to be copied whole. told: what a bank keeps in mind of it, JSON-ready."""

    folder: Path
    names: tuple[str, ...]
    told: Mapping[str, Any]

    @property
    def form(self) -> dict[str, Any]:
        """What all adapters of a bank have in common."""
        return form_of(self.told)

    def copy_into(self, folder: Path) -> dict[str, str]:
        """Returns the digest of each file that stays as it is. Raises OSError, also for a copy that came out otherwise."""
        from worldagen.adaptation.adapter import ACTIVATIONS

        digests = {}
        for name in self.names:
            shutil.copyfile(self.folder / name, folder / name)
            if name == ACTIVATIONS:  # grows while the adapter is used
                continue
            digests[name] = sha256_of(folder / name)
            if digests[name] != sha256_of(self.folder / name):
                raise OSError(f"{self.folder / name} was changed while it was copied")
        return digests


def read_adapter(folder: Path, network: "WorldAgen", base: str, checkpoint: str, allow_rejected: str = "") -> PlaceAdapter:
    """An adapter after every check. Moves no weight.

    network: the base; base: the digest of its weights; checkpoint: how it is called. Raises BankError for another base or
    kind, a rejected one without a reason to allow it, and for damaged files.
    """
    from worldagen.adaptation.adapter import MANIFEST, REJECTED, load_adapter, read_manifest, read_section, weights_of
    from worldagen.adaptation.recipe import PROJECTIONS, TrainedSection, chosen_layers, chosen_projections
    from worldagen.errors import AdaptationError

    try:
        manifest = read_manifest(folder)
        section = read_section(manifest, folder, "trained", TrainedSection())
        if manifest["base"] != base:
            raise BankError(
                f"{folder} belongs to a base with the digest {manifest['base'][:12]}..., the bank to {base[:12]}...; adapt the "
                f"bank's checkpoint ({checkpoint}), or make a bank of the other"
            )
        if section.what != "lora":
            raise BankError(
                f"{folder}: an adapter of the kind {section.what!r}; a bank mixes LoRA: adapt with trained.what=lora"
            )
        verdict = manifest["gate"]["verdict"]
        allowed = allow_rejected.strip() if verdict == REJECTED else ""
        if verdict == REJECTED and not allowed:
            raise BankError(
                f"{folder}: the adapter {manifest['id']} was rejected by its gate ({MANIFEST} tells why); it is taken only "
                "where that is allowed explicitly, with the reason (--allow-rejected WHY)"
            )
        load_adapter(folder, network.config, weights_of(network), base)
    except AdaptationError as error:
        raise BankError(str(error)) from None
    _require_plain_lora(folder, section.rank, section.alpha)
    layers = chosen_layers(section) or tuple(range(network.config.backbone.layers))
    told = {
        "id": manifest["id"], "base": base, "verdict": verdict, "allowed": allowed, "rank": section.rank,
        "alpha": section.alpha, "scale": SCALE, "layers": sorted(set(layers)),
        "projections": [name for name in PROJECTIONS if name in chosen_projections(section)],
    }  # fmt: skip
    return PlaceAdapter(folder, (MANIFEST, *manifest["files"], *_activations(folder)), told)


def adapter_in(folder: Path, told: Mapping[str, Any], names: tuple[str, ...]) -> PlaceAdapter:
    """One that is in a bank already. names: of its files that stay as they are."""
    return PlaceAdapter(folder, (*names, *_activations(folder)), told)


def form_of(told: Mapping[str, Any]) -> dict[str, Any]:
    """What all adapters of a bank have in common, because they are stacked; alpha may differ."""
    return {key: told[key] for key in ("rank", "scale", "projections", "layers")}


def describe_form(form: Mapping[str, Any]) -> str:
    """ "rank 16 on q, v of the layers 0, 1"."""
    layers = ", ".join(str(layer) for layer in form["layers"])
    return f"rank {form['rank']} on {', '.join(form['projections'])} of the layers {layers}"


def _activations(folder: Path) -> tuple[str, ...]:
    from worldagen.adaptation.adapter import ACTIVATIONS

    return (ACTIVATIONS,) if (folder / ACTIVATIONS).is_file() else ()


def _require_plain_lora(folder: Path, rank: int, alpha: float) -> None:
    """Its files must say the same in peft's words: another tool may have trained it, by another form of LoRA."""
    file = folder / "adapter_config.json"
    names = ("r", "lora_alpha", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern")
    try:
        config = json.loads(file.read_text("utf-8"))
        found = {name: config.get(name) for name in names}
    except (OSError, ValueError, AttributeError) as error:
        raise BankError(f"{file}: cannot be read ({error}); copy the adapter again") from None
    expected = {"r": rank, "lora_alpha": alpha}
    wrong = [f"{name} {found[name]!r}, expected {value!r}" for name, value in expected.items() if found[name] != value]
    wrong += [f"{name} {found[name]!r}, expected none" for name in names if name not in expected and found[name]]
    if wrong:
        raise BankError(f"{file}: another form of LoRA ({'; '.join(wrong)}); a bank mixes B A scaled by {SCALE}: adapt again")
