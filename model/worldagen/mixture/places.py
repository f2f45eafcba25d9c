"""A bank of places: one adapter for each place, with what is kept of how the place looks; what may enter it, and what may not.

Legend: N places, L levels.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from worldagen.errors import BankError
from worldagen.mixture.bank_files import (
    Known,
    read_object,
    read_prototype,
    read_whitening,
    refuse_damage,
    write_prototype,
    write_whitening,
)
from worldagen.mixture.bank_folder import BANK, NAME, REMEDY, WHITENING, BankFolder, create_folder
from worldagen.mixture.embedding import DEFINITION, LEVELS
from worldagen.mixture.place_adapters import PlaceAdapter, adapter_in, describe_form, form_of, read_adapter
from worldagen.mixture.prototypes import BASE, Prototype
from worldagen.mixture.routing import Places, whiten_places
from worldagen.mixture.whitening import Whitening
from worldagen.provenance import describe_run, sha256_of

if TYPE_CHECKING:
    from worldagen.network.worldagen import WorldAgen

PLACE, PROTOTYPES = "place.json", "prototypes.safetensors"
PLACE_FORMAT = "worldagen-place-1"
PLACE_KEYS = {"name": str, "adapter": dict, "files": dict, "encoder": str, "definition": str, "frames": list}
ADAPTER_KEYS = ("id", "base", "verdict", "allowed", "rank", "scale", "projections", "layers")
LIKENESS = 0.95  # whitened cosine above which, at every level, a newcomer is a place that is there already


@dataclass(frozen=True)
class Base:
    """What a bank belongs to. digest: of all weights; encoder: of those that make embeddings; backbone: its shape."""

    digest: str
    encoder: str
    backbone: Mapping[str, Any]


def base_of(network: "WorldAgen") -> Base:
    """Of a network with its own weights, no adapter's."""
    from worldagen.adaptation.adapter import digest_of, weights_of
    from worldagen.engines.parts import encoder_digest

    return Base(digest_of(weights_of(network)), encoder_digest(network), asdict(network.config.backbone))


@dataclass(frozen=True, eq=False)
class Calibration:
    """What a bank compares by. known: places the base was trained in, by name. least: scene cosine below which it abstains.

    told: what all this was measured on, JSON-ready.
    """

    whitening: Whitening
    base: Prototype
    known: Known
    least: float
    told: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class SeenPlace:
    """What recordings show of a place. encoder: digest of what looked; frames: of each recording digest, count and from."""

    prototype: Prototype
    encoder: str
    frames: tuple[Mapping[str, Any], ...]
    definition: str = DEFINITION


@dataclass(frozen=True, eq=False)
class Place:
    """A place of a bank, in the version that counts. folder: its adapter's; told: place.json."""

    name: str
    folder: Path
    prototype: Prototype
    told: Mapping[str, Any]

    @property
    def version(self) -> str:
        """ "0001" for the first."""
        return self.folder.name

    @property
    def adapter(self) -> str:
        """The adapter's id."""
        return self.told["adapter"]["id"]

    @property
    def verdict(self) -> str:
        """Of the adapter's gate."""
        return self.told["adapter"]["verdict"]


@dataclass(frozen=True)
class Admitted:
    """What became of a newcomer. name, version: where it is now; updated: whether that was there before; counted: its frames.

    nearest, cosines: the place it resembles most, and how much at each level; "" and none in an empty bank.
    """

    name: str
    version: str
    updated: bool
    counted: int
    nearest: str
    cosines: tuple[float, ...]

    def __str__(self) -> str:
        alike = f"{self.nearest} ({describe_cosines(self.cosines)})" if self.nearest else ""
        if self.updated:
            return f"{self.name} was updated, version {self.version}, of {self.counted} frames: the newcomer looks like {alike}"
        told = f"the nearest is {alike}" if alike else "the first place of this bank"
        return f"{self.name} was added, version {self.version}, of {self.counted} frames; {told}"


class PlaceBank:
    """A bank that exists. Reads from disk what it is asked for, so it tells what is there now."""

    def __init__(self, folder: Path, base: Base | None = None) -> None:
        """Open a bank; base: what it is going to be used with. Raises BankError for what is none, damaged, or of another."""
        self.folder = folder
        self._disk = BankFolder(folder)
        head = self._disk.head
        if head["definition"] != DEFINITION:
            raise BankError(
                f"{folder / BANK}: its levels are {head['definition']!r}, this version makes {DEFINITION!r}; make the bank anew"
            )
        refuse_damage(folder, head["files"], "copy the bank again")
        self.whitening, self.base, self.known = read_whitening(folder / WHITENING, head["calibration"].get("known", []))
        if base is not None:
            self._require_base(base)

    @classmethod
    def create(
        cls, folder: Path, base: Base, calibration: Calibration, checkpoint: str, made: Mapping[str, Any] | None = None
    ) -> "PlaceBank":
        """A bank without places. checkpoint: how the base is found. Raises BankError, leaving nothing, if it cannot be made."""

        def fill(aside: Path) -> dict[str, Any]:
            write_whitening(aside / WHITENING, calibration.whitening, calibration.base, calibration.known)
            return {
                "base": base.digest, "encoder": base.encoder, "definition": DEFINITION, "backbone": dict(base.backbone),
                "checkpoint": checkpoint, "least": float(calibration.least), "lora": None,
                "files": {WHITENING: sha256_of(aside / WHITENING)},
                "calibration": {**calibration.told, "known": [name for name, _ in calibration.known]},
                "made": dict(describe_run("PlaceBank.create") if made is None else made),
            }  # fmt: skip

        if not -1.0 <= calibration.least <= 1.0:
            raise BankError(f"the bound of abstention is {calibration.least}; expected a cosine, -1 to 1")
        create_folder(folder, fill)
        return cls(folder, base)

    @property
    def told(self) -> Mapping[str, Any]:
        """bank.json."""
        return self._disk.head

    @property
    def checkpoint(self) -> str:
        """How the base was named when the bank was made: a shipped checkpoint, or a folder."""
        return self.told["checkpoint"]

    @property
    def digest(self) -> str:
        """Of all that counts: calibration, and each place in its present version. Raises BankError for damage."""
        whole = hashlib.sha256((self.folder / BANK).read_bytes())
        for place in self.places():
            whole.update((place.folder / PLACE).read_bytes())
        return whole.hexdigest()

    @property
    def least(self) -> float:
        """The scene cosine below which routing abstains."""
        return self.told["least"]

    def places(self) -> tuple[Place, ...]:
        """All places by name, each checked to the last byte. Raises BankError, by name, for one that is damaged or foreign."""
        places = tuple(self._read_place(name) for name in self._disk.names())
        for place in places[1:]:
            self._require_form(place.folder, form_of(place.told["adapter"]), places)
        return places

    def prototypes(self) -> tuple[tuple[str, Prototype], ...]:
        """Of all places, by name."""
        return tuple((place.name, place.prototype) for place in self.places())

    def routable(self, allow_empty: bool = False) -> Places:
        """What is routed by. Raises BankError for a bank without places, unless that is allowed: then there is the base."""
        prototypes = self.prototypes()
        if not prototypes and not allow_empty:
            raise BankError(f"{self.folder} has no place yet; add one (worldagen bank add)")
        return whiten_places(self.base, prototypes, self.whitening, self.least, self.known)

    def read_adapter(self, adapter: Path, network: "WorldAgen", allow_rejected: str = "") -> PlaceAdapter:
        """An adapter that may enter this bank. Arguments as of `add`. Raises BankError for one that may not."""
        base = base_of(network)
        self._require_base(base)
        given = read_adapter(adapter, network, base.digest, self.checkpoint, allow_rejected)
        self._require_form(adapter, given.form, self.places())
        return given

    def add(
        self,
        name: str,
        adapter: Path,
        seen: SeenPlace,
        network: "WorldAgen",
        likeness: float = LIKENESS,
        allow_rejected: str = "",
        made: Mapping[str, Any] | None = None,
    ) -> Admitted:
        """Take in a place, or update the one that it is.

        If the nearest place has a whitened cosine above `likeness` at all levels, the newcomer is that place: the prototypes
        are joined by their counts, unless these very frames are in it, and the adapter is its new version.

        network: the base. allow_rejected: why an adapter that its gate rejected is taken all the same; recorded. Raises
        BankError, leaving the bank as it was.
        """
        require_plain_name(name)
        self._require_same_eyes(seen)
        given = self.read_adapter(adapter, network, allow_rejected)
        with self._disk.changing():
            places = self.places()
            self._require_form(adapter, given.form, places)  # somebody may have added one meanwhile
            nearest, cosines = self._nearest(seen.prototype, places)
            same = nearest if nearest is not None and min(cosines) > likeness else None
            taken = next((place for place in places if place.name == name), None)
            if taken is not None and same is not taken:
                ours = describe_cosines(self._cosines(seen.prototype, [taken.prototype])[:, 0].tolist())
                other = f", and this one looks like {same.name!r}" if same else ""
                raise BankError(
                    f"there is a place {name!r} which looks otherwise ({ours}; the same is above {likeness:g} at all levels)"
                    f"{other}; give another name, or remove that place first"
                )
            prototype, frames = self._joined(same, seen) if same else (seen.prototype, list(seen.frames))
            where, became = (same.name, "update") if same else (name, "new")
            version = self._write(where, given, prototype, frames, became, made or describe_run("PlaceBank.add"))
        return Admitted(where, version, same is not None, prototype.count, nearest.name if nearest else "", cosines)

    def merge(self, name: str, other: str, likeness: float = LIKENESS, made: Mapping[str, Any] | None = None) -> Admitted:
        """Join two places that are one. The first keeps its name and its adapter, with the frames of both; the other goes.

        Raises BankError for places that are not as alike as that, and leaves the bank as it was.
        """
        if name == other:
            raise BankError(f"{name!r} cannot be merged with itself; give two places")
        with self._disk.changing():
            places = {place.name: place for place in self.places()}
            first, second = (places.get(asked) or self._refuse_unknown(asked) for asked in (name, other))
            cosines = tuple(self._cosines(second.prototype, [first.prototype])[:, 0].tolist())
            if min(cosines) <= likeness:
                raise BankError(
                    f"{name!r} and {other!r} are not the same place: {describe_cosines(cosines)}; the same is above "
                    f"{likeness:g} at all levels. Give a smaller bound (--likeness) if they shall be one"
                )
            theirs = SeenPlace(second.prototype, second.told["encoder"], tuple(second.told["frames"]))
            prototype, frames = self._joined(first, theirs)
            kept = tuple(file for file in first.told["files"] if file != PROTOTYPES)
            given = adapter_in(first.folder, first.told["adapter"], kept)
            became = f"merged with {other}"
            version = self._write(name, given, prototype, frames, became, made or describe_run("PlaceBank.merge"))
            try:
                self._disk.drop(other)
            except OSError as error:
                raise BankError(
                    f"{name!r} has the frames of both now, {other!r} cannot be removed ({error}); remove it"
                ) from None
        return Admitted(name, version, True, prototype.count, other, cosines)

    def remove(self, name: str) -> None:
        """Take a place out with all of its versions, also a damaged one. Raises BankError for one that is not there."""
        with self._disk.changing():
            if name not in self._disk.names():
                self._refuse_unknown(name)
            self._disk.drop(name)

    def likeness(self, places: Sequence[Place]) -> np.ndarray:
        """Whitened cosines (L, 1 + N, 1 + N) among the base and some places; the base is the nearest that it was trained in."""
        table = np.ones((len(LEVELS), 1 + len(places), 1 + len(places)))
        trained_in = [prototype for _, prototype in self.known]
        for number, place in enumerate(places, start=1):
            table[:, number, 1:] = self._cosines(place.prototype, [other.prototype for other in places])
            table[:, 0, number] = table[:, number, 0] = self._cosines(place.prototype, trained_in).max(axis=1)
        return table

    def _cosines(self, prototype: Prototype, others: Sequence[Prototype]) -> np.ndarray:
        """(L, N)."""
        seen, rows = self.whitening(prototype.mean), [self.whitening(other.mean) for other in others]
        return np.array([[float(ours @ row[level]) for row in rows] for level, ours in enumerate(seen)])

    def _nearest(self, prototype: Prototype, places: Sequence[Place]) -> tuple[Place | None, tuple[float, ...]]:
        """The place whose smallest cosine over the levels is largest, with its cosines; the first by name of equal ones."""
        if not places:
            return None, ()
        cosines = self._cosines(prototype, [place.prototype for place in places])
        best = int(cosines.min(axis=0).argmax())
        return places[best], tuple(cosines[:, best].tolist())

    def _joined(self, place: Place, seen: SeenPlace) -> tuple[Prototype, list[Any]]:
        """A place's prototype and frames with further ones, which count once, however often they are given."""
        ours, theirs = list(place.told["frames"]), list(seen.frames)
        again = [item for item in theirs if item["digest"] in {kept["digest"] for kept in ours}]
        if not again:
            return place.prototype.joined(seen.prototype), [*ours, *theirs]
        if len(again) < len(theirs):
            raise BankError(
                f"{place.name!r} has the frames of {again[0]['from']} already; they come with others here and would count "
                "twice. Add the new ones alone"
            )
        return place.prototype, ours

    def _write(
        self,
        name: str,
        adapter: PlaceAdapter,
        prototype: Prototype,
        frames: Sequence[Any],
        became: str,
        made: Mapping[str, Any],
    ) -> str:
        """The next version of a place, or its first; returns it."""
        version = self._disk.next_version(name)

        def fill(folder: Path) -> None:
            digests = adapter.copy_into(folder)
            header = {"format": PLACE_FORMAT, "encoder": self.told["encoder"], "definition": DEFINITION}
            write_prototype(folder / PROTOTYPES, prototype, header)
            digests[PROTOTYPES] = sha256_of(folder / PROTOTYPES)
            tree = {
                **header, "name": name, "version": version, "became": became, "adapter": dict(adapter.told),
                "frames": list(frames), "files": digests, "made": dict(made),
            }  # fmt: skip
            (folder / PLACE).write_text(json.dumps(tree, indent=1) + "\n", "utf-8")

        self._disk.add_version(name, adapter.form, fill)
        return version

    def _read_place(self, name: str) -> Place:
        folder = self._disk.version_of(name)
        told = read_object(folder / PLACE, PLACE_FORMAT, PLACE_KEYS, REMEDY)
        missing = [key for key in ADAPTER_KEYS if key not in told["adapter"]]
        if missing or not all(isinstance(item, dict) and "digest" in item for item in told["frames"]):
            raise BankError(f"{folder / PLACE}: damaged, without {', '.join(missing) or 'digests of frames'}; {REMEDY}")
        if PROTOTYPES not in told["files"] or told["name"] != name:
            raise BankError(f"{folder / PLACE}: is of {told['name']!r} and tells of {', '.join(told['files'])}; {REMEDY}")
        refuse_damage(folder, told["files"], REMEDY)
        self._require_ours(folder, {**told, "base": told["adapter"]["base"]}, ("base", "encoder", "definition"), REMEDY)
        return Place(name, folder, read_prototype(folder / PROTOTYPES), told)

    def _require_base(self, base: Base) -> None:
        remedy = f"use the checkpoint it was made for ({self.checkpoint}), or make another bank"
        self._require_ours("this network", {"base": base.digest, "encoder": base.encoder}, ("base", "encoder"), remedy)

    def _require_same_eyes(self, seen: SeenPlace) -> None:
        remedy = f"look at the frames again with the checkpoint of this bank ({self.checkpoint})"
        told = {"encoder": seen.encoder, "definition": seen.definition}
        self._require_ours("these prototypes", told, ("encoder", "definition"), remedy)
        self.whitening(seen.prototype.mean)  # refuses other widths

    def _require_ours(self, what: object, told: Mapping[str, Any], keys: Sequence[str], remedy: str) -> None:
        for key in keys:
            found, expected = str(told[key]), self.told[key]
            if found != expected:
                raise BankError(f"{what}: its {key} is {found[:16]}, that of {self.folder} is {expected[:16]}; {remedy}")

    def _require_form(self, adapter: Path, theirs: Mapping[str, Any], places: Sequence[Place]) -> None:
        """All adapters have the form of the first, because they are stacked."""
        ours = form_of(places[0].told["adapter"]) if places else theirs
        if theirs != ours:
            raise BankError(
                f"{adapter}: {describe_form(theirs)}; the adapters of {self.folder} have {describe_form(ours)}. Adapt with "
                "those, or make another bank"
            )

    def _refuse_unknown(self, name: str) -> Place:
        there = ", ".join(self._disk.names()) or "none"
        raise BankError(f"{self.folder} has no place {name!r}; it has: {there}")


def require_plain_name(name: str) -> None:
    """Raise BankError for a name that is no plain folder name, or the base's."""
    if not NAME.fullmatch(name):
        raise BankError(
            f"{name!r} is no name for a place; expected up to 64 letters, digits, dots, hyphens and underscores, beginning "
            "with a letter or digit"
        )
    if name == BASE:
        raise BankError(f"{BASE!r} is what the bare base is called; give the place another name")


def describe_cosines(cosines: Sequence[float]) -> str:
    """ "fine 0.98, middle 0.97, scene 0.99"."""
    return ", ".join(f"{level} {cosine:.2f}" for level, cosine in zip(LEVELS, cosines, strict=True))
