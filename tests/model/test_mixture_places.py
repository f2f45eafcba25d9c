"""The bank on disk: what enters it and what does not, and that it is whole whatever happens to who changes it."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from adaptation_making import CANVAS
from mixture_making import WIDTHS, direction, make_place_adapter, plain_calibration, prototype, seen
from small_networks import build

from worldagen.adaptation.adapter import load_adapter, weights_of
from worldagen.errors import BankError
from worldagen.mixture.embedding import Embedding
from worldagen.mixture.places import PlaceBank, base_of
from worldagen.mixture.prototypes import Prototype
from worldagen.mixture.routing import RoutingConfig, route, whiten_places

MIXTURE = RoutingConfig(route="mixture")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> SimpleNamespace:
    """A network and adapters: two that fit, and others that do not."""
    root, network = tmp_path_factory.mktemp("adapters"), build(CANVAS)
    return SimpleNamespace(
        network=network,
        base=base_of(network),
        one=make_place_adapter(network, root, 1),
        two=make_place_adapter(network, root, 2, alpha=4.0),
        rejected=make_place_adapter(network, root, 3, verdict="rejected"),
        other_rank=make_place_adapter(network, root, 4, rank=2),
        other_targets=make_place_adapter(network, root, 5, projections="q,v"),
        other_layers=make_place_adapter(network, root, 6, layers="1"),
        other_kind=make_place_adapter(network, root, 7, what="image_head"),
        other_base=make_place_adapter(build(CANVAS, seed=1), root, 8),
    )


@pytest.fixture
def bank(made, tmp_path) -> PlaceBank:
    return PlaceBank.create(tmp_path / "bank", made.base, plain_calibration(), "mine", {"command": "test"})


def add(bank: PlaceBank, fit: SimpleNamespace, name: str, place: int, adapter: str = "one", **options):
    looks = {key: options.pop(key) for key in ("count", "off", "levels", "frames") if key in options}
    options.setdefault("made", {"command": "test"})  # asking git takes longer than all the rest
    return bank.add(name, getattr(fit, adapter), seen(fit.base, place, **looks), fit.network, **options)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file, except the lock, which says nothing."""
    files = (file for file in sorted(folder.rglob("*")) if file.is_file() and file.name != ".lock")
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def assert_same(ours: Prototype, theirs: Prototype) -> None:
    assert ours.count == theirs.count
    pairs = [*zip(ours.mean.levels, theirs.mean.levels, strict=True), *zip(ours.variance, theirs.variance, strict=True)]
    assert all(np.array_equal(one, other) for one, other in pairs)


def test_a_bank_says_what_it_belongs_to_and_what_it_was_calibrated_on(bank, made):
    again = PlaceBank(bank.folder, made.base)
    head = json.loads((bank.folder / "bank.json").read_text("utf-8"))
    assert head["base"] == made.base.digest and head["encoder"] == made.base.encoder
    assert head["definition"] == "static-pooled-1" and head["backbone"]["layers"] == 2 and head["lora"] is None
    assert head["calibration"] == {"quantile": 0.01, "known": ["trained"]} and head["made"] == {"command": "test"}
    assert (again.least, again.checkpoint, again.places()) == (0.5, "mine", ())
    assert_same(again.base, plain_calibration().base)
    assert [name for name, _ in again.known] == ["trained"]
    for ours, theirs in zip(again.whitening.matrices, plain_calibration().whitening.matrices, strict=True):
        assert np.array_equal(ours, theirs)


def test_a_place_that_was_added_is_there_with_its_adapter_and_its_looks(bank, made):
    told = add(bank, made, "kitchen", 1, count=7, made=None)
    assert str(told) == "kitchen was added, version 0001, of 7 frames; the first place of this bank"
    (place,) = PlaceBank(bank.folder, made.base).places()
    assert (place.name, place.version, place.adapter, place.verdict) == ("kitchen", "0001", made.one.name, "accepted")
    assert_same(place.prototype, prototype(1, 7))
    assert {file.name for file in place.folder.iterdir()} == {
        "manifest.json", "adapter_model.safetensors", "adapter_config.json", "prototypes.safetensors", "place.json",
    }  # fmt: skip
    assert set(place.told["files"]) == {file.name for file in place.folder.iterdir()} - {"place.json"}
    assert place.told["frames"][0]["from"] == "recording_1" and place.told["made"]["machine"]["packages"]["torch"]
    assert bank.told["lora"] == {
        "rank": 4, "scale": "alpha / rank", "layers": [0, 1], "projections": ["q", "k", "v", "o", "gate", "up", "down"],
    }  # fmt: skip
    ours, theirs = (
        load_adapter(folder, CANVAS, weights_of(made.network), made.base.digest) for folder in (place.folder, made.one)
    )
    assert all(torch.equal(ours.weights[name], theirs.weights[name]) for name in theirs.weights)


def test_a_second_place_may_have_another_alpha_and_the_nearest_is_told(bank, made):
    add(bank, made, "kitchen", 1)
    told = add(bank, made, "hall", 2, adapter="two")
    assert not told.updated and told.nearest == "kitchen" and max(told.cosines) < 0.95
    assert [(place.name, place.told["adapter"]["alpha"]) for place in bank.places()] == [("hall", 4.0), ("kitchen", 8.0)]
    assert [name for name, _ in bank.prototypes()] == ["hall", "kitchen"]


def test_a_newcomer_that_looks_the_same_updates_the_place_it_is(bank, made):
    add(bank, made, "kitchen", 1, count=30)
    told = add(bank, made, "kitchen_again", 1, adapter="two", count=10, off=0.2)
    assert told.updated and (told.name, told.version, told.counted) == ("kitchen", "0002", 40)
    assert str(told).startswith("kitchen was updated, version 0002, of 40 frames: the newcomer looks like kitchen (fine 0.98, ")
    (place,) = bank.places()
    assert_same(place.prototype, prototype(1, 30).joined(prototype(1, 10, off=0.2)))
    assert place.adapter == made.two.name and place.told["became"] == "update"
    assert [item["count"] for item in place.told["frames"]] == [30, 10]
    assert (bank.folder / "places/kitchen/0001/place.json").is_file(), "the version before is kept"


def test_under_its_own_name_it_is_updated_too_and_the_same_frames_count_once(bank, made):
    add(bank, made, "kitchen", 1, count=30)
    told = add(bank, made, "kitchen", 1, adapter="two", count=30)
    assert told.updated and told.counted == 30
    (place,) = bank.places()
    assert_same(place.prototype, prototype(1, 30))
    assert place.version == "0002" and place.adapter == made.two.name and len(place.told["frames"]) == 1


def test_frames_that_would_count_twice_beside_new_ones_are_refused(bank, made):
    add(bank, made, "kitchen", 1, frames="old")
    both = seen(made.base, 1, count=20, frames="old")
    both = replace(both, frames=(*both.frames, {"digest": "new", "count": 10, "from": "later"}))
    with pytest.raises(BankError, match="'kitchen' has the frames of recording_1 already"):
        bank.add("more", made.one, both, made.network)


def test_a_newcomer_that_differs_at_one_level_is_a_place_of_its_own(bank, made):
    add(bank, made, "kitchen", 1)
    assert not add(bank, made, "kitchen_at_night", 1, off=0.4, levels=[0]).updated
    assert add(bank, made, "still_night", 1, off=0.45, levels=[0]).name == "kitchen_at_night", "the nearest of both"


def test_how_alike_is_the_same_can_be_set(bank, made):
    add(bank, made, "kitchen", 1)
    assert not add(bank, made, "strict", 1, off=0.2, likeness=0.99).updated
    assert add(bank, made, "loose", 1, off=0.5, likeness=0.8).updated


def test_a_name_that_is_taken_by_another_place_is_refused(bank, made):
    add(bank, made, "kitchen", 1)
    add(bank, made, "hall", 2)
    before = tree(bank.folder)
    with pytest.raises(BankError, match="a place 'kitchen' which looks otherwise") as caught:
        add(bank, made, "kitchen", 3)
    assert "looks like" not in str(caught.value)
    with pytest.raises(BankError, match="this one looks like 'hall'; give another name"):
        add(bank, made, "kitchen", 2)
    assert tree(bank.folder) == before


def test_two_places_that_are_one_are_merged_under_the_first_name(bank, made):
    add(bank, made, "kitchen", 1, count=30)
    add(bank, made, "copy", 1, adapter="two", count=10, off=0.2, likeness=0.999)
    copy = shutil.copytree(bank.folder / "places/copy", bank.folder.parent / "kept")
    told = bank.merge("kitchen", "copy")
    (place,) = bank.places()
    assert (told.name, told.counted, place.version, place.adapter) == ("kitchen", 40, "0002", made.one.name)
    assert_same(place.prototype, prototype(1, 30).joined(prototype(1, 10, off=0.2)))
    assert place.told["became"] == "merged with copy"
    shutil.copytree(copy, bank.folder / "places/copy")  # as if it had been killed before the other went
    bank.merge("kitchen", "copy")
    assert_same(bank.places()[0].prototype, place.prototype)
    assert [place.name for place in bank.places()] == ["kitchen"]


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ("kitchen", "hall", "'kitchen' and 'hall' are not the same place: fine"),
        ("kitchen", "attic", "no place 'attic'; it has: hall, kitchen"),
        ("kitchen", "kitchen", "cannot be merged with itself"),
    ],
)
def test_what_cannot_be_merged_is_told(bank, made, first, second, told):
    add(bank, made, "kitchen", 1)
    add(bank, made, "hall", 2)
    before = tree(bank.folder)
    with pytest.raises(BankError, match=told):
        bank.merge(first, second)
    assert tree(bank.folder) == before


def test_a_place_is_removed_with_all_its_versions(bank, made):
    add(bank, made, "kitchen", 1)
    add(bank, made, "kitchen", 1, count=5)
    add(bank, made, "hall", 2)
    bank.remove("kitchen")
    assert [place.name for place in bank.places()] == ["hall"]
    assert [item.name for item in (bank.folder / "places").iterdir()] == ["hall"]
    with pytest.raises(BankError, match="no place 'kitchen'; it has: hall"):
        bank.remove("kitchen")
    with pytest.raises(BankError, match=r"no place '\.\./places'"):
        bank.remove("../places")
    bank.remove("hall")
    add(bank, made, "attic", 3, adapter="other_rank")  # an empty bank binds nobody
    assert bank.told["lora"]["rank"] == 2


@pytest.mark.parametrize(
    ("adapter", "told"),
    [
        ("other_base", "belongs to a base with the digest .* adapt the bank's checkpoint .mine., or make a bank of the other"),
        ("other_rank", "rank 2 on q, k, v, o, gate, up, down of the layers 0, 1; the adapters of .* have rank 4 on"),
        ("other_targets", "rank 4 on q, v of the layers 0, 1; the adapters of .* have rank 4 on q, k, v, o"),
        ("other_layers", "of the layers 1; the adapters of .* of the layers 0, 1. Adapt with those, or make another bank"),
        ("other_kind", "of the kind 'image_head'; a bank mixes LoRA: adapt with trained.what=lora"),
        ("rejected", "was rejected by its gate .* allowed explicitly, with the reason"),
    ],
)
def test_adapters_that_do_not_belong_together_are_refused_by_name(bank, made, adapter, told):
    add(bank, made, "kitchen", 1)
    before = tree(bank.folder)
    with pytest.raises(BankError, match=told):
        add(bank, made, "hall", 2, adapter=adapter)
    assert tree(bank.folder) == before


def damage_weights(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-9] + b"\xff" * 9)


def forget_the_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def scale_otherwise(folder: Path) -> None:
    from worldagen.provenance import sha256_of

    file = folder / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text("utf-8")), "use_rslora": True, "r": 8}), "utf-8")
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    manifest["files"][file.name] = sha256_of(file)
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (damage_weights, "adapter_model.safetensors: damaged"),
        (forget_the_manifest, "no such file; give the folder of an adapter"),
        (scale_otherwise, "another form of LoRA .r 8, expected 4; use_rslora True, expected none."),
    ],
)
def test_a_damaged_or_strange_adapter_is_refused(bank, made, tmp_path, spoil, told):
    folder = shutil.copytree(made.one, tmp_path / "spoilt")
    spoil(folder)
    with pytest.raises(BankError, match=told):
        bank.add("kitchen", folder, seen(made.base, 1), made.network)
    assert bank.places() == ()


def test_a_rejected_adapter_is_taken_where_that_is_allowed_and_the_reason_is_kept(bank, made):
    add(bank, made, "kitchen", 1, adapter="rejected", allow_rejected="for comparison")
    add(bank, made, "hall", 2, allow_rejected="not needed")
    hall, kitchen = bank.places()
    assert kitchen.verdict == "rejected" and kitchen.told["adapter"]["allowed"] == "for comparison"
    assert hall.verdict == "accepted" and hall.told["adapter"]["allowed"] == ""


def test_what_became_of_an_adapter_goes_along_and_may_grow(bank, made, tmp_path):
    folder = shutil.copytree(made.rejected, tmp_path / "used")
    (folder / "activations.jsonl").write_text("{}\n")
    bank.add("kitchen", folder, seen(made.base, 1), made.network, allow_rejected="a trial")
    line = bank.places()[0].folder / "activations.jsonl"
    line.write_text(line.read_text() + "{}\n")  # made active from here
    add(bank, made, "copy", 1, adapter="two", count=3, likeness=1.0)
    bank.merge("kitchen", "copy")
    assert (bank.places()[0].folder / "activations.jsonl").read_text() == "{}\n{}\n"


def test_prototypes_of_another_encoder_or_definition_are_refused(bank, made):
    ours = seen(made.base, 1)
    narrow = Prototype(Embedding(tuple(np.ones(3) for _ in WIDTHS)), tuple(np.ones(3) for _ in WIDTHS), 4)
    for changed, told in (
        (replace(ours, encoder="f" * 64), "these prototypes: its encoder is ffff.* look at the frames again"),
        (replace(ours, definition="static-pooled-0"), "its definition is static-pooled-0, that of .* is static-pooled-1"),
        (replace(ours, prototype=narrow), r"an embedding of \[3, 3, 3\] numbers, the whitening is of \[5, 6, 8\]"),
    ):
        with pytest.raises(BankError, match=told):
            bank.add("kitchen", made.one, changed, made.network)
    assert bank.places() == ()


@pytest.mark.parametrize("name", ["../kitchen", "", ".kitchen", "a/b", "a b", "-x", "x" * 65, "k\u00fcche"])
def test_a_name_that_is_no_plain_folder_name_is_refused(bank, made, name):
    with pytest.raises(BankError, match="is no name for a place; expected up to 64 letters"):
        add(bank, made, name, 1)


def test_the_name_of_the_base_is_taken(bank, made):
    with pytest.raises(BankError, match="what the bare base is called"):
        add(bank, made, "base", 1)


def test_a_bank_of_another_checkpoint_is_refused(bank, made):
    other = build(CANVAS, seed=1)
    with pytest.raises(BankError, match=r"this network: its base is .* use the checkpoint it was made for \(mine\)"):
        PlaceBank(bank.folder, base_of(other))
    with pytest.raises(BankError, match="this network: its base is"):
        bank.add("kitchen", made.one, seen(made.base, 1), other)
    with pytest.raises(BankError, match="its encoder is"):
        PlaceBank(bank.folder, replace(made.base, encoder="0" * 64))


def test_a_bank_is_made_where_nothing_is_with_a_bound_that_is_a_cosine(bank, made, tmp_path):
    with pytest.raises(BankError, match="exists; give another folder"):
        PlaceBank.create(bank.folder, made.base, plain_calibration(), "mine")
    for least in (float("nan"), 1.5):
        with pytest.raises(BankError, match="expected a cosine, -1 to 1"):
            PlaceBank.create(tmp_path / "other", made.base, plain_calibration(least), "mine")
    assert not (tmp_path / "other").exists()


def rewrite(change: Callable[[dict], None], name: str = "bank.json") -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        told = json.loads((folder / name).read_text("utf-8"))
        change(told)
        (folder / name).write_text(json.dumps(told), "utf-8")

    return spoil


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (shutil.rmtree, "no such file; give the folder of a bank, or make one"),
        (lambda folder: (folder / "bank.json").write_text('{"format": "worl'), "bank.json: damaged"),
        (lambda folder: (folder / "bank.json").write_text("[]"), "bank.json: damaged"),
        (rewrite(lambda told: told.update(format="x")), "format is 'x'; expected 'worldagen-bank-1'"),
        (rewrite(lambda told: told.pop("least")), "damaged .KeyError: 'least'"),
        (rewrite(lambda told: told.update(least=float("nan"))), "least is nan; expected a cosine"),
        (rewrite(lambda told: told.update(base=3)), "damaged .TypeError: base is 3"),
        (rewrite(lambda told: told.update(definition="old")), "its levels are 'old'"),
        (rewrite(lambda told: told["files"].update({"../x": "0"})), "outside its folder; this bank must not be used"),
        (rewrite(lambda told: told["calibration"].update(known=["a", "b"])), "has no tensor 'known.1.fine.mean'"),
        (lambda folder: os.truncate(folder / "whitening.safetensors", 100), "whitening.safetensors: damaged, its digest"),
        (lambda folder: (folder / "whitening.safetensors").unlink(), "whitening.safetensors: cannot be read"),
        (lambda folder: shutil.rmtree(folder / "places"), "places: cannot be read"),
    ],
)
def test_a_damaged_bank_is_refused_by_the_name_of_its_file(bank, spoil, told):
    spoil(bank.folder)
    with pytest.raises(BankError, match=told):
        PlaceBank(bank.folder).places()


def flip(file: str) -> Callable[[Path], None]:
    def spoil(place: Path) -> None:
        data = bytearray((place / "0001" / file).read_bytes())
        data[-1] ^= 0xFF
        (place / "0001" / file).write_bytes(data)

    return spoil


def told_otherwise(change: Callable[[dict], None]) -> Callable[[Path], None]:
    return rewrite(change, "0001/place.json")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (flip("adapter_model.safetensors"), "adapter_model.safetensors: damaged, its digest"),
        (flip("manifest.json"), "manifest.json: damaged, its digest"),
        (flip("prototypes.safetensors"), "prototypes.safetensors: damaged, its digest"),
        (lambda place: (place / "0001/place.json").write_text("{"), "place.json: damaged"),
        (lambda place: (place / "0001/adapter_config.json").unlink(), "adapter_config.json: cannot be read"),
        (lambda place: (place / "current").unlink(), "current: cannot be read"),
        (lambda place: (place / "current").write_text("../hall"), r"names the version '../hall'; there are: 0001"),
        (lambda place: (place / "current").write_text("0007\n"), "names the version '0007'; there are: 0001. Write one"),
        (lambda place: (place / "current").write_bytes(b"\xff\xfe"), "current: cannot be read"),
        (told_otherwise(lambda told: told["adapter"].update(base="f" * 64)), "its base is ffff"),
        (told_otherwise(lambda told: told.update(encoder="f" * 64)), "its encoder is ffff"),
        (told_otherwise(lambda told: told.update(definition="old")), "its definition is old"),
        (told_otherwise(lambda told: told.update(name="hall")), "is of 'hall'"),
        (told_otherwise(lambda told: told["files"].pop("prototypes.safetensors")), "tells of manifest.json, adapter"),
        (told_otherwise(lambda told: told["adapter"].update(rank=8)), "rank 8 on q, k"),
        (told_otherwise(lambda told: told["adapter"].pop("rank")), "place.json: damaged, without rank"),
        (told_otherwise(lambda told: told.update(frames=["x"])), "place.json: damaged, without digests of frames"),
    ],
)
def test_a_damaged_place_is_refused_by_name_and_can_be_removed(bank, made, spoil, told):
    add(bank, made, "attic", 3)
    add(bank, made, "kitchen", 1)
    spoil(bank.folder / "places/kitchen")
    with pytest.raises(BankError, match=told) as caught:
        bank.places()
    assert "kitchen" in str(caught.value)
    with pytest.raises(BankError, match=told):
        add(bank, made, "hall", 2)
    bank.remove("kitchen")
    assert [place.name for place in bank.places()] == ["attic"]


def test_an_empty_bank_is_refused_where_a_place_is_needed(bank):
    with pytest.raises(BankError, match="has no place yet; add one"):
        bank.routable()
    places = bank.routable(allow_empty=True)
    routing = route(direction(1000), places, MIXTURE)
    assert routing.names == ("base",) and routing.weights.tolist() == [[1.0]] * 3 and not routing.abstains


def test_a_bank_routes_by_its_places_and_knows_where_its_base_was_trained(bank, made):
    for name, place in (("kitchen", 1), ("hall", 2)):
        add(bank, made, name, place)
    places = bank.routable()
    assert places.names == ("base", "hall", "kitchen")
    assert [route(direction(place), places, MIXTURE).nearest for place in (1000, 2, 1)] == ["base", "hall", "kitchen"]
    lost = route(direction(77), places, MIXTURE)
    assert lost.abstains and lost.weights[:, 0].tolist() == [1.0] * 3


def test_permuting_the_places_permutes_the_weights():
    calibration, rng = plain_calibration(), np.random.default_rng(0)
    places = [(f"place{number}", prototype(number)) for number in range(6)]
    looks = [Embedding(tuple(rng.normal(size=width) for width in WIDTHS)) for _ in range(10)] + [direction(3)]
    for config in (MIXTURE, RoutingConfig(route="nearest"), RoutingConfig(route="mixture", active=9)):
        for _ in range(5):
            shuffled = [places[number] for number in rng.permutation(6)]
            for look in looks:
                weights = []
                for order in (places, shuffled):
                    ready = whiten_places(calibration.base, order, calibration.whitening, -1.0, calibration.known)
                    routing = route(look, ready, config)
                    weights.append({name: routing.weights[:, place].tolist() for place, name in enumerate(routing.names)})
                assert weights[0] == weights[1]


def test_the_likeness_of_places_tells_of_the_base_first(bank, made):
    for name, place in (("kitchen", 1), ("hall", 2), ("trained_there", 1000)):
        add(bank, made, name, place)
    places = bank.places()
    table = bank.likeness(places)
    assert [place.name for place in places] == ["hall", "kitchen", "trained_there"] and table.shape == (3, 4, 4)
    np.testing.assert_allclose(table, table.transpose(0, 2, 1), atol=1e-12)
    np.testing.assert_allclose(np.diagonal(table, axis1=1, axis2=2), 1.0)
    np.testing.assert_allclose(table[:, 0, 3], 1.0)
    assert abs(table[2, 1, 2] - direction(1).levels[2] @ direction(2).levels[2]) < 1e-12


# What is done to a bank, and from what it begins.
CHANGES = {
    "new": lambda bank, made: add(bank, made, "attic", 3),
    "update": lambda bank, made: add(bank, made, "kitchen", 1, adapter="two", count=5),
    "merge": lambda bank, made: bank.merge("kitchen", "copy", made={"command": "test"}),
}
PLACES_AFTER = {"new": ["attic", "copy", "kitchen"], "update": ["copy", "kitchen"], "merge": ["kitchen"]}


@pytest.fixture
def filled(bank, made) -> PlaceBank:
    add(bank, made, "kitchen", 1)
    add(bank, made, "copy", 1, count=4, off=0.1, likeness=0.999)
    return bank


STEPS = {
    "copying": "worldagen.mixture.place_adapters.shutil.copyfile",
    "prototypes": "worldagen.mixture.bank_files.save_file",
    "syncing": "worldagen.mixture.bank_folder.sync_tree",
    "replacing": "worldagen.whole_files.os.replace",
}


def full(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("change", "step"), [(change, step) for change in CHANGES for step in STEPS if (change, step) != ("new", "replacing")]
)
def test_a_full_disk_leaves_the_bank_as_it_was(filled, made, monkeypatch, change, step):
    before = tree(filled.folder)
    monkeypatch.setattr(STEPS[step], full)
    with pytest.raises(BankError, match="No space left on device; the bank is as it was"):
        CHANGES[change](filled, made)
    assert tree(filled.folder) == before
    assert not [item for item in filled.folder.rglob(".*") if item.name != ".lock"]


@pytest.mark.parametrize("step", ["worldagen.whole_files.os.replace", "pathlib.Path.rename"])
def test_a_full_disk_at_the_first_place_leaves_no_form_either(bank, made, monkeypatch, step):
    before = tree(bank.folder)
    with monkeypatch.context() as patch:
        patch.setattr(step, full)
        with pytest.raises(BankError, match="No space left on device; the bank is as it was"):
            add(bank, made, "kitchen", 1)
    assert tree(bank.folder) == before and bank.told["lora"] is None


def test_a_full_disk_leaves_no_half_bank(made, tmp_path, monkeypatch):
    monkeypatch.setattr("worldagen.mixture.bank_files.save_file", full)
    with pytest.raises(BankError, match="No space left on device; nothing of it was kept"):
        PlaceBank.create(tmp_path / "bank", made.base, plain_calibration(), "mine", {})
    assert list(tmp_path.iterdir()) == []


def killed_in(work: Callable[[], object], step: str) -> None:
    """Do it in a process that kills itself when it comes to a step."""
    child = os.fork()
    if child == 0:
        module, _, name = step.rpartition(".")
        target = __import__("pkgutil").resolve_name(module)
        setattr(target, name, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
        try:
            work()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


@pytest.mark.parametrize(
    ("change", "step", "done"),
    [
        *[(change, STEPS["copying"], False) for change in ("new", "update", "merge")],
        *[(change, STEPS["prototypes"], False) for change in ("new", "update", "merge")],
        *[(change, STEPS["syncing"], False) for change in ("new", "update", "merge")],
        ("new", "pathlib.Path.rename", False),
        ("update", "worldagen.mixture.bank_folder.write_whole", False),  # the version is there, and does not count yet
        ("update", STEPS["replacing"], False),
        ("merge", "worldagen.mixture.bank_folder.write_whole", False),
        ("new", "worldagen.mixture.places.Admitted", True),
        ("update", "worldagen.mixture.places.Admitted", True),
    ],
)
def test_killed_at_any_step_a_bank_is_whole_and_the_next_change_clears_up(filled, made, change, step, done):
    before = {item.name: (item.version, item.adapter) for item in filled.places()}
    killed_in(lambda: CHANGES[change](filled, made), step)
    bank = PlaceBank(filled.folder, made.base)
    after = {item.name: (item.version, item.adapter) for item in bank.places()}
    assert (after == before) != done
    assert route(direction(1), bank.routable(), MIXTURE).nearest in ("kitchen", "copy")
    CHANGES[change](bank, made)
    assert [place.name for place in bank.places()] == PLACES_AFTER[change]
    assert not [item for item in bank.folder.rglob(".*") if item.name != ".lock"]


def test_killed_between_joining_and_dropping_a_merge_counts_no_frame_twice(filled, made):
    killed_in(lambda: filled.merge("kitchen", "copy"), "worldagen.mixture.bank_folder.BankFolder.drop")
    bank = PlaceBank(filled.folder, made.base)
    assert [(place.name, place.prototype.count) for place in bank.places()] == [("copy", 4), ("kitchen", 14)]
    bank.merge("kitchen", "copy")
    assert [(place.name, place.prototype.count) for place in bank.places()] == [("kitchen", 14)]


def test_killed_in_dropping_a_place_it_is_gone(filled, made):
    killed_in(lambda: filled.remove("copy"), "worldagen.mixture.bank_folder.shutil.rmtree")
    bank = PlaceBank(filled.folder, made.base)
    assert [place.name for place in bank.places()] == ["kitchen"]
    add(bank, made, "attic", 3)
    assert sorted(item.name for item in (bank.folder / "places").iterdir()) == ["attic", "kitchen"]


def test_killed_before_the_first_place_the_form_binds_nobody(bank, made):
    killed_in(lambda: add(bank, made, "kitchen", 1), "pathlib.Path.rename")
    again = PlaceBank(bank.folder, made.base)
    assert again.told["lora"]["rank"] == 4 and again.places() == ()
    add(again, made, "kitchen", 1, adapter="other_rank")
    assert again.told["lora"]["rank"] == 2


def test_two_that_add_at_once_are_both_heard(bank, made):
    children = []
    for number in range(2):
        child = os.fork()
        if child == 0:
            try:
                add(PlaceBank(bank.folder), made, f"place{number}", number)
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
    assert [place.name for place in bank.places()] == ["place0", "place1"]


def test_a_bank_holds_no_pickle_and_no_path_of_this_machine(filled):
    files = tree(filled.folder)
    assert {Path(name).suffix for name in files} == {".json", ".safetensors", ""}
    assert all(str(filled.folder.parent).encode() not in data for data in files.values())
    assert {Path(name).name for name in files if not Path(name).suffix} == {"current"}
