"""A network runs where it is asked to, in a narrower type only where that passes, and never with tensors on two devices."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from adaptation_making import CANVAS, make_adapter, small_checkpoint
from small_networks import TINY, build, random_observations
from torch._subclasses.fake_tensor import FakeTensorMode

from worldagen.adaptation.adapter import digest_of, weights_of
from worldagen.checkpoint import load_checkpoint
from worldagen.engines.choosing import Choice
from worldagen.engines.config import EngineConfig, EngineLimits
from worldagen.engines.encoder import TorchEngine
from worldagen.engines.gate import Gate
from worldagen.engines.probe import draw_probe
from worldagen.errors import AdaptationError, ConfigError
from worldagen.placement import cast_network, find_device, move_network, settle_session
from worldagen.policy_conventions import PRESET_CONVENTIONS
from worldagen.scaling import PillowScaler, TorchScaler, make_scaler
from worldagen.session import NetworkPolicy

CALVIN = PRESET_CONVENTIONS["calvin"]
STRICT = EngineConfig(limits=EngineLimits(max_translation_m=0.0, max_rotation_rad=0.0))
WIDE = EngineConfig(limits=EngineLimits(min_cosine=0.0, max_error=100.0, max_translation_m=1.0, max_gripper_flips=1.0))


def test_without_a_gpu_auto_is_the_cpu_and_a_gpu_is_refused_in_words(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_device("auto") == find_device("cpu") == torch.device("cpu")
    network, said = build(TINY), []
    move_network(network, "auto", said.append)
    assert said == ["the network computes on the CPU"]
    with pytest.raises(ConfigError, match=r"'cuda' is asked for, and torch .* finds no GPU; .*`worldagen doctor`"):
        move_network(network, "cuda")


@pytest.mark.parametrize(("wanted", "told"), [("auto", ""), ("cuda", "does not fit on the GPU (CUDA out of memory)")])
def test_a_gpu_that_is_too_small_means_the_cpu_or_a_refusal(monkeypatch, wanted, told):
    network, said = build(TINY), []
    monkeypatch.setattr("worldagen.placement.find_device", lambda _: torch.device("cuda"))
    to = network.to

    def full(device):
        if str(device) == "cuda":
            raise torch.cuda.OutOfMemoryError("CUDA out of memory\nTried to allocate ...")
        return to(device)

    monkeypatch.setattr(network, "to", full)
    if told:
        with pytest.raises(ConfigError, match="does not fit on the GPU"):
            move_network(network, wanted, said.append)
    else:
        move_network(network, wanted, said.append)
        assert said == ["the network does not fit on the GPU", "the network computes on the CPU"]
    assert network.position.device.type == "cpu"


def settled(network, config=WIDE, encoder=None, **asked):
    """A session, and what was said."""
    choice = Choice(TorchEngine(network), "exact")
    if encoder is not None:
        choice = replace(choice, engine=encoder, parity=Gate(network, CALVIN, draw_probe(1), config.limits).judge(encoder))
    said: list[str] = []
    return settle_session(network, CALVIN, choice, config, say=said.append, **asked), said


def test_what_nobody_asked_for_is_not_tried():
    network = build(TINY)
    session, said = settled(network, precision="fp32")
    assert session.network is network and isinstance(session._scaler, PillowScaler) and said == []


def test_a_narrower_type_is_taken_with_its_figures_or_refused_with_them():
    network = build(TINY)
    session, said = settled(network, precision="bf16")
    assert session.network.position.dtype is torch.bfloat16 and network.position.dtype is torch.float32
    assert len(said) == 1 and said[0].startswith("the network in bf16: cosine 0.99") and "8 drawn frames" in said[0]
    session, said = settled(network, STRICT, precision="bf16")
    assert session.network is network
    assert (
        said[0].startswith("refused: the network in bf16 changes too much on 8 drawn frames: ")
        and "rotation changes by" in said[0]
    )


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_narrower_network_decides_and_paints_what_the_stored_one_does(precision):
    network = build(CANVAS)  # which paints on the picture seen last
    stored = NetworkPolicy(network, CALVIN)
    narrow, _ = settled(network, precision=precision)
    for policy in (stored, narrow):
        policy.reset("open the drawer")
    for observation in random_observations(4):
        one, other = (policy.act(observation).rows[:, :6] for policy in (stored, narrow))
        assert 0.0 < np.abs(one - other).max() < 0.005
        assert 0.0 < np.abs(stored.predict_pixels() - narrow.predict_pixels()).max() < 0.1
        for policy in (stored, narrow):
            policy.prepare()


def test_another_resizer_is_taken_with_its_figures_or_refused_and_is_judged_with_the_narrower_type():
    network = build(TINY)
    session, said = settled(network, precision="bf16", resize="torch")
    assert isinstance(session._scaler, TorchScaler)
    assert [line.split(":")[0] for line in said] == ["the network in bf16", "resizing by torch"]
    assert said[0].split("cosine")[1] != said[1].split("cosine")[1]
    session, said = settled(network, STRICT, resize="torch")
    assert isinstance(session._scaler, PillowScaler) and said[0].startswith("refused: resizing by torch changes too much")


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(("shape", "side"), [((480, 640), 224), ((200, 200), 224), ((84, 84), 64), ((97, 131), 32)])
def test_torch_resizes_as_pillow_does_but_for_a_level_or_two_here_and_there(shape, side, flip):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    waves = np.stack([np.sin(columns / 17 + rows / 29), np.cos(columns / 7), np.sin(rows * columns / 900)], axis=-1)
    noise = np.random.default_rng(0).normal(0, 10, (*shape, 3))
    image = (127 + 110 * waves + noise).clip(0, 255).astype(np.uint8)
    image.flags.writeable = False  # as a message's bytes are
    scaling = replace(CALVIN.image, flip_rows=flip)
    views = ([image, 255 - image], side), ([image], side)
    pillow, others = (make_scaler(kind, torch.device("cpu")).scale(scaling, *views) for kind in ("pillow", "torch"))
    for one, other in zip(pillow, others, strict=True):
        assert other.dtype is one.dtype is torch.float32 and other.shape == one.shape
        levels = (one - other).abs() * torch.tensor(scaling.std)[:, None, None] * 255
        assert levels.max() < 2.001 and (levels > 0.5).float().mean() < 0.02


def test_an_engine_of_the_stored_encoder_encodes_for_the_narrower_network():
    class Kept:
        """The encoder as it was stored; it wants pictures of its own type."""

        name = "kept"

        def __init__(self, network):
            self.network, self.calls = network, 0

        def encode(self, static, wrist):
            assert static.dtype is wrist.dtype is torch.float32
            self.calls += 1
            return self.network.encode_frames(static, wrist)

    network = build(TINY)
    kept = Kept(network)
    session, said = settled(network, encoder=kept, precision="bf16")
    assert "cosine 1.00000, error 0.000 RMS" in said[-1] and kept.calls > 0
    session.reset("open the drawer")
    session.act(random_observations(1)[0])
    assert session.network is not network and session.encoder_fault == "" and session.predict_pixels().dtype == np.float32


@pytest.mark.parametrize("what", ["lora", "full"])
def test_a_cast_network_takes_the_adapters_of_what_was_stored_and_no_others(tmp_path, what):
    checkpoint = small_checkpoint(tmp_path / "checkpoint")
    folder = make_adapter(checkpoint, tmp_path, what=what)
    network, conventions = load_checkpoint(checkpoint)
    cast = cast_network(network, torch.float16)
    policies = NetworkPolicy(network, conventions), NetworkPolicy(cast, conventions)
    rows: list[list[np.ndarray]] = [[], []]
    for policy, answers in zip(policies, rows, strict=True):
        policy.load_adapter(folder)
        assert all(weight.dtype is policy.network.position.dtype for weight in weights_of(policy.network).values())
        policy.reset("push the block")
        answers += [policy.act(observation).rows[:, :6] for observation in random_observations(3)]
    stored, narrow = (np.array(answers) for answers in rows)
    assert 0.0 < np.abs(stored - narrow).max() < 0.001
    if what == "lora":
        assert policies[1].read_factors(folder).base == digest_of(weights_of(load_checkpoint(checkpoint)[0]))
    other = small_checkpoint(tmp_path / "other", seed=1)
    with pytest.raises(AdaptationError, match="belongs to a base with the digest"):
        NetworkPolicy(cast, conventions).load_adapter(make_adapter(other, tmp_path, what=what))


class FakeGpu(FakeTensorMode):
    """Tensors of a GPU without one: shapes, types and devices are kept, nothing is computed, and what mixes devices fails."""

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)

    def may_turn_const(self, t):
        return False  # a small tensor would be computed after all, on a GPU that is not there


@pytest.fixture
def fake_gpu(monkeypatch):
    """A network of small_networks and a function that plays on it, inside a FakeGpu."""
    monkeypatch.setattr(
        NetworkPolicy, "_action_numbers", lambda self, arm, gripper: np.zeros((self.network.config.rows, 7), np.float32)
    )
    torch.__future__.set_overwrite_module_params_on_conversion(True)

    def play(spoil=lambda network: None):
        network = build(TINY)
        with FakeGpu():
            network.to("cuda")
            spoil(network)
            policy = NetworkPolicy(network, CALVIN)
            policy.reset("open the drawer")
            for step, observation in enumerate(random_observations(6)):
                policy.act(observation)
                if step % 2:
                    policy.prepare()
                with torch.inference_mode():
                    assert policy._decision is not None
                    painted = network.paint(policy._imagine(policy._decision), None)
                assert painted.device.type == "cuda"

    yield play
    torch.__future__.set_overwrite_module_params_on_conversion(False)


@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")
def test_on_a_gpu_every_tensor_of_a_decision_is_there(fake_gpu):
    fake_gpu()

    def forget_one(network):
        network.action_tokens = torch.nn.Parameter(torch.zeros(network.action_tokens.shape))

    with pytest.raises(RuntimeError, match=r"two devices|same device"):
        fake_gpu(forget_one)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_gpu_gives_the_cpus_numbers():
    on_cpu, on_gpu = build(TINY), build(TINY)
    move_network(on_gpu, "cuda")
    policies = NetworkPolicy(on_cpu, CALVIN), NetworkPolicy(on_gpu, CALVIN)
    for policy in policies:
        policy.reset("open the drawer")
    for observation in random_observations(6):
        one, other = (policy.act(observation).rows for policy in policies)
        assert np.abs(one - other).max() < 1e-4
