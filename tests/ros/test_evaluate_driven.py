"""An evaluation of what drives in the base's place: an adapter, or a bank of places, in closed loop and of the world model."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mixture_making import make_place_adapter

from worldagen.checkpoint import load_checkpoint, save_checkpoint
from worldagen.errors import WorldAgenError
from worldagen.mixture.embedding import embed
from worldagen.mixture.places import Calibration, PlaceBank, SeenPlace, base_of
from worldagen.mixture.prototypes import prototype_of
from worldagen.mixture.whitening import Whitening
from worldagen.session import NetworkPolicy, make_policy
from worldagen_ros.evaluate_direct import DirectEvaluator
from worldagen_ros.evaluate_world import observations_of
from worldagen_ros.evaluating import PAGE, evaluate, open_evaluation
from worldagen_sim.environment import make_environment
from worldagen_sim.evaluation import EvaluationRequest
from worldagen_sim.expert_episodes import play_units

ASKED = EvaluationRequest(
    scenes=("A",), tasks=("open_drawer",), episodes=1, held_out_episodes=0, chains=0, expert_episodes=1, max_steps=20,
    renderer="raycast",
)  # fmt: skip

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> SimpleNamespace:
    """An adapter, and a bank with it for scene A and another one for what looks otherwise."""
    root = tmp_path_factory.mktemp("driven")
    checkpoint, policy = root / "checkpoint", make_policy("playtable")
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        policy.network.image_head.paint.weight.normal_(std=0.1)  # else it copies the last picture, whatever the backbone says
    save_checkpoint(checkpoint, policy.network, policy.conventions, "random weights")
    network, conventions = load_checkpoint(checkpoint)
    environment = make_environment("playtable", "raycast")
    units = play_units(environment, "open_drawer", "A", 1, "open the drawer", network.config.rows, 20)
    environment.close()
    policy = NetworkPolicy(network, conventions)
    seen = [policy.encode_all(observation) for observation in observations_of(units)]
    here = prototype_of([one for encoded in seen for one in embed(encoded)])
    away = prototype_of([replace(here.mean, levels=tuple(-level for level in here.mean.levels))])
    whitening = Whitening(
        tuple(np.zeros(width) for width in here.mean.widths), tuple(np.eye(width) for width in here.mean.widths)
    )
    bank = PlaceBank.create(
        root / "bank", base_of(network), Calibration(whitening, away, [("trained", away)], 0.5, {"made": "by a test"}), "random"
    )
    adapters = [make_place_adapter(network, root, seed) for seed in (1, 2)]
    for name, adapter, prototype in (("here", adapters[0], here), ("there", adapters[1], away)):
        given = SeenPlace(prototype, bank.told["encoder"], ({"digest": name, "count": 1, "from": "a test"},))
        bank.add(name, adapter, given, network)
    return SimpleNamespace(checkpoint=checkpoint, adapter=adapters[0], bank=bank.folder)


def routed(made: SimpleNamespace, route: str = "nearest") -> dict[str, str]:
    return {"policy.bank": str(made.bank), "policy.routing.route": route}


def driven(made: SimpleNamespace, out: Path, overrides: Mapping[str, str]) -> tuple[str, list[float]]:
    """Digest of the chunks of an episode, and the square errors of the pictures of an expert's episode."""
    evaluation, config = open_evaluation(made.checkpoint, replace(ASKED, overrides=overrides), out)
    play = DirectEvaluator(config)
    (trial,), (expert,) = evaluation.trials, evaluation.expert_trials
    measured = play(expert)  # before the episode is played: a mixture is settled for each anew
    return play(trial).legs[0].chunks, [error.painted for error in measured.errors]


def test_an_adapter_and_the_bank_that_finds_it_drive_and_foresee_alike_and_not_like_the_base(made, tmp_path):
    ways = {"base": {}, "adapter": {"policy.adapter": str(made.adapter)}, "bank": routed(made)}
    told = {name: driven(made, tmp_path / name, overrides) for name, overrides in ways.items()}
    chunks, errors = ({name: each[place] for name, each in told.items()} for place in (0, 1))
    assert np.allclose(errors["adapter"], errors["bank"], rtol=1e-4) and not np.allclose(errors["base"], errors["bank"])
    assert chunks["base"] != chunks["bank"]  # of the adapter they differ by rounding


def test_the_page_shows_the_bank_and_what_was_changed(made, tmp_path):
    asked = replace(ASKED, expert_episodes=0, max_steps=5, overrides=routed(made))
    evaluate(made.checkpoint, asked, tmp_path / "out", processes=1, show=False)
    page = (tmp_path / "out" / PAGE).read_text("utf-8")
    assert "likeness of the places" in page and "policy.routing.route = nearest" in page
    assert "Which places drove" in page and "decision 1: here 1.00" in page


def test_the_books_tell_what_drives(made, tmp_path):
    evaluation, _ = open_evaluation(made.checkpoint, replace(ASKED, overrides=routed(made)), tmp_path / "out")
    assert evaluation.whom["bank"] == PlaceBank(made.bank).digest
    with pytest.raises(WorldAgenError, match=r"policy\.routing\.route 'nearest' instead of 'mixture'"):
        open_evaluation(made.checkpoint, replace(ASKED, overrides=routed(made, "mixture")), tmp_path / "out")
    with pytest.raises(WorldAgenError, match="nowhere"):
        open_evaluation(made.checkpoint, replace(ASKED, overrides={"policy.adapter": "nowhere"}), tmp_path / "other")
