"""An adapter on disk: weights, what they belong to, how they were made and judged. No pickle.

    adapters/ID/manifest.json               all of that; names and digests of the other files
    adapters/ID/adapter_model.safetensors   LoRA, in peft's layout, beside its adapter_config.json; or
    adapters/ID/weights.safetensors         whole weights, by their names in the network
    adapters/ID/activations.jsonl           who made a rejected adapter active all the same, and when

A folder is written aside, synced and renamed: it is there complete, or not at all. Loading checks it before a weight moves.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from worldagen.adaptation.recipe import AdaptationRecipe, TrainedSection
from worldagen.adaptation.trained import PARTS, lora_config, lora_names, projection_pattern
from worldagen.config import Section, apply_tree
from worldagen.errors import AdaptationError, ConfigError
from worldagen.network.config import BackboneConfig, NetworkConfig
from worldagen.network.worldagen import WorldAgen
from worldagen.provenance import sha256_of
from worldagen.whole_files import sync_tree, write_whole

if TYPE_CHECKING:
    from worldagen.adaptation.gate import Check

MANIFEST, LORA, WEIGHTS, ACTIVATIONS = "manifest.json", "adapter_model.safetensors", "weights.safetensors", "activations.jsonl"
FORMAT = "worldagen-adapter-1"
ACCEPTED, REJECTED = "accepted", "rejected"


@dataclass(frozen=True, eq=False)
class Adapter:
    """A loaded adapter. weights: by name in the network, what stands in the place of the base's own."""

    id: str
    folder: Path
    verdict: str
    manifest: Mapping[str, Any]
    weights: Mapping[str, torch.Tensor]


@dataclass(frozen=True, eq=False)
class AdapterFiles:
    """What an adapter's folder holds, found whole and of a base. tensors: by their names in the file."""

    folder: Path
    manifest: Mapping[str, Any]
    trained: TrainedSection
    tensors: Mapping[str, torch.Tensor]


Weights = Mapping[str, torch.Tensor]


def weights_of(network: WorldAgen) -> dict[str, torch.Tensor]:
    """A network's weights as they are now, by name, not copied."""
    return {name: parameter.data for name, parameter in network.named_parameters()}


def digest_of(weights: Weights) -> str:
    """Of weights by name, as 64 hexadecimal digits: which base an adapter belongs to."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def name_adapter(recipe: str, tensors: Weights, when: datetime) -> str:
    """An id: the time (UTC), the recipe's name, and four digits of the weights."""
    plain = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in Path(recipe).stem)
    return f"{when:%Y%m%d-%H%M%S}-{plain}-{digest_of(tensors)[:4]}"


def save_adapter(
    root: Path,
    name: str,
    tensors: Weights,
    backbone: BackboneConfig,
    base: str,
    recipe: AdaptationRecipe,
    notes: Mapping[str, Any],
) -> Path:
    """Write an adapter's folder below a root and return it. base: digest of what it belongs to.

    notes: what else its manifest tells, JSON-ready; "gate" with a "verdict" is part of it.

    Raises AdaptationError, leaving nothing behind, when it exists or cannot be written.
    """
    place, aside = root / name, root / f".{name}.{os.getpid()}"
    if place.exists():
        raise AdaptationError(f"{place} exists; remove it, or wait a second for another name")
    lora = recipe.trained.what == "lora"
    file = LORA if lora else WEIGHTS
    try:
        aside.mkdir(parents=True)
        save_file(dict(tensors), aside / file)
        if lora:
            lora_config(recipe.trained, backbone).save_pretrained(str(aside))
        made = {item.name: sha256_of(item) for item in sorted(aside.iterdir())}
        manifest = {
            "format": FORMAT, "id": name, "base": base, "recipe": asdict(recipe), "files": made, **notes,
            "versions": {"torch": torch.__version__, "peft": version("peft")},
        }  # fmt: skip
        (aside / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")
        sync_tree(aside)
        aside.rename(place)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise AdaptationError(f"{place}: the adapter cannot be written: {error}; nothing of it was kept") from None
    return place


def read_manifest(folder: Path) -> dict[str, Any]:
    """An adapter's manifest. Raises AdaptationError for what is none."""
    file = folder / MANIFEST
    try:
        tree = json.loads(file.read_text("utf-8"))
        if tree["format"] != FORMAT:
            raise AdaptationError(f"{file}: format is {tree['format']!r}; expected {FORMAT!r}")
        for key, kind in (("id", str), ("base", str), ("recipe", dict), ("files", dict), ("gate", dict)):
            if not isinstance(tree[key], kind):
                raise TypeError(f"{key} is {tree[key]!r}")
        if tree["gate"]["verdict"] not in (ACCEPTED, REJECTED):
            raise AdaptationError(f"{file}: the verdict is {tree['gate']['verdict']!r}; expected {ACCEPTED} or {REJECTED}")
    except FileNotFoundError:
        raise AdaptationError(f"{file}: no such file; give the folder of an adapter, which holds {MANIFEST}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AdaptationError(f"{file}: damaged ({type(error).__name__}: {error}); adapt again") from None
    return tree


def load_adapter(folder: Path, config: NetworkConfig, base: Weights, digest: str, stored: Weights | None = None) -> Adapter:
    """Read an adapter, check it and merge it with a base. Moves no weight. Raises AdaptationError as `read_files`.

    stored: shapes and types that the base was stored with, where it runs in another type.
    """
    files = read_files(folder, config, stored or base, digest)
    section, manifest = files.trained, files.manifest
    weights = merge_lora(section, config, files.tensors, base) if section.what == "lora" else files.tensors
    moved = {name: tensor.to(base[name]) for name, tensor in weights.items()}  # its device and its type
    return Adapter(manifest["id"], folder, manifest["gate"]["verdict"], manifest, moved)


def read_files(folder: Path, config: NetworkConfig, base: Weights, digest: str) -> AdapterFiles:
    """Read and check an adapter for a base: its configuration, its weights and their digest.

    Raises AdaptationError, by name, for another base, rank, shape or type, a damaged file, and numbers that are not finite.
    """
    manifest = read_manifest(folder)
    if manifest["base"] != digest:
        raise AdaptationError(
            f"{folder} belongs to a base with the digest {manifest['base'][:12]}..., this network has {digest[:12]}...; "
            "adapt this checkpoint, or load the other"
        )
    section = read_section(manifest, folder, "trained", TrainedSection())
    file = folder / (LORA if section.what == "lora" else WEIGHTS)
    _refuse_damage(folder, manifest["files"], file.name)
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError) as error:
        raise AdaptationError(f"{file}: not a whole safetensors file ({error}); copy the adapter again") from None
    _refuse_differences(file, tensors, expected_tensors(section, config, base))
    broken = sorted(name for name, tensor in tensors.items() if not torch.isfinite(tensor).all())
    if broken:
        raise AdaptationError(f"{file}: numbers that are not finite in {', '.join(broken[:3])}; this adapter must not be used")
    return AdapterFiles(folder, manifest, section, tensors)


def read_section(manifest: Mapping[str, Any], folder: Path, name: str, section: Section) -> Section:
    """A part of the recipe that an adapter was made by; section: of its kind. Raises AdaptationError.

    Only the part that is needed: an adapter outlives the settings of optimisers, and its weights are what they are.
    """
    file = folder / MANIFEST
    if name not in manifest["recipe"]:
        raise AdaptationError(f"{file}: the recipe has no part {name!r}; adapt again")
    try:
        return apply_tree(section, manifest["recipe"][name], str(file), f"recipe.{name}.")
    except ConfigError as error:
        raise AdaptationError(f"{error}; this adapter was made by another version") from None


def expected_tensors(section: TrainedSection, config: NetworkConfig, base: Weights) -> dict[str, tuple[tuple[int, ...], str]]:
    """Name -> shape and type of the tensors that an adapter of this kind has for this base."""
    if section.what != "lora":
        return {n: (tuple(w.shape), str(w.dtype)) for n, w in base.items() if n.startswith(PARTS[section.what])}
    expected = {}
    for name in lora_targets(section, config, base):
        up, down = width_of(config, base[f"{name}.weight"])
        kind = str(base[f"{name}.weight"].dtype)
        for file_name, shape in zip(lora_names(name), ((section.rank, down), (up, section.rank)), strict=True):
            expected[file_name] = (shape, kind)
    return expected


def width_of(config: NetworkConfig, weight: torch.Tensor) -> tuple[int, int]:
    """(out, in) of a projection; GPT-2's Conv1D keeps (in, out)."""
    first, second = weight.shape
    return (second, first) if config.backbone.kind == "gpt2" else (first, second)


def lora_targets(section: TrainedSection, config: NetworkConfig, base: Weights) -> list[str]:
    """The projections that a section adds to, by name."""
    pattern = re.compile(projection_pattern(section, config.backbone))
    names = [name.removesuffix(".weight") for name in base if name.endswith(".weight")]
    return [name for name in names if pattern.fullmatch(name)]


def lora_pairs(
    section: TrainedSection, config: NetworkConfig, tensors: Weights, base: Weights
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Name of the weight -> A (rank, in) and B (out, rank), in single precision, from tensors by their names in a file."""
    pairs = {}
    for name in lora_targets(section, config, base):
        a, b = (tensors[file_name].float() for file_name in lora_names(name))
        pairs[f"{name}.weight"] = a, b
    return pairs


def merge_lora(section: TrainedSection, config: NetworkConfig, tensors: Weights, base: Weights) -> dict[str, torch.Tensor]:
    """W + (alpha / rank) B A of every projection; the same real numbers as adding B A x, without a cost while running."""
    scale = section.alpha / section.rank
    pairs = lora_pairs(section, config, tensors, base)
    return {name: with_delta(config, base[name], scale * (b @ a)) for name, (a, b) in pairs.items()}


def with_delta(config: NetworkConfig, weight: torch.Tensor, delta: torch.Tensor) -> torch.Tensor:
    """A projection's weight with something added, in the weight's type, on the CPU. delta: (out, in), single precision."""
    added = weight.cpu().float() + (delta.T if config.backbone.kind == "gpt2" else delta)
    return added.to(weight.dtype).contiguous()


def settle_checks(folder: Path, checks: Sequence["Check"], **numbers: Any) -> dict[str, Any]:
    """Put checks that were still to be made in their places, and judge anew; returns the manifest. Raises AdaptationError.

    A check "canary" that was pending is replaced by all whose names begin with it.
    """
    from worldagen.adaptation.gate import Check, Verdict

    manifest = read_manifest(folder)
    told = manifest["gate"]
    kinds = {check.name.split()[0] for check in checks}
    kept = [Check(**item) for item in told["checks"] if item["name"].split()[0] not in kinds]
    more = {key: value for key, value in told.items() if key not in ("verdict", "reasons", "checks")}
    manifest["gate"] = Verdict((*kept, *checks), {**more, **numbers}).to_json()
    try:
        write_whole(folder / MANIFEST, json.dumps(manifest, indent=1) + "\n")
    except OSError as error:
        raise AdaptationError(f"{folder}: the verdict cannot be written ({error}); it stands as it was") from None
    return manifest


def note_activation(folder: Path, verdict: str, why: str) -> None:
    """Record that a rejected adapter is made active. Raises AdaptationError where it cannot be written: then it may not be."""
    line = {"date": datetime.now(timezone.utc).isoformat(timespec="seconds"), "verdict": verdict, "override": why}
    try:
        with (folder / ACTIVATIONS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    except OSError as error:
        raise AdaptationError(f"{folder}: the override cannot be recorded ({error}); nothing was changed") from None


def _refuse_damage(folder: Path, digests: Mapping[str, str], needed: str) -> None:
    if needed not in digests:
        raise AdaptationError(f"{folder / MANIFEST}: tells no digest of {needed}; adapt again")
    for name, digest in digests.items():
        if Path(name).name != name:
            raise AdaptationError(
                f"{folder / MANIFEST}: names the file {name!r} outside its folder; this adapter must not be used"
            )
        try:
            found = sha256_of(folder / name)
        except OSError as error:
            raise AdaptationError(f"{folder / name}: cannot be read ({error}); copy the adapter again") from None
        if found != digest:
            raise AdaptationError(
                f"{folder / name}: damaged, its digest is {found[:12]}..., expected {digest[:12]}...; copy it again"
            )


def _refuse_differences(
    file: Path, found: Mapping[str, torch.Tensor], expected: Mapping[str, tuple[tuple[int, ...], str]]
) -> None:
    lines = [f"missing: {name}" for name in expected if name not in found]
    lines += [f"unexpected: {name}" for name in found if name not in expected]
    for name, (shape, kind) in expected.items():
        if name in found and (tuple(found[name].shape) != shape or str(found[name].dtype) != kind):
            lines.append(f"{name}: found {tuple(found[name].shape)} {found[name].dtype}, expected {shape} {kind}")
    if lines:
        more = [f"... and {len(lines) - 8} more"] if len(lines) > 8 else []
        raise AdaptationError(f"{file} does not fit this network:\n  " + "\n  ".join([*lines[:8], *more]))
