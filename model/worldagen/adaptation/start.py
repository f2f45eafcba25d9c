"""What an adaptation starts from, where it is not zero: the LoRA of another adapter of the same base, rank and targets."""

from pathlib import Path
from typing import Any

from worldagen.adaptation.adapter import AdapterFiles, Weights, lora_targets, read_files
from worldagen.adaptation.recipe import TrainedSection
from worldagen.errors import AdaptationError
from worldagen.network.config import NetworkConfig


def read_start(folder: Path, section: TrainedSection, config: NetworkConfig, base: Weights, digest: str) -> AdapterFiles:
    """An adapter's folder, checked, to start the training of a section from; whatever its gate said, for it will not drive.

    Raises AdaptationError for all that `adapter.read_files` refuses, for what is no LoRA, and for another rank, alpha or
    targets.
    """
    if section.what != "lora":
        raise AdaptationError(f"trained.what is {section.what!r}; only lora starts from an adapter. Start it from the base")
    files = read_files(folder, config, base, digest)
    found = files.trained
    if found.what != "lora":
        raise AdaptationError(f"{folder}: an adapter of the kind {found.what!r} is no start; give one of the kind lora")
    for name in ("rank", "alpha"):
        if getattr(found, name) != getattr(section, name):
            raise AdaptationError(
                f"{folder}: its trained.{name} is {getattr(found, name):g}, this recipe's is {getattr(section, name):g}; "
                "give the recipe the same, or make another start"
            )
    theirs, ours = (set(lora_targets(each, config, base)) for each in (found, section))
    if theirs != ours:
        raise AdaptationError(
            f"{folder} adds to {len(theirs)} projections (trained.projections {found.projections!r}, layers {found.layers!r}), "
            f"this recipe to {len(ours)} (projections {section.projections!r}, layers {section.layers!r}); "
            "give the recipe the same, or make another start"
        )
    return files


def told_start(files: AdapterFiles | None) -> dict[str, Any]:
    """For a manifest: which adapter was started from, and what of; empty for zero."""
    if files is None:
        return {}
    manifest = files.manifest
    return {
        "id": manifest["id"], "recipe_name": manifest.get("recipe_name", ""), "files": dict(manifest["files"]),
        "mixture": manifest.get("mixture", {}),
    }  # fmt: skip
