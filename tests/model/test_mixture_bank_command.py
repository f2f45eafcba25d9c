"""`worldagen bank`: from recordings and adapters to a bank, and what it says of them."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from adaptation_making import small_checkpoint
from mixture_making import make_place_adapter, textured, write_place
from PIL import Image

from worldagen.adaptation.adapter import digest_of, weights_of
from worldagen.adaptation.recipe import load_adaptation_recipe
from worldagen.adaptation.start import read_start
from worldagen.checkpoint import load_checkpoint
from worldagen.cli import main, make_parser
from worldagen.commands import bank as command
from worldagen.mixture.likeness_picture import draw_likeness
from worldagen.mixture.places import PlaceBank

pytestmark = pytest.mark.timeout(300)  # encodes pictures beside whatever else runs


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> SimpleNamespace:
    """A checkpoint, recordings of four places, adapters, and a bank of the places `red` (2) and `blue` (3)."""
    root = tmp_path_factory.mktemp("world")
    checkpoint = small_checkpoint(root / "checkpoint")
    for place in range(4):
        write_place(root / f"place{place}", place, range(4))
    write_place(root / "place2_again", 2, range(10, 14))
    network, _ = load_checkpoint(checkpoint)
    adapters = [make_place_adapter(network, root / "adapters", seed) for seed in range(2)]
    rejected = make_place_adapter(network, root / "adapters", 9, verdict="rejected")
    world = SimpleNamespace(root=root, checkpoint=checkpoint, adapters=adapters, rejected=rejected)
    world.cache, world.made = ["--cache", str(root / "cache")], root / "made"
    sources = [part for place in (0, 1) for part in ("--data", f"bag:{root / f'place{place}'}")]
    assert main(["bank", "create", str(world.made), "--checkpoint", str(checkpoint), *sources, *world.cache]) == 0
    for name, place, adapter in (("red", 2, adapters[0]), ("blue", 3, adapters[1])):
        data = ["--data", f"bag:{root / f'place{place}'}"]
        assert main(["bank", "add", str(world.made), name, "--adapter", str(adapter), *data, *world.cache]) == 0
    return world


@pytest.fixture
def bank(world, tmp_path) -> Path:
    """A copy, to be changed."""
    return Path(shutil.copytree(world.made, tmp_path / "bank"))


def tell(capsys, *arguments: object) -> str:
    assert main(["bank", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def refuse(capsys, *arguments: object) -> str:
    assert main(["bank", *map(str, arguments)]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: ") and "Traceback" not in told
    return told


def base_and_digest(network) -> tuple:
    return weights_of(network), digest_of(weights_of(network))


def test_a_bank_is_made_on_the_places_its_base_was_trained_in(world, capsys, tmp_path):
    sources = [part for place in (0, 1) for part in ("--data", f"bag:{world.root / f'place{place}'}")]
    also = ["--other", f"bag:{world.root / 'place2'}"]
    told = tell(capsys, "create", tmp_path / "b", "--checkpoint", world.checkpoint, *sources, *also, "--held-out-every", 2)
    assert "abstains below a scene cosine of" in told and "1% quantile of 6 held-out episodes of 3 places" in told
    head = json.loads((tmp_path / "b/bank.json").read_text("utf-8"))
    assert [item["from"] for item in head["calibration"]["trained_in"]] == ["place0", "place1"]
    assert [item["from"] for item in head["calibration"]["others"]] == ["place2"]
    assert head["made"]["command"].startswith("worldagen") and head["checkpoint"] == str(world.checkpoint)
    told = refuse(capsys, "create", tmp_path / "b", "--checkpoint", world.checkpoint, *sources)
    assert "exists; give another folder, or remove it first" in told


def test_places_are_listed_with_the_nearest_other(world, capsys):
    lines = tell(capsys, "list", world.made).splitlines()
    assert lines[0].startswith(f"{world.made}: 2 places for {world.checkpoint}; abstains below")
    assert lines[1].split() == [
        "name",
        "version",
        "frames",
        "adapter",
        "verdict",
        "nearest",
        "other",
        "fine",
        "middle",
        "scene",
    ]
    assert lines[2].split()[:5] == ["blue", "0001", "56", world.adapters[1].name, "accepted"]
    assert lines[3].split()[:2] == ["red", "0001"] and lines[3].split()[5] in ("base", "blue")
    told = json.loads(tell(capsys, "list", world.made, "--json"))
    assert [place["name"] for place in told["places"]] == ["blue", "red"] and set(told["places"][0]["cosines"]) == {
        "fine", "middle", "scene",
    }  # fmt: skip


def test_the_same_place_again_updates_the_one_that_is_there_and_says_so(world, bank, capsys):
    data = ["--data", f"bag:{world.root / 'place2_again'}"]
    told = tell(capsys, "add", bank, "scarlet", "--adapter", world.adapters[1], *data, *world.cache)
    assert told.startswith("red was updated, version 0002, of 112 frames: the newcomer looks like red (fine 0.9")
    assert [place.name for place in PlaceBank(bank).places()] == ["blue", "red"]


def test_near_copies_are_merged_and_places_removed(world, bank, capsys):
    data = ["--data", f"bag:{world.root / 'place2_again'}"]
    likeness = ["--likeness", "0.99999"]
    told = tell(capsys, "add", bank, "scarlet", "--adapter", world.adapters[1], *data, *world.cache, *likeness)
    assert told.startswith("scarlet was added, version 0001, of 56 frames; the nearest is red (fine 0.9")
    assert "are not the same place" in refuse(capsys, "merge", bank, "red", "blue")
    assert tell(capsys, "merge", bank, "red", "scarlet") == "scarlet is red now, version 0002, of 112 frames\n"
    assert tell(capsys, "remove", bank, "blue") == "removed blue\n"
    assert "no place 'blue'; it has: red" in refuse(capsys, "remove", bank, "blue")
    assert [line.split()[0] for line in tell(capsys, "list", bank).splitlines()[2:]] == ["red"]


def test_a_rejected_adapter_is_taken_for_a_reason_only(world, bank, capsys):
    tell(capsys, "remove", bank, "blue")
    asked = ["add", bank, "blue", "--adapter", world.rejected, "--data", f"bag:{world.root / 'place3'}", *world.cache]
    assert "was rejected by its gate" in refuse(capsys, *asked)
    tell(capsys, *asked, "--allow-rejected", "a trial on the bench")
    assert "rejected, allowed" in tell(capsys, "list", bank)
    assert PlaceBank(bank).places()[0].told["adapter"]["allowed"] == "a trial on the bench"


def test_the_router_says_of_each_episode_which_place_it_is(world, bank, capsys, tmp_path):
    head = json.loads((bank / "bank.json").read_text("utf-8"))
    head["least"] = 0.8  # the smallest of two held-out episodes is no bound
    (bank / "bank.json").write_text(json.dumps(head), "utf-8")
    write_place(tmp_path / "unknown", 7, range(2))
    data = [part for name in ("place2_again", "place0") for part in ("--data", f"bag:{world.root / name}")]
    asked = ["route", bank, *data, "--data", f"bag:{tmp_path / 'unknown'}", "--episodes", 2, *world.cache]
    told = tell(capsys, *asked)
    heads = [line for line in told.splitlines() if not line.startswith(" ")]
    assert [line.split(", best")[0] for line in heads[:4]] == ["10: red", "13: red", "0: base", "3: base"]
    assert heads[4].startswith("0: none of these (best scene cosine ") and "below 0.80)" in heads[4]
    assert told.splitlines()[1].startswith("    fine    entropy ") and "red 1.00 (+0.9" in told
    values = json.loads(tell(capsys, *asked, "--json"))
    first, *_, last = values["episodes"]
    assert first["nearest"] == "red" and not first["abstains"] and last["abstains"] and last["weights"]["scene"]["base"] == 1.0
    assert first["source"].endswith("place2_again") and sum(first["weights"]["fine"].values()) == pytest.approx(1.0)
    assert tell(capsys, *asked) == told, "asked again, it says the same"
    single = json.loads(tell(capsys, *asked, "--json", "--set", "route=nearest", "--set", "active=1"))
    assert single["episodes"][0]["weights"]["fine"] == {"base": 0.0, "blue": 0.0, "red": 1.0}
    off = json.loads(tell(capsys, *asked, "--json", "--set", "route=off"))
    assert all(item["weights"]["scene"]["base"] == 1.0 for item in off["episodes"])


def test_an_episode_of_few_frames_is_told(world, capsys, tmp_path):
    write_place(tmp_path / "short", 2, range(1), lambda place, seed: textured(place, seed, 4))
    assert ", of 4 frames only" in tell(capsys, "route", world.made, "--data", f"bag:{tmp_path / 'short'}")


def test_a_start_is_made_of_what_the_router_makes_of_a_recording(world, capsys, tmp_path):
    recipe = tmp_path / "small.yaml"
    recipe.write_text("trained: {rank: 4, alpha: 8.0}\n", "utf-8")
    network, _ = load_checkpoint(world.checkpoint)
    asked = ["start", world.made, "--data", f"bag:{world.root / 'place2_again'}", "--recipe", recipe, *world.cache]
    told = tell(capsys, *asked, "--out", tmp_path / "starts", "--set", "route=nearest")
    assert told.startswith("rank 4 keeps 100.0 % of what the mixture of red adds\n")
    folder = Path(told.splitlines()[1].partition(":")[0])
    kept = read_start(folder, load_adaptation_recipe(str(recipe)).trained, network.config, *base_and_digest(network))
    assert kept.manifest["mixture"]["weights"] == {"red": [1.0, 1.0, 1.0]}
    assert kept.manifest["gate"]["verdict"] == "rejected"  # it must be adapted before it may drive
    mixed = tell(capsys, *asked, "--out", tmp_path / "starts", "--set", "temperature=5")
    assert "of what the mixture of blue, red adds" in mixed


def test_how_alike_the_places_are_is_drawn(world, capsys, tmp_path):
    told = tell(capsys, "picture", world.made, tmp_path / "alike.png")
    with Image.open(tmp_path / "alike.png") as picture:
        assert told == f"wrote {tmp_path / 'alike.png'}: {picture.width}x{picture.height}\n"
        assert picture.width > 600 and len(picture.getcolors(1 << 20) or []) > 20
    assert "cannot be written" in refuse(capsys, "picture", world.made, tmp_path / "nowhere/alike.png")


@pytest.mark.parametrize("count", [2, 9, 40])
def test_a_picture_of_few_or_many_places_holds_every_name_and_frames_the_same(count):
    cosines = np.tile(np.eye(count), (3, 1, 1))
    names = ["base", *(f"a-place-with-a-name-that-is-long-{number}" for number in range(count - 1))]
    plain = np.asarray(draw_likeness(cosines, names, 0.95, "The places of bank"))
    cosines[:, 0, 1] = cosines[:, 1, 0] = 0.97
    framed = np.asarray(draw_likeness(cosines, names, 0.95, "The places of bank"))
    green = np.array([24, 120, 72])
    assert not (plain == green).all(axis=2).any() and (framed == green).all(axis=2).sum() > 100
    assert plain.shape[1] < 2600 and (plain[:, -20:] == 255).all() and (plain[-20:] == 255).all()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["list", "nowhere"], "no such file; give the folder of a bank, or make one"),
        (["route", "BANK", "--data", "bag:nowhere"], "nowhere does not exist"),
        (["route", "BANK", "--data", "bag:PLACE", "--set", "route=both"], "allowed: one of: off, nearest, mixture, uniform"),
        (["route", "BANK", "--data", "bag:PLACE", "--set", "active"], "expected KEY=VALUE, e.g. route=nearest"),
        (["route", "BANK", "--data", "bag:PLACE", "--set", "k=2"], "unknown key k; allowed here: route, active"),
        (["route", "BANK", "--data", "bag:PLACE", "--checkpoint", "playtable"], "this network: its base is"),
        (["route", "BANK", "--data", "bag:PLACE", "--checkpoint", "nobody"], "there is no checkpoint 'nobody'"),
        (["add", "BANK", "a/b", "--data", "bag:PLACE", "--adapter", "ADAPTER"], "'a/b' is no name for a place"),
        (["add", "BANK", "x", "--data", "bag:PLACE", "--adapter", "nowhere"], "nowhere/manifest.json: no such file"),
        (["add", "BANK", "x", "--data", "bag:PLACE", "--adapter", "ADAPTER", "--checkpoint", "playtable"], "its base is"),
        (["create", "NEW", "--checkpoint", "CHECKPOINT", "--data", "bag:PLACE"], "1 places to calibrate by"),
        (["picture", "EMPTY", "x.png"], "has no place yet; add one"),
        (["route", "EMPTY", "--data", "bag:PLACE"], "has no place yet; add one"),
        (["start", "EMPTY", "--data", "bag:PLACE"], "has no place yet; add one"),
        (["start", "BANK", "--data", "bag:PLACE", "--recipe", "mine"], "unknown adaptation recipe 'mine'"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(world, bank, capsys, tmp_path, arguments, told):
    empty = Path(shutil.copytree(bank, tmp_path / "empty"))
    shutil.rmtree(empty / "places")
    (empty / "places").mkdir()
    meant = {
        "BANK": bank, "NEW": tmp_path / "new", "EMPTY": empty, "ADAPTER": world.adapters[0], "CHECKPOINT": world.checkpoint,
        "bag:PLACE": f"bag:{world.root / 'place3'}",
    }  # fmt: skip
    looking = world.cache if arguments[0] in ("add", "create", "route", "start") else []
    assert told in refuse(capsys, *(meant.get(word, word) for word in arguments), *looking)
    assert not (tmp_path / "new").exists()


def test_skipped_episodes_are_told_and_an_empty_bank_is_listed(world, capsys, tmp_path):
    folder = Path(shutil.copytree(world.root / "place3", tmp_path / "place3"))
    next((folder / "1").glob("*.mcap")).write_bytes(b"no bag")
    sources = ["--data", f"bag:{folder}", "--data", f"bag:{world.root / 'place0'}", "--held-out-every", 3]
    assert main(["bank", "create", str(tmp_path / "b"), "--checkpoint", str(world.checkpoint), *map(str, sources)]) == 0
    told = capsys.readouterr()
    assert "skipped: 1: " in told.err and "made " in told.out
    assert len(tell(capsys, "list", tmp_path / "b").splitlines()) == 1


def of_the_page(language: str) -> list[str]:
    page = Path(__file__).parents[2] / "docs/bank.md"
    return re.findall(rf"```{language}\n(.*?)```", page.read_text("utf-8"), re.DOTALL)


def test_the_page_shows_commands_that_exist_as_they_are_given():
    lines = [shlex.split(line, comments=True) for line in "\n".join(of_the_page("sh")).splitlines()]
    ours = [words[1:] for words in lines if words[:2] == ["worldagen", "bank"]]
    parser = make_parser({"bank": command})
    assert {parser.parse_args(words).action for words in ours} == set(command.ACTIONS)


def test_the_program_of_the_page_runs(world, tmp_path, monkeypatch, capsys):
    shutil.copytree(world.made, tmp_path / "out/bank")
    monkeypatch.chdir(tmp_path)
    exec(of_the_page("python")[0], {})
    assert capsys.readouterr().out == "blue\n"


def test_looking_at_a_bank_needs_no_torch(world, tmp_path):
    program = (
        "import sys\nfrom worldagen.cli import main\n"
        f"assert main(['bank', 'list', {str(world.made)!r}]) == 0\n"
        f"assert main(['bank', 'picture', {str(world.made)!r}, {str(tmp_path / 'x.png')!r}]) == 0\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert command.HELP and "torch" not in vars(command)
