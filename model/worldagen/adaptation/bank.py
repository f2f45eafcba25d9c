"""The adapters of a running network: loaded beside the base, one of them active, swapped by exchanging tensors.

Merging is done when an adapter is loaded; a swap exchanges references, so it takes no time to speak of, and going back gives
the very tensors of the base: the same bits.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from worldagen.adaptation.adapter import (
    MANIFEST,
    REJECTED,
    Adapter,
    Weights,
    digest_of,
    load_adapter,
    note_activation,
    weights_of,
)
from worldagen.errors import AdaptationError
from worldagen.network.worldagen import Stored, WorldAgen

INPUT_FREE = ("backbone.", "image_head.", "image_tokens", "action_head.", "action_tokens", "state_head.", "state_token")
LOADED_AT_MOST = 8
MIXTURE = "mixture"  # what is active while adapters are mixed; no adapter has this id, for ids begin with a date


class AdapterBank:
    """Belongs to the thread that owns the network."""

    def __init__(self, network: WorldAgen) -> None:
        self._network = network
        self._parameters = dict(network.named_parameters())
        self._base: dict[str, torch.Tensor] = {}  # the base's tensors whose places are taken
        # Of the base as it was stored; adapters are checked against that.
        self.digest, self.stored = network.stored or Stored(digest_of(weights_of(network)), weights_of(network))
        self._loaded: dict[str, Adapter] = {}
        self._mixed: Weights = {}  # what a mixture puts in the place of the base's
        self.active = ""  # id, "" for the base, MIXTURE

    @property
    def loaded(self) -> tuple[str, ...]:
        """Ids, oldest first."""
        return tuple(self._loaded)

    @property
    def base(self) -> dict[str, torch.Tensor]:
        """The base's weights by name, whatever is active; not copied."""
        return {**weights_of(self._network), **self._base}

    def load(self, folder: Path) -> Adapter:
        """Read, check and merge an adapter; it can be activated from now on. Moves no weight. Raises AdaptationError."""
        return load_adapter(folder, self._network.config, self.base, self.digest, self.stored)

    def keep(self, adapter: Adapter) -> None:
        """Add a loaded adapter; the oldest that is not active makes room beyond LOADED_AT_MOST."""
        self._loaded.pop(adapter.id, None)
        self._loaded[adapter.id] = adapter
        spare = [name for name in self._loaded if name not in (self.active, adapter.id)]
        if len(self._loaded) > LOADED_AT_MOST and spare:
            del self._loaded[spare[0]]

    def activate(self, name: str, override: str = "") -> bool:
        """Put an adapter's weights in place, "" for the base's. Returns whether what was kept of the past is still valid.

        It is not where an adapter changes what pictures, states, actions or words become, or takes such a change back. Raises
        AdaptationError, changing nothing, for an unknown id, or for a rejected adapter without an override: words that say why,
        which are recorded in its folder.
        """
        self._require(name)
        if name and self._loaded[name].verdict == REJECTED:
            if not override:
                raise AdaptationError(
                    f"adapter {name} was rejected by its gate ({self._loaded[name].folder / MANIFEST}); it is made active only "
                    "where that is allowed explicitly"
                )
            note_activation(self._loaded[name].folder, self._loaded[name].verdict, override)
        self._mixed = {}
        valid = self._put(self._loaded[name].weights if name else {})
        self.active = name
        return valid

    def mix(self, merged: Weights) -> bool:
        """A mixture in the place of what is active; returns as `activate`. merged: weights in the places of the base's.

        It is empty where the mixture is computed beside the base's weights instead.
        """
        valid = self._put(merged)
        self._mixed, self.active = merged, MIXTURE
        return valid

    @contextmanager
    def compared(self, name: str) -> Iterator[None]:
        """An adapter's weights in place for a moment, for a computation nobody acts on, so whatever its gate said.

        MIXTURE is what is mixed now. Raises AdaptationError for what is not loaded.
        """
        wanted = self._weights_of(name)
        try:
            self._put(wanted)
            yield
        finally:
            self._put(self._weights_of(self.active))

    def changes_inputs(self, name: str) -> bool:
        """Whether an adapter changes what pictures, states, actions or words become before the backbone."""
        return not all(place.startswith(INPUT_FREE) for place in self._weights_of(name))

    def _weights_of(self, name: str) -> Weights:
        if name == MIXTURE == self.active:
            return self._mixed
        self._require(name)
        return self._loaded[name].weights if name else {}

    def _require(self, name: str) -> None:
        if name and name not in self._loaded:
            raise AdaptationError(f"no adapter {name!r} is loaded; loaded are: {', '.join(self._loaded) or 'none'}")

    def _put(self, wanted: Weights) -> bool:
        touched = {*wanted, *self._base}
        for place in touched:
            parameter = self._parameters[place]
            own = self._base.get(place, parameter.data)
            if place in wanted:
                self._base[place] = own
                parameter.data = wanted[place]
            else:
                parameter.data = own
                del self._base[place]
        return all(place.startswith(INPUT_FREE) for place in touched)
