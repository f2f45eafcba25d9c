"""From a bag to a judged adapter: its files, what is refused, and that a run that ends early leaves nothing behind."""

import json
import os
import signal
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from adaptation_making import CANVAS, RECIPE, explored, small_checkpoint, write_exploration
from peft import PeftModel
from safetensors.torch import load_file, save_file
from small_networks import TINY

from worldagen.adaptation.adapter import MANIFEST, digest_of, load_adapter, read_manifest, weights_of
from worldagen.adaptation.bank import AdapterBank
from worldagen.adaptation.process import AdaptationCanceled, AdaptationProcess
from worldagen.adaptation.recipe import load_adaptation_recipe
from worldagen.adaptation.request import AdaptationRequest, Progress
from worldagen.adaptation.run import adapt
from worldagen.checkpoint import load_checkpoint
from worldagen.errors import AdaptationError, ConfigError, DataError, UnknownName

pytestmark = pytest.mark.timeout(360)  # its process gives way to whatever else runs


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Bags, a checkpoint, a recipe."""
    folder = tmp_path_factory.mktemp("adaptation")
    write_exploration(folder / "bags")
    small_checkpoint(folder / "checkpoint")
    write_recipe(folder / "small.yaml", RECIPE)
    return folder


def write_recipe(file: Path, recipe) -> Path:
    file.write_text(yaml.safe_dump(asdict(recipe)), "utf-8")
    return file


def asked(place: Path, out: Path, **changes) -> AdaptationRequest:
    return replace(
        AdaptationRequest(
            str(place / "checkpoint"), str(place / "bags"), str(place / "small.yaml"), str(out), str(place / "cache")
        ),
        **changes,
    )


@pytest.fixture(scope="module")
def adapted(place, tmp_path_factory):
    return adapt(asked(place, tmp_path_factory.mktemp("adapters")))


def loaded(place: Path):
    network, _ = load_checkpoint(place / "checkpoint")
    return network, AdapterBank(network)


def copy_of(adapted, out: Path) -> Path:
    folder = out / "copy"
    folder.mkdir()
    for file in Path(adapted.folder).iterdir():
        if file.name != "activations.jsonl":  # of another test
            (folder / file.name).write_bytes(file.read_bytes())
    return folder


def test_an_adapter_tells_where_it_comes_from_and_how_it_was_judged(adapted):
    manifest = read_manifest(Path(adapted.folder))
    assert adapted.loss_after < adapted.loss_before
    assert manifest["windows"]["learned"]["count"] == adapted.windows == 6 and adapted.held_out_windows == 6
    assert len(manifest["training"]["losses"]) == RECIPE.optimiser.passes
    assert [check["name"] for check in manifest["gate"]["checks"]] == [
        "finite", "held-out loss", "translation", "rotation", "gripper",
    ]  # fmt: skip
    assert set(manifest["files"]) == {"adapter_model.safetensors", "adapter_config.json"}
    assert manifest["made"]["command"] == "adapt" and manifest["data"]["rollouts"] == 4


def test_peft_itself_reads_the_adapter_and_answers_as_the_merged_weights_do(place, adapted):
    network, bank = loaded(place)
    bank.keep(bank.load(Path(adapted.folder)))
    bank.activate(adapted.adapter_id, override="test")
    tokens, indices = torch.randn(1, 6, CANVAS.hidden), torch.arange(6)
    merged = network.attend(tokens, indices)
    plain, _ = load_checkpoint(place / "checkpoint")
    base = plain.attend(tokens, indices)
    plain.config = None  # type: ignore[assignment] - what peft expects there is transformers' own
    by_peft: Any = PeftModel.from_pretrained(plain, adapted.folder).base_model.model  # type: ignore[arg-type]
    torch.testing.assert_close(merged, by_peft.attend(tokens, indices), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(merged, base, atol=1e-4)


@pytest.mark.parametrize("what", ["image_head", "full"])
def test_whole_weights_are_kept_and_loaded_too(place, tmp_path, what):
    recipe = write_recipe(tmp_path / "whole.yaml", replace(RECIPE, trained=replace(RECIPE.trained, what=what)))
    made = adapt(asked(place, tmp_path, recipe=str(recipe)))
    drift = read_manifest(Path(made.folder))["gate"]["drift"]
    assert (drift["translation_p99_m"] == drift["rotation_p99_rad"] == drift["gripper_flips"] == 0) == (what == "image_head")
    network, bank = loaded(place)
    before = {name: weight.clone() for name, weight in weights_of(network).items()}
    bank.keep(bank.load(Path(made.folder)))
    assert bank.activate(made.adapter_id, override="test") == (what == "image_head")  # "full" changes what inputs become
    changed = {name for name, weight in weights_of(network).items() if not torch.equal(weight, before[name])}
    assert changed and all(name.startswith("image_head.") for name in changed) == (what == "image_head")
    assert not any(name.startswith(("vision.", "resampler.", "text.")) for name in changed)


def test_going_back_gives_the_very_weights_of_the_base(place, adapted):
    network, bank = loaded(place)
    before = {name: (weight.data_ptr(), weight.clone()) for name, weight in weights_of(network).items()}
    bank.keep(bank.load(Path(adapted.folder)))
    bank.activate(adapted.adapter_id, override="test")
    again = bank.load(Path(adapted.folder))  # while it is active: still against the base
    bank.activate("")
    for name, weight in weights_of(network).items():
        assert weight.data_ptr() == before[name][0] and torch.equal(weight, before[name][1]), name
    assert all(torch.equal(again.weights[name], bank.load(Path(adapted.folder)).weights[name]) for name in again.weights)


def test_a_rejected_adapter_is_active_only_by_an_override_that_is_recorded(place, adapted, tmp_path):
    folder = copy_of(adapted, tmp_path)
    manifest = read_manifest(folder)
    manifest["gate"]["verdict"] = "rejected"
    (folder / MANIFEST).write_text(json.dumps(manifest), "utf-8")
    _, bank = loaded(place)
    bank.keep(bank.load(folder))
    with pytest.raises(AdaptationError, match="rejected by its gate"):
        bank.activate(adapted.adapter_id)
    assert bank.active == "" and not (folder / "activations.jsonl").exists()
    bank.activate(adapted.adapter_id, override="a trial on the bench")
    line = json.loads((folder / "activations.jsonl").read_text("utf-8"))
    assert line["override"] == "a trial on the bench" and bank.active == adapted.adapter_id


def damage_weights(folder: Path, network) -> None:
    file = folder / "adapter_model.safetensors"
    data = bytearray(file.read_bytes())
    data[-5] ^= 0xFF
    file.write_bytes(data)


def cut_weights(folder: Path, network) -> None:
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-40])


def forget_weights(folder: Path, network) -> None:
    (folder / "adapter_model.safetensors").unlink()


def rewrite(folder: Path, change) -> None:
    """Change the tensors and let the manifest agree, as somebody with the best intentions would."""
    from worldagen.provenance import sha256_of

    file = folder / "adapter_model.safetensors"
    save_file(change(load_file(file)), file)
    manifest = read_manifest(folder)
    manifest["files"][file.name] = sha256_of(file)
    (folder / MANIFEST).write_text(json.dumps(manifest), "utf-8")


def other_rank(folder: Path, network) -> None:
    rewrite(folder, lambda tensors: {n: t[:2] if "lora_A" in n else t[:, :2].contiguous() for n, t in tensors.items()})


def other_type(folder: Path, network) -> None:
    rewrite(folder, lambda tensors: {name: tensor.half() for name, tensor in tensors.items()})


def not_finite(folder: Path, network) -> None:
    rewrite(folder, lambda tensors: {name: tensor * float("nan") for name, tensor in tensors.items()})


def a_tensor_missing(folder: Path, network) -> None:
    rewrite(folder, lambda tensors: dict(list(tensors.items())[1:]))


def other_base(folder: Path, network) -> None:
    with torch.no_grad():
        network.position.add_(1.0)


def other_file(folder: Path, network) -> None:
    manifest = read_manifest(folder)
    manifest["files"]["../secret"] = "0" * 64
    (folder / MANIFEST).write_text(json.dumps(manifest), "utf-8")


def half_a_manifest(folder: Path, network) -> None:
    (folder / MANIFEST).write_text((folder / MANIFEST).read_text("utf-8")[:200], "utf-8")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (damage_weights, "adapter_model.safetensors: damaged"),
        (cut_weights, "adapter_model.safetensors: damaged"),
        (forget_weights, "adapter_model.safetensors: cannot be read"),
        (other_rank, r"found \(2, 32\) torch.float32, expected \(4, 32\)"),
        (other_type, "torch.float16, expected"),
        (not_finite, "numbers that are not finite"),
        (a_tensor_missing, "missing: base_model.model.backbone"),
        (other_base, "belongs to a base with the digest"),
        (other_file, "outside its folder"),
        (half_a_manifest, "manifest.json: damaged"),
    ],
)
def test_what_does_not_fit_is_refused_by_name_before_a_weight_moves(place, adapted, tmp_path, spoil, told):
    folder = copy_of(adapted, tmp_path)
    network, _ = load_checkpoint(place / "checkpoint")
    spoil(folder, network)
    before = {name: weight.clone() for name, weight in weights_of(network).items()}
    bank = AdapterBank(network)
    with pytest.raises(AdaptationError, match=told):
        bank.load(folder)
    assert all(torch.equal(weight, before[name]) for name, weight in weights_of(network).items())
    with pytest.raises(AdaptationError, match="no adapter"):
        bank.activate(adapted.adapter_id)


def test_an_adapter_outlives_the_settings_of_the_recipe_that_made_it(place, adapted, tmp_path):
    folder = copy_of(adapted, tmp_path)
    manifest = read_manifest(folder)
    manifest["recipe"]["optimiser"] = {"steps": 10, "of_another_version": True}
    (folder / MANIFEST).write_text(json.dumps(manifest), "utf-8")
    _, bank = loaded(place)
    assert bank.load(folder).id == adapted.adapter_id
    del manifest["recipe"]["trained"]
    (folder / MANIFEST).write_text(json.dumps(manifest), "utf-8")
    with pytest.raises(AdaptationError, match="the recipe has no part 'trained'; adapt again"):
        bank.load(folder)


def test_what_is_no_adapter_is_told_so(place, tmp_path):
    network, _ = load_checkpoint(place / "checkpoint")
    with pytest.raises(AdaptationError, match="no such file; give the folder of an adapter"):
        load_adapter(tmp_path, network.config, weights_of(network), digest_of(weights_of(network)))


def test_a_check_that_is_still_to_come_keeps_the_adapter_rejected(place, tmp_path):
    made = adapt(asked(place, tmp_path, further_checks=("canary",)))
    assert not made.accepted and "FAILED: canary: asked for and not made yet" in made.reasons


class Enough(Exception):
    pass


@pytest.mark.parametrize("stage", ["reading", "encoding", "training", "judging"])
def test_a_run_that_is_ended_in_any_stage_leaves_nothing(place, tmp_path, stage):
    def tell(progress: Progress) -> None:
        if progress.stage == stage:
            raise Enough

    with pytest.raises(Enough):
        adapt(asked(place, tmp_path / "adapters", cache=str(tmp_path / "cache")), tell)
    assert not (tmp_path / "adapters").exists()


def test_a_full_disk_leaves_nothing(place, tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("worldagen.adaptation.adapter.save_file", full)
    with pytest.raises(AdaptationError, match="No space left on device; nothing of it was kept"):
        adapt(asked(place, tmp_path))
    assert list(tmp_path.iterdir()) == []


def poisoned(change):
    def make(seed: int):
        return change(explored(seed))

    return make


def black(shown):
    return replace(shown, wrist=np.zeros_like(shown.wrist))


def frozen(shown):
    return replace(shown, static=np.repeat(shown.static[:1], len(shown.static), axis=0))


def swapped(shown):
    return replace(shown, static=shown.wrist, wrist=shown.static)


def not_a_number(shown):
    return replace(shown, joints=np.where(np.arange(len(shown.joints))[:, None] == 7, np.nan, shown.joints))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (black, "30 of 30 wrist pictures show nothing"),
        (frozen, "the static picture stood still"),
        (swapped, "the two cameras are swapped"),
        (not_a_number, "none of 4 episodes can be used"),
    ],
)
def test_a_poisoned_bag_is_refused(place, tmp_path, change, told):
    bags = write_exploration(tmp_path / "bags", make=poisoned(change))
    with pytest.raises((AdaptationError, DataError), match=told):
        adapt(asked(place, tmp_path / "adapters", bag=str(bags), cache=str(tmp_path / "cache")))
    assert not (tmp_path / "adapters").exists()


def test_too_few_rollouts_to_judge_with_are_refused(place, tmp_path):
    bags = write_exploration(tmp_path / "bags", rollouts=2)
    with pytest.raises(AdaptationError, match="explore 4 rollouts or more"):
        adapt(asked(place, tmp_path / "adapters", bag=str(bags), cache=str(tmp_path / "cache")))


def test_rollouts_too_short_for_a_window_are_refused(place, tmp_path):
    bags = write_exploration(tmp_path / "bags", make=lambda seed: explored(seed, 12))
    with pytest.raises(AdaptationError, match="spans 18 frames, the longest of 4 rollouts has 12"):
        adapt(asked(place, tmp_path / "adapters", bag=str(bags), cache=str(tmp_path / "cache")))


def test_choices_that_contradict_each_other_are_refused(tmp_path):
    with pytest.raises(UnknownName, match=r"default.*paper.*published"):
        load_adaptation_recipe("papr")
    with pytest.raises(ConfigError, match="set batch to 1"):
        load_adaptation_recipe("default", {"optimiser.clip_running_sum": "true"})
    assert load_adaptation_recipe("image_head").trained.what == "image_head"
    with pytest.raises(ConfigError, match=r"optimiser\.decay and optimiser\.warm_up_rule"):
        load_adaptation_recipe("published", {"optimiser.decay": "true"})
    with pytest.raises(ConfigError, match="expected some of: q, k, v"):
        load_adaptation_recipe("default", {"trained.projections": "q,z"})


def in_process(place: Path, out: Path, passes: int) -> AdaptationProcess:
    return AdaptationProcess(asked(place, out, overrides={"optimiser.passes": str(passes)}))


def wait_for(running: AdaptationProcess, stage: str, deadline_s: float = 200.0) -> None:
    ends_s = time.monotonic() + deadline_s
    while running.progress is None or running.progress.stage != stage:
        assert not running.done and time.monotonic() < ends_s, running.progress
        time.sleep(0.01)


def test_in_a_process_of_its_own_it_gives_way_and_gives_the_same(place, tmp_path, adapted):
    running = AdaptationProcess(asked(place, tmp_path))
    nice = os.getpriority(os.PRIO_PROCESS, running.pid)
    for _ in running.follow():
        nice = max(nice, os.getpriority(os.PRIO_PROCESS, running.pid))
    made = running.result()
    assert made.loss_after == pytest.approx(adapted.loss_after) and nice == 19
    ours, theirs = (load_file(Path(one.folder) / "adapter_model.safetensors") for one in (made, adapted))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize(("number", "told"), [(signal.SIGTERM, "was cancelled"), (signal.SIGKILL, "killed by SIGKILL")])
def test_cancelled_or_killed_in_training_it_leaves_no_half_adapter(place, tmp_path, number, told):
    out = tmp_path / "adapters"
    running = in_process(place, out, 10_000)
    wait_for(running, "training")
    asked_s = time.monotonic()
    os.kill(running.pid, number)
    with pytest.raises(AdaptationError, match=told) as caught:
        running.result()
    assert time.monotonic() - asked_s < 5.0 and not out.exists()
    assert isinstance(caught.value, AdaptationCanceled) == (number == signal.SIGTERM)


def happening(monkeypatch, what: str) -> None:
    """What happens to the workers of this test: see dying_worker.py."""
    monkeypatch.setattr("worldagen.adaptation.process.WORKER", "dying_worker")
    monkeypatch.setenv("HAPPENS", what)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))


@pytest.mark.parametrize("stage", ["reading", "encoding", "training", "judging", "writing"])
def test_killed_in_any_stage_it_leaves_nothing(place, tmp_path, monkeypatch, stage):
    happening(monkeypatch, f"killed:{stage}")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    running = AdaptationProcess(asked(place, tmp_path / "adapters", cache=""))
    with pytest.raises(AdaptationError, match="killed by SIGKILL"):
        running.result()
    assert [path.name for path in tmp_path.rglob("*") if path.name not in ("temporary", "adapters")] == []


def test_without_memory_it_says_what_to_do_and_leaves_nothing(place, tmp_path, monkeypatch):
    happening(monkeypatch, "memory:training")
    running = AdaptationProcess(asked(place, tmp_path / "adapters"))
    with pytest.raises(AdaptationError, match=r"not enough memory.*lower `batch` in the recipe"):
        running.result()
    assert not (tmp_path / "adapters").exists()


def test_what_a_process_refuses_comes_through_in_its_words(place, tmp_path):
    open_before = set(os.listdir("/proc/self/fd"))
    running = AdaptationProcess(asked(place, tmp_path, bag=str(tmp_path / "nowhere")))
    with pytest.raises(AdaptationError, match="nowhere"):
        running.result()
    assert set(os.listdir("/proc/self/fd")) <= open_before, "its pipes are still open"


def test_a_network_without_a_world_model_cannot_be_adapted(place, tmp_path):
    small_checkpoint(tmp_path / "blind", replace(TINY, image_prediction=False))
    with pytest.raises(AdaptationError, match="no world model to adapt"):
        adapt(asked(place, tmp_path / "adapters", checkpoint=str(tmp_path / "blind"), cache=str(tmp_path / "cache")))
