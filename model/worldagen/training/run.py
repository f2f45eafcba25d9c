"""A whole training run: data -> cache -> encoder -> kept features -> policy. Every stage goes on where it was interrupted.

OUT/recipe.json           what was asked for; a later run in this folder must ask for the same
OUT/data.json             which frames it began with; encoder and features are worth nothing for others
OUT/cache/                frames of the data
OUT/encoder/              stage 1: states, metrics, and encoder.safetensors when done
OUT/features/             stage 2
OUT/policy_SEED/          stage 3: states, metrics, pictures
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from tqdm import tqdm

from worldagen.checkpoint import find_checkpoint, load_weights, read_conventions, save_checkpoint
from worldagen.checkpoint_files import WEIGHTS
from worldagen.data.cache import CachedEpisode, FrameCache, open_cache, picture_sizes
from worldagen.errors import TrainingError
from worldagen.network.config import find_preset
from worldagen.network.worldagen import WorldAgen
from worldagen.policy_conventions import PolicyConventions, find_preset_conventions
from worldagen.provenance import sha256_of
from worldagen.training.encoder import EncoderLoss, encoder_batches, encoder_report, numbers_to_regress
from worldagen.training.features import keep_features
from worldagen.training.loop import Fitted, fit, make_accelerator
from worldagen.training.pictures import save_pictures
from worldagen.training.policy import PolicyLoss, policy_batches, policy_report
from worldagen.training.recipe import Recipe
from worldagen.training.samples import NetworkNumbers, WindowPlaces, network_numbers, split_episodes
from worldagen.training.state import averaged_weights, trained_weights
from worldagen.whole_files import write_whole

RECIPE, DATA, ENCODER, POLICY = "recipe.json", "data.json", "encoder.safetensors", "policy_"


@dataclass(frozen=True, eq=False)
class Prepared:
    """What all stages share."""

    recipe: Recipe
    folder: Path
    cache: FrameCache
    numbers: NetworkNumbers
    conventions: PolicyConventions
    training: list[CachedEpisode]
    held_out: list[CachedEpisode]


def prepare(recipe: Recipe, specs: Sequence[str], folder: Path) -> Prepared:
    """Check the folder and decode the data. Raises TrainingError for a folder of another run, DataError for unusable data."""
    config, conventions = find_preset(recipe.preset), find_preset_conventions(recipe.preset)
    start = find_checkpoint(recipe.start) if recipe.start else None
    if start is not None and read_conventions(start) != conventions:
        raise TrainingError(f"start: {start} has other conventions than the preset {recipe.preset!r}; its numbers would mean "
                            "something else. Give a checkpoint of that preset, or none")  # fmt: skip
    _claim(folder, recipe, specs)
    cache = open_cache(
        folder / "cache", specs, picture_sizes(config), conventions.image, recipe.machine.decode_processes, _progress("decode")
    )
    _claim_data(folder, cache, start)
    training, held_out = split_episodes(cache, recipe.data.held_out_every)
    print(f"{len(cache.episodes)} episodes, {cache.frames} frames; {len(held_out)} held out, {len(cache.skipped)} skipped")
    for skipped in cache.skipped[:20]:
        named = skipped.reason.startswith(skipped.name)
        print(f"  skipped {skipped.reason}" if named else f"  skipped {skipped.name}: {skipped.reason}")
    return Prepared(recipe, folder, cache, network_numbers(cache, conventions), conventions, training, held_out)


def train(prepared: Prepared) -> Fitted:
    """All stages; returns what the policy stage left. Raises TrainingError, DataError."""
    recipe, folder, cache = prepared.recipe, prepared.folder, prepared.cache
    policy_folder = folder / f"{POLICY}{recipe.seed}"
    accelerator = make_accelerator(recipe.machine, policy_folder)
    network = make_network(prepared)
    places = WindowPlaces(prepared.training, network.config, recipe.data)  # refused before anything is trained
    held_out = WindowPlaces(prepared.held_out, network.config, recipe.data) if prepared.held_out else None
    train_encoder(prepared, network, accelerator)
    _take_encoder(folder, network)
    images = prepared.conventions.image
    if accelerator.is_main_process:
        keep_features(
            folder / "features", network.to(accelerator.device), cache, images, recipe.features, recipe.encoder_seed,
            _progress("features"),
        )  # fmt: skip
    accelerator.wait_for_everyone()
    features = keep_features(folder / "features", network, cache, images, recipe.features, recipe.encoder_seed)
    if accelerator.is_main_process:
        print(f"{len(places)} windows to train on, {places.too_short} episodes are too short for one")
    draw = policy_batches(
        recipe.policy, places, cache, prepared.numbers, features, _text(network, places.words), network, images,
        prepared.conventions.state, recipe.seed,
    )  # fmt: skip
    checked = None
    if held_out is not None:
        text = _text(network, held_out.words)
        score = policy_report(held_out, cache, prepared.numbers, features[0], text, network, images)

        def validate(module: nn.Module, step: int) -> dict[str, float]:
            if accelerator.is_main_process and network.config.image_prediction:
                save_pictures(
                    policy_folder / f"pictures_{step:06d}.png", held_out, cache, prepared.numbers, features[0], text, network,
                    images,
                )  # fmt: skip
            return score(module, step)

        checked = validate

    return fit(
        f"policy {recipe.seed}", PolicyLoss(network, recipe.policy.loss), draw, recipe.policy.loop, recipe.policy.optimiser,
        accelerator, policy_folder, checked,
    )  # fmt: skip


def make_network(prepared: Prepared) -> WorldAgen:
    """With fresh weights, the encoder's from the encoder's seed, the others from the policy's; or those the recipe starts from.

    Raises CheckpointError for a start that is another network.
    """
    config = find_preset(prepared.recipe.preset)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(prepared.recipe.encoder_seed)
        encoder = WorldAgen(config)
        torch.manual_seed(prepared.recipe.seed)
        network = WorldAgen(config)
    network.vision.load_state_dict(encoder.vision.state_dict())
    network.resampler.load_state_dict(encoder.resampler.state_dict())
    if prepared.recipe.start:
        load_weights(find_checkpoint(prepared.recipe.start), network)
    return network


def train_encoder(prepared: Prepared, network: WorldAgen, accelerator: Accelerator) -> None:
    """Stage 1, if it is not done; without steps the encoder stays as it is. Leaves FOLDER/encoder/encoder.safetensors.

    All processes take part.
    """
    recipe, cache, folder = prepared.recipe, prepared.cache, prepared.folder / "encoder"
    stage, images = recipe.encoder, prepared.conventions.image
    done = (folder / ENCODER).is_file()
    accelerator.wait_for_everyone()  # until all have looked, nobody may write it
    if done:
        return
    folder.mkdir(parents=True, exist_ok=True)
    if stage.loop.steps and network.config.vision.trained:
        names, table = numbers_to_regress(stage, cache, prepared.numbers)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.encoder_seed)
            module = EncoderLoss(network, len(names), stage.picture_weight)
        draw = encoder_batches(stage, cache, prepared.training, network.config, images, table, recipe.encoder_seed)
        validate = None
        if prepared.held_out:
            validate = encoder_report(cache, prepared.held_out, network.config, images, table, names)
        fitted = fit("encoder", module, draw, stage.loop, stage.optimiser, accelerator, folder, validate)
        module.load_state_dict(averaged_weights(fitted.states[-1]), strict=False)
        accelerator.free_memory()  # of the optimiser, which is done
    if accelerator.is_main_process:
        _save_encoder(folder, network)
    accelerator.wait_for_everyone()


def build_checkpoint(prepared: Prepared, state: Path, folder: Path, notes: str) -> None:
    """The checkpoint folder of a saved state of the policy stage: its moving average, and the encoder."""
    network = make_network(prepared)
    _take_encoder(prepared.folder, network)
    averaged = {name.removeprefix("network."): value for name, value in averaged_weights(state).items()}
    trained = trained_weights(PolicyLoss(network, prepared.recipe.policy.loss))
    expected = {name.removeprefix("network."): weight.shape for name, weight in trained.items()}
    differing = sorted(
        name for name in {*expected, *averaged} if getattr(averaged.get(name), "shape", None) != expected.get(name)
    )
    if differing:
        raise TrainingError(f"{state}: weights of another network: {', '.join(differing[:5])}")
    network.load_state_dict(averaged, strict=False)
    save_checkpoint(folder, network.eval(), prepared.conventions, notes)


def _encoder_of(network: WorldAgen) -> dict[str, torch.Tensor]:
    return {
        f"{part}.{name}": tensor.detach().cpu().contiguous()
        for part in ("vision", "resampler")
        for name, tensor in getattr(network, part).state_dict().items()
    }


def _save_encoder(folder: Path, network: WorldAgen) -> None:
    aside = folder / f".{ENCODER}"
    try:
        save_file(_encoder_of(network), aside)
        aside.rename(folder / ENCODER)
    except (OSError, SafetensorError) as error:
        aside.unlink(missing_ok=True)
        raise TrainingError(f"{folder / ENCODER}: cannot be saved: {error}; the states beside it are whole") from None


def _take_encoder(folder: Path, network: WorldAgen) -> None:
    file = folder / "encoder" / ENCODER
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"{file}: cannot be read ({error}); train in this folder first") from None
    for part in ("vision", "resampler"):
        prefix = f"{part}."
        own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        getattr(network, part).load_state_dict(own)
    network.vision.requires_grad_(False)
    network.resampler.requires_grad_(False)


def _text(network: WorldAgen, words: Sequence[str]) -> torch.Tensor:
    with torch.no_grad():
        return network.text(list(words)).float().cpu()


def _claim(folder: Path, recipe: Recipe, specs: Sequence[str]) -> None:
    """Stages in a folder belong to one recipe but for the policy's seed and what does not change the result."""
    asked = asdict(recipe)
    for key in ("seed", "machine", "choice"):
        asked.pop(key)
    asked["data_sources"] = list(specs)
    file = folder / RECIPE
    try:
        # Looked at before the recipe: another process of this run may be writing here.
        foreign = folder.is_dir() and any(RECIPE not in item.name for item in folder.iterdir())
        if file.is_file():
            found = _read_json(file)
            differing = list(_differences(found, json.loads(json.dumps(asked))))
            if differing:
                raise TrainingError(
                    f"{folder} holds a run with {'; '.join(differing)}. Ask for the same, or give another folder"
                )
            return
        if foreign:
            raise TrainingError(
                f"{folder} is not empty and holds no training run; give another folder. Nothing in it was changed"
            )
        folder.mkdir(parents=True, exist_ok=True)
        _write_json(file, asked)
    except OSError as error:
        raise TrainingError(f"{folder}: no training run can be kept here: {error}") from None


def _claim_data(folder: Path, cache: FrameCache, start: Path | None) -> None:
    """What is kept in a folder was made from one set of frames, and from one checkpoint if it began with one."""
    file, now = folder / DATA, {"cache": cache.folder.name}
    if start is not None:
        now["start"] = sha256_of(start / WEIGHTS)
    if not file.is_file():
        _write_json(file, now)
    elif _read_json(file) != now:
        raise TrainingError(f"{folder}: its data or the checkpoint it starts from have changed since it was begun (files were "
                            "added, removed or written again); give another folder")  # fmt: skip


def _read_json(file: Path) -> object:
    try:
        return json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(f"{file}: cannot be read ({error}); give another folder") from None


def _write_json(file: Path, tree: object) -> None:
    try:
        write_whole(file, json.dumps(tree, indent=1))
    except OSError as error:
        raise TrainingError(f"{file}: cannot be written: {error}") from None


def _differences(found: object, asked: object, prefix: str = "") -> Iterable[str]:
    if isinstance(found, dict) and isinstance(asked, dict):
        for key in {**found, **asked}:
            yield from _differences(found.get(key), asked.get(key), f"{prefix}{key}.")
    elif found != asked:
        yield f"{prefix.rstrip('.')} {found!r} instead of {asked!r}"


def _progress(name: str):
    def wrap(items: Iterable, total: int) -> Iterable:
        return tqdm(items, total=total, desc=name, mininterval=1.0)

    return wrap
