"""Mixed adapters are the sum of what each adds; they come and go between two decisions, and leave nothing behind."""

import json
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from adaptation_making import CANVAS, CONVENTIONS, make_adapter, small_checkpoint
from mixed_factors import LAYERED, WEIGHTS, applied_separately, random_factors, two_adapters
from small_networks import build, random_observations

from worldagen.adaptation.adapter import digest_of, weights_of
from worldagen.errors import AdaptationError, BankError
from worldagen.mixture.factors import read_factors
from worldagen.mixture.merged import merge_mixture
from worldagen.mixture.stacked import Room, StackedMixture
from worldagen.network.config import BackboneConfig
from worldagen.network.lean import LeanBackbone
from worldagen.session import NetworkPolicy, load_policy

ROOM = Room(adapters=3, rank=5)
GPT2 = replace(LAYERED, backbone=BackboneConfig("gpt2", layers=3, heads=2))
SEEN = random_observations(9)


def some_tokens(network, count: int = 40):
    """Settled tokens and their places; each can read at least itself."""
    torch.manual_seed(3)
    readable = network.mask.diagonal().nonzero()[:, 0][:count]
    return torch.randn(1, len(readable), network.config.hidden, dtype=network.position.dtype), readable


def mixed_and_base(dtype=torch.float32):
    """A network, its lean backbone, room in it, and two adapters."""
    network = build(LAYERED).to(dtype)
    return network, LeanBackbone(network), StackedMixture(network, ROOM), two_adapters(network)


@pytest.mark.parametrize(("dtype", "gap"), [(torch.float32, 1e-6), (torch.bfloat16, 0.05)])
@torch.no_grad()
def test_a_mixture_is_the_sum_of_what_each_adapter_adds(dtype, gap):
    network, lean, stacked, factors = mixed_and_base(dtype)
    tokens, places = some_tokens(network)
    base = network.attend(tokens, places)
    lean.mix(stacked.use(factors, WEIGHTS))
    found = lean.attend(tokens, places)
    with applied_separately(network, factors, WEIGHTS):
        expected = network.attend(tokens, places)
    assert (found - expected).abs().max() <= gap * expected.abs().max()
    assert (expected - base).abs().max() > 0.1


@pytest.mark.parametrize("backbone", [LAYERED, GPT2], ids=["qwen3", "gpt2"])
@torch.no_grad()
def test_merged_into_the_weights_it_is_the_same(backbone):
    network = build(backbone)
    factors = {"kitchen": random_factors(network, "kitchen", 4, 1), "garage": random_factors(network, "garage", 2, 2, "mlp")}
    tokens, places = some_tokens(network)
    merged = merge_mixture(network.config, weights_of(network), factors, WEIGHTS)
    before = {name: weight.clone() for name, weight in weights_of(network).items()}
    if backbone is LAYERED:
        with applied_separately(network, factors, WEIGHTS):
            expected = network.attend(tokens, places)
        stacked, lean = StackedMixture(network, ROOM), LeanBackbone(network)
        lean.mix(stacked.use(factors, WEIGHTS))
        torch.testing.assert_close(lean.attend(tokens, places), expected, rtol=0, atol=1e-5)
    else:  # GPT-2 keeps its weights turned, so the sum is made by hand
        expected = None
        place = "backbone.model.h.1.mlp.c_fc.weight"  # of the level in the middle
        sums = sum(WEIGHTS[name][1] * one.scale * one.pairs[place][1] @ one.pairs[place][0] for name, one in factors.items())
        torch.testing.assert_close(merged[place], before[place] + sums.T, rtol=1e-6, atol=1e-6)
    assert all(torch.equal(weight, before[name]) for name, weight in weights_of(network).items())
    for name, parameter in network.named_parameters():
        parameter.data = merged.get(name, parameter.data)
    if expected is not None:
        torch.testing.assert_close(network.attend(tokens, places), expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_the_order_of_adapters_is_no_matter():
    network, lean, stacked, factors = mixed_and_base()
    tokens, places = some_tokens(network)
    lean.mix(stacked.use(factors, WEIGHTS))
    one = lean.attend(tokens, places)
    turned = {name: factors[name] for name in reversed(factors)}
    lean.mix(StackedMixture(network, ROOM).use(turned, {name: WEIGHTS[name] for name in reversed(WEIGHTS)}))
    other = lean.attend(tokens, places)
    assert (one - other).abs().max() <= 1e-6 * one.abs().max()
    swapped = {"kitchen": WEIGHTS["garage"], "garage": WEIGHTS["kitchen"]}
    lean.mix(stacked.use(factors, swapped))  # not with each other's weights
    assert (lean.attend(tokens, places) - one).abs().max() > 1e-2


@pytest.mark.parametrize("mixed", [(), ("kitchen", "garage")], ids=["no adapter", "no weight"])
@torch.no_grad()
def test_where_nothing_is_mixed_it_is_the_base_to_the_last_bit(mixed):
    network, lean, stacked, factors = mixed_and_base()
    tokens, places = some_tokens(network)
    base = lean.attend(tokens, places)
    chosen = {name: factors[name] for name in mixed}
    added = stacked.use(chosen, {**dict.fromkeys(mixed, (0.0, 0.0, 0.0)), "base": (1.0, 1.0, 1.0)})
    assert added is None
    lean.mix(added)
    assert torch.equal(lean.attend(tokens, places), base)
    assert merge_mixture(network.config, weights_of(network), chosen, dict.fromkeys(mixed, (0.0,) * 3)) == {}


@torch.no_grad()
def test_one_adapter_under_two_names_counts_twice():
    network, lean, stacked, factors = mixed_and_base()
    tokens, places = some_tokens(network)
    lean.mix(stacked.use({"a": factors["kitchen"], "b": factors["kitchen"]}, {"a": (0.2, 0.3, 0.4), "b": (0.4, 0.3, 0.2)}))
    twice = lean.attend(tokens, places)
    lean.mix(stacked.use({"a": factors["kitchen"]}, {"a": (0.6, 0.6, 0.6)}))
    torch.testing.assert_close(twice, lean.attend(tokens, places), rtol=0, atol=1e-6)


def test_layers_of_a_level_without_weight_and_products_without_an_adapter_compute_nothing():
    network, _, stacked, _ = mixed_and_base()
    only = {"doors": random_factors(network, "doors", only="self_attn.k_proj")}
    added = stacked.use(only, {"doors": (0.0, 0.5, 0.0)})
    assert added is not None
    assert [[name for name, part in layer._asdict().items() if part is not None] for layer in added] == [[], [], ["qkv"], []]


@torch.no_grad()
def test_other_weights_write_no_factor_and_other_adapters_write_the_idle_half(monkeypatch):
    network, lean, stacked, factors = mixed_and_base()
    tokens, places = some_tokens(network)
    written = []
    for half in stacked._halves:
        fill = half._fill
        monkeypatch.setattr(
            half, "_fill", lambda slot, one, fill=fill, half=half: (written.append((half, one.name)), fill(slot, one))
        )
    stacked.use(factors, WEIGHTS)
    first = [(half, name) for half, name in written]
    assert {name for _, name in first} == {"kitchen", "garage"} and len({id(half) for half, _ in first}) == 1
    faded = {"kitchen": (0.0, 0.0, 0.0), "garage": (0.9, 0.8, 0.7)}
    lean.mix(stacked.use(factors, faded))
    assert written == first
    alone = lean.attend(tokens, places)
    with applied_separately(network, factors, faded):
        torch.testing.assert_close(alone, network.attend(tokens, places), rtol=0, atol=1e-5)
    third = {**factors, "attic": random_factors(network, "attic", 5, 3)}
    weights = {**WEIGHTS, "attic": (0.3, 0.3, 0.3)}
    lean.mix(stacked.use(third, weights))
    assert {id(half) for half, _ in written[len(first) :]}.isdisjoint(id(half) for half, _ in first)
    with applied_separately(network, third, weights):
        torch.testing.assert_close(lean.attend(tokens, places), network.attend(tokens, places), rtol=0, atol=1e-5)
    # Back into a half where larger factors stood in the same places.
    small = {name: random_factors(network, name, 1, 7, only="layers.2") for name in ("cellar", "hall", "yard")}
    weights = dict.fromkeys(small, (0.2, 0.4, 0.3))
    for _ in range(2):
        lean.mix(stacked.use(third, {**WEIGHTS, "attic": (0.3, 0.3, 0.3)}))
        lean.mix(stacked.use(small, weights))
        with applied_separately(network, small, weights):
            torch.testing.assert_close(lean.attend(tokens, places), network.attend(tokens, places), rtol=0, atol=1e-5)


@pytest.mark.timeout(600)  # as many calls, on a machine that may be busy
@torch.no_grad()
def test_a_torn_state_is_impossible():
    """10,000 calls, with another adapter every hundred: written and put in place by a thread while calls are computed."""
    network = build(CANVAS)
    lean, stacked = LeanBackbone(network), StackedMixture(network, Room(1, 5))  # one slot: each is written over another
    tokens, places = some_tokens(network, 6)
    whole = {"x": (1.0, 1.0, 1.0)}
    adapters = [{"x": random_factors(network, "x", seed, seed)} for seed in (3, 4, 5)]
    alone = []
    for one in adapters:
        lean.mix(StackedMixture(network, ROOM).use(one, whole))
        alone.append(lean.attend(tokens, places))
    pure = torch.stack(alone)
    assert (pure - pure.roll(1, 0)).abs().flatten(1).amax(1).min() > 0.1
    lean.mix(stacked.use(adapters[0], whole))
    asked, swaps, failed, go = 0, 0, [], threading.Event()

    def swap() -> None:
        nonlocal swaps
        try:
            while go.wait() and swaps < asked:
                go.clear()
                lean.mix(stacked.use(adapters[(swaps + 1) % 3], whole))
                swaps += 1
        except BaseException as error:
            failed.append(error)

    swapper = threading.Thread(target=swap, daemon=True)
    swapper.start()
    gaps = torch.empty(10_000, 3)
    for call in range(10_000):
        if call % 100 == 0 and swaps == asked:  # while a call lasts, one other set is written and not two
            asked += 1
            go.set()
        gaps[call] = (pure - lean.attend(tokens, places)).abs().flatten(1).amax(1)
    while swaps < asked and not failed:
        swapper.join(0.01)
    go.set()
    swapper.join(20.0)
    assert not failed and swaps > 50
    nearest = gaps.min(dim=1)
    assert nearest.values.max() < 1e-5 and set(nearest.indices.tolist()) == {0, 1, 2}


# In the running session


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return small_checkpoint(tmp_path_factory.mktemp("mixture") / "checkpoint", LAYERED)


@pytest.fixture(scope="module")
def folders(checkpoint, tmp_path_factory) -> dict[str, Path]:
    """Two accepted adapters and a rejected one."""
    root = tmp_path_factory.mktemp("adapters")
    made = {}
    for seed, (name, rank) in enumerate((("kitchen", 4), ("garage", 3), ("rejected", 4))):
        torch.manual_seed(seed)
        made[name] = make_adapter(checkpoint, root / name, verdict="rejected" if name == "rejected" else "accepted", rank=rank)
    return made


def begun(checkpoint: Path, plain: bool = False) -> NetworkPolicy:
    policy = load_policy(checkpoint)
    if plain:
        policy.use_plain_backbone()
    policy.reset("push the block")
    for observation in SEEN[:4]:
        policy.act(observation)
    return policy


def read(policy: NetworkPolicy, folders: dict[str, Path], *names: str):
    return {name: policy.read_factors(folders[name]) for name in names}


def answers(policy: NetworkPolicy, observations=SEEN[4:7]) -> np.ndarray:
    return np.stack([policy.act(observation).rows for observation in observations])


def by_hand(checkpoint: Path, factors, weights) -> NetworkPolicy:
    """A session whose weights themselves were changed, after the same beginning."""
    policy = begun(checkpoint)
    merged = merge_mixture(policy.network.config, weights_of(policy.network), factors, weights)
    for name, parameter in policy.network.named_parameters():
        parameter.data = merged.get(name, parameter.data).clone()
    policy._decision = None if policy._decision is None else replace(policy._decision, memory=None)
    return policy


@pytest.mark.parametrize("plain", [False, True], ids=["beside the weights", "merged"])
@pytest.mark.parametrize("prepared", [False, True])
def test_a_mixture_drives_from_the_next_decision_on_with_the_history_kept(checkpoint, folders, plain, prepared):
    policy = begun(checkpoint, plain)
    factors = read(policy, folders, "kitchen", "garage")
    before = policy.predict_pixels().copy()
    if prepared:
        policy.prepare()  # with the base; worth nothing afterwards
    policy.use_mixture(factors, WEIGHTS)
    assert policy.adapter == "mixture"
    expected = by_hand(checkpoint, factors, WEIGHTS)
    assert policy.predict_pixels() == pytest.approx(expected.predict_pixels(), abs=1e-4)
    assert not np.allclose(policy.predict_pixels(), before, atol=1e-3)
    for observation in SEEN[4:7]:
        one, other = policy.act(observation), expected.act(observation)
        assert one.rows == pytest.approx(other.rows, abs=1e-6) and one.sequence == other.sequence
        assert one.adapter == "mixture"


@pytest.mark.parametrize("plain", [False, True], ids=["beside the weights", "merged"])
def test_the_base_comes_back_from_a_mixture_to_the_last_bit(checkpoint, folders, plain):
    untouched, policy = begun(checkpoint, plain), begun(checkpoint, plain)
    places = {name: weight.data_ptr() for name, weight in weights_of(policy.network).items()}
    policy.use_mixture(read(policy, folders, "kitchen", "garage"), WEIGHTS)
    policy.use_mixture(read(policy, folders, "garage"), {"garage": (1.0, 1.0, 1.0)})
    policy.prepare()
    policy.drop_mixture()
    assert policy.adapter == "" and places == {n: w.data_ptr() for n, w in weights_of(policy.network).items()}
    for observation in SEEN[4:7]:
        one, other = policy.act(observation), untouched.act(observation)
        assert np.array_equal(one.rows, other.rows) and one.adapter == ""
        assert np.array_equal(policy.predict_pixels(), untouched.predict_pixels())


def test_a_mixture_without_weight_answers_as_the_base_to_the_last_bit(checkpoint, folders):
    untouched, policy = begun(checkpoint), begun(checkpoint)
    policy.use_mixture(read(policy, folders, "kitchen"), {"kitchen": (0.0, 0.0, 0.0), "base": (1.0, 1.0, 1.0)})
    assert np.array_equal(answers(policy), answers(untouched))


def test_an_adapter_and_a_mixture_replace_each_other(checkpoint, folders):
    from_adapter, mixed, from_mixture, adapted = (begun(checkpoint) for _ in range(4))
    factors = read(mixed, folders, "kitchen", "garage")
    from_adapter.load_adapter(folders["garage"])
    for policy in (from_adapter, mixed, from_mixture):
        policy.use_mixture(factors, WEIGHTS)
    assert np.array_equal(answers(from_adapter), answers(mixed))
    for policy in (from_mixture, adapted):
        policy.load_adapter(folders["garage"])
    from_mixture.drop_mixture()  # there is none any more
    assert from_mixture.adapter == adapted.adapter == folders["garage"].name
    assert np.array_equal(answers(from_mixture), answers(adapted))
    with pytest.raises(AdaptationError, match="no adapter 'mixture' is loaded"):
        from_mixture.answer_as("mixture")


def test_in_the_place_of_an_adapter_that_changes_what_is_seen_the_past_is_void(checkpoint, folders, tmp_path):
    policy, fresh = begun(checkpoint), load_policy(checkpoint)
    policy.load_adapter(make_adapter(checkpoint, tmp_path, "full", size=0.02))
    policy.act(SEEN[4])
    factors = read(policy, folders, "kitchen", "garage")
    for one in (policy, fresh):
        one.use_mixture(factors, WEIGHTS)
    assert not policy.can_predict
    fresh.reset("push the block")
    assert np.array_equal(answers(policy), answers(fresh))


def test_one_whole_adapter_in_a_mixture_answers_as_that_adapter(checkpoint, folders):
    mixed, adapted = begun(checkpoint), begun(checkpoint)
    mixed.use_mixture(read(mixed, folders, "kitchen"), {"kitchen": (1.0, 1.0, 1.0)})
    adapted.load_adapter(folders["kitchen"])
    assert answers(mixed) == pytest.approx(answers(adapted), abs=1e-6)


@pytest.mark.parametrize("plain", [False, True], ids=["beside the weights", "merged"])
def test_answers_are_compared_beside_a_mixture(checkpoint, folders, plain):
    policy, untouched = begun(checkpoint, plain), begun(checkpoint, plain)
    policy.use_mixture(read(policy, folders, "kitchen", "garage"), WEIGHTS)
    name = policy.adapters.load(folders["garage"]).id
    policy.adapters.keep(policy.adapters.load(folders["garage"]))
    base_answer = untouched.answer_as("")
    assert np.array_equal(policy.answer_as(""), base_answer)
    untouched.adapters.keep(untouched.adapters.load(folders["garage"]))
    assert np.array_equal(policy.answer_as(name), untouched.answer_as(name))
    mixed = policy.answer_as("mixture")
    assert not np.allclose(mixed, base_answer, atol=1e-3)
    given = policy.act(SEEN[4])
    assert given.adapter == "mixture"
    from worldagen.conventions import decode_actions

    again = decode_actions(CONVENTIONS.actions, policy.answer_as("mixture"), SEEN[4].state[3:6])
    assert again == pytest.approx(given.rows, abs=1e-6)


def test_the_plain_backbone_takes_a_mixture_over(checkpoint, folders):
    policy, other = begun(checkpoint), begun(checkpoint)
    for one in (policy, other):
        one.use_mixture(read(one, folders, "kitchen", "garage"), WEIGHTS)
    policy.use_plain_backbone()
    for one in (policy, other):
        one.reset("push the block")
    assert policy.adapter == "mixture"
    assert answers(policy) == pytest.approx(answers(other), abs=1e-6)
    policy.drop_mixture()
    other.drop_mixture()
    assert answers(policy) == pytest.approx(answers(other), abs=1e-6)


def test_room_is_made_for_what_does_not_fit(checkpoint, folders):
    policy, other = begun(checkpoint), begun(checkpoint)
    factors = read(policy, folders, "kitchen", "garage")
    policy.make_mixture_room(Room(1, 3))
    with pytest.raises(BankError, match=r"adapter \S+ has rank 4; there is room for rank 3"):
        policy.use_mixture(factors, WEIGHTS)
    policy.make_mixture_room(Room(1, 4))
    with pytest.raises(BankError, match="2 adapters have a weight: kitchen, garage; there is room for 1"):
        policy.use_mixture(factors, WEIGHTS)
    policy.use_mixture(factors, {"kitchen": (0.0, 0.0, 0.0), "garage": (1.0, 0.0, 0.5)})  # only one has a weight
    policy.make_mixture_room(Room(2, 4))
    policy.use_mixture(factors, WEIGHTS)
    with pytest.raises(BankError, match="there is room for 1"):
        policy.make_mixture_room(Room(1, 4))
    other.use_mixture(factors, WEIGHTS)
    assert answers(policy) == pytest.approx(answers(other), abs=1e-6)
    with pytest.raises(BankError, match="room for 0 adapters"):
        Room(0, 4)


def test_a_network_that_was_moved_is_mixed_anew(checkpoint, folders):
    policy = begun(checkpoint)
    factors = read(policy, folders, "kitchen")
    policy.use_mixture(factors, {"kitchen": (1.0, 1.0, 1.0)})
    policy.drop_mixture()
    policy.network.to(torch.float64)
    policy.reset("push the block")
    policy.use_mixture(factors, {"kitchen": (1.0, 1.0, 1.0)})
    assert np.isfinite(answers(policy)).all()


def other_base(policy, folders):
    policy.use_mixture({"x": random_factors(policy.network, "x", base="0" * 64)}, {"x": (1.0, 1.0, 1.0)})


def too_large_a_rank(policy, folders):
    policy.use_mixture({"x": random_factors(policy.network, "x", 17, base=policy.adapters.digest)}, {"x": (1.0, 1.0, 1.0)})


def too_many(policy, folders):
    base = policy.adapters.digest
    many = {f"x{seed}": random_factors(policy.network, f"x{seed}", seed=seed, base=base) for seed in range(4)}
    policy.use_mixture(many, dict.fromkeys(many, (0.2, 0.2, 0.2)))


def other_widths(policy, folders):
    wide = build(replace(LAYERED, hidden=64, image_head=replace(LAYERED.image_head, heads=4)))
    one = random_factors(wide, "x", base=policy.adapters.digest)
    policy.use_mixture({"x": one}, {"x": (1.0, 1.0, 1.0)})


def more_layers(policy, folders):
    deep = build(replace(LAYERED, backbone=replace(LAYERED.backbone, layers=5)))
    one = random_factors(deep, "x", base=policy.adapters.digest)
    policy.use_mixture({"x": one}, {"x": (1.0, 1.0, 1.0)})


def weights_of_two_levels(policy, folders):
    policy.use_mixture(read(policy, folders, "kitchen"), {"kitchen": (1.0, 1.0)})


def weights_that_are_no_numbers(policy, folders):
    policy.use_mixture(read(policy, folders, "kitchen"), {"kitchen": (1.0, float("nan"), 1.0)})


def weights_below_zero(policy, folders):
    policy.use_mixture(read(policy, folders, "kitchen"), {"kitchen": (1.0, -0.1, 1.0)})


def weights_of_nobody(policy, folders):
    policy.use_mixture(read(policy, folders, "kitchen"), {"kitchen": (1.0, 0.1, 1.0), "attic": (0.0, 0.0, 0.0)})


def nobody_s_weights(policy, folders):
    policy.use_mixture(read(policy, folders, "kitchen", "garage"), {"kitchen": (1.0, 0.1, 1.0)})


def a_rejected_one(policy, folders):
    policy.use_mixture(read(policy, folders, "rejected"), {"rejected": (1.0, 1.0, 1.0)})


def an_unknown_adapter(policy, folders):
    policy.use_adapter("nobody")


def a_rejected_adapter(policy, folders):
    policy.load_adapter(folders["rejected"])


@pytest.mark.parametrize("before", ["mixture", "adapter", "base"])
@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (other_base, "adapter x belongs to a base with the digest 000000000000"),
        (too_large_a_rank, "adapter x has rank 17; there is room for rank 16"),
        (too_many, "4 adapters have a weight: x0, x1, x2, x3; there is room for 3"),
        (other_widths, "q_proj.weight has 64 inputs and 64 outputs; this network has 32 and 64"),
        (more_layers, "layers.4.self_attn.q_proj.weight, which this network does not have"),
        (weights_of_two_levels, "adapter kitchen: its weights are .*expected 3 numbers from 0 to 1, for fine, middle, scene"),
        (weights_that_are_no_numbers, "adapter kitchen: its weights are"),
        (weights_below_zero, "adapter kitchen: its weights are"),
        (weights_of_nobody, "weights without an adapter: attic"),
        (nobody_s_weights, "garage without weights"),
        (a_rejected_one, "was rejected by its gate .*manifest.json"),
        (an_unknown_adapter, "no adapter 'nobody' is loaded"),
        (a_rejected_adapter, "was rejected by its gate"),
    ],
)
def test_what_is_refused_leaves_what_drives_untouched(checkpoint, folders, ask, told, before):
    policy, control = begun(checkpoint), begun(checkpoint)
    for one in (policy, control):
        if before == "mixture":
            one.use_mixture(read(one, folders, "kitchen", "garage"), WEIGHTS)
        elif before == "adapter":
            one.load_adapter(folders["kitchen"])
    with pytest.raises((BankError, AdaptationError), match=told):
        ask(policy, folders)
    assert policy.adapter == control.adapter
    assert np.array_equal(answers(policy), answers(control))
    assert not (folders["rejected"] / "activations.jsonl").exists()


def test_a_rejected_adapter_is_mixed_by_an_override_that_is_recorded_once(checkpoint, folders, tmp_path):
    folder = tmp_path / "rejected"
    folder.mkdir()
    for file in folders["rejected"].iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    policy = begun(checkpoint)
    factors = {"rejected": policy.read_factors(folder)}
    policy.use_mixture(factors, {"rejected": (0.0, 0.0, 0.0)})  # it has no part in it
    for share in (0.5, 0.6, 0.7):
        policy.use_mixture(factors, {"rejected": (share, share, share)}, override="a trial on the bench")
    lines = [json.loads(line) for line in (folder / "activations.jsonl").read_text("utf-8").splitlines()]
    assert [line["override"] for line in lines] == ["a trial on the bench"]


def damaged(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    data = bytearray(file.read_bytes())
    data[-5] ^= 0xFF
    file.write_bytes(data)


@pytest.mark.parametrize(("what", "spoil", "told"), [
    ("image_head", lambda folder: None, "an adapter of the kind 'image_head' cannot be mixed; adapt with trained.what=lora"),
    ("full", lambda folder: None, "an adapter of the kind 'full' cannot be mixed"),
    ("lora", damaged, "adapter_model.safetensors: damaged"),
])  # fmt: skip
def test_what_cannot_be_mixed_is_refused_as_it_is_read(checkpoint, tmp_path, what, spoil, told):
    folder = make_adapter(checkpoint, tmp_path, what)
    spoil(folder)
    with pytest.raises((BankError, AdaptationError), match=told):
        load_policy(checkpoint).read_factors(folder)


def test_factors_are_of_the_adapter_of_this_base_and_outlive_its_folder(checkpoint, folders, tmp_path):
    policy = load_policy(checkpoint)
    folder = make_adapter(checkpoint, tmp_path)
    one = policy.read_factors(folder)
    assert (one.name, one.rank, one.scale, one.base) == (folder.name, 4, 2.0, policy.adapters.digest)
    place, (a, b) = next(iter(one.pairs.items()))
    merged = policy.adapters.load(folder).weights[place]
    torch.testing.assert_close(merged, weights_of(policy.network)[place] + 2.0 * b @ a)
    kept = a.clone()
    (folder / "adapter_model.safetensors").write_bytes(b"")
    assert torch.equal(a, kept)
    other = build(LAYERED, seed=5)
    with pytest.raises(AdaptationError, match="belongs to a base with the digest"):
        read_factors(folders["kitchen"], other.config, weights_of(other), digest_of(weights_of(other)))


def test_while_an_adapter_is_active_factors_are_still_read_against_the_base(checkpoint, folders):
    policy = begun(checkpoint)
    policy.load_adapter(folders["kitchen"])
    policy.use_mixture(read(policy, folders, "garage"), {"garage": (1.0, 1.0, 1.0)})
    other = begun(checkpoint)
    other.use_mixture(read(other, folders, "garage"), {"garage": (1.0, 1.0, 1.0)})
    assert np.array_equal(answers(policy), answers(other))
