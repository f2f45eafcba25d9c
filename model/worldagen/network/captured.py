"""The backbone of a running network as recorded work: on a GPU, starting some thousand kernels costs more than they compute.

Every call of a decision is one of a few: so many tokens, at these places of the window, after those that are remembered. Each
is recorded once, in a rehearsal, and replayed from then on. What is recorded reads and writes the memory it was recorded with,
so all of that is kept in place: tokens are copied in, weights that are exchanged are copied over those of before, results are
copied out. A call that was not rehearsed is computed as LeanBackbone does, and so is everything while adapters are mixed.

CUDA graphs are the recorder in use; tests record with torch's own tracer, which freezes the same things.

Legend: T tokens of a call, D token width.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TypeAlias

import torch

from worldagen.network.lean import Added, LayerWeights, LeanBackbone, Places
from worldagen.network.worldagen import WorldAgen

Work: TypeAlias = Callable[[], torch.Tensor]  # on tensors that stay in place; gives the same tensor each time
Recorder: TypeAlias = Callable[[Work], Work]


class CudaGraphs:
    """Records work as CUDA graphs, which share their scratch memory because they never run at the same time."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, work: Work) -> Work:
        """Raises RuntimeError for work that cannot be recorded, such as what waits for the GPU."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            work()  # libraries make their workspaces in a first call, which must not be recorded
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # Other threads, such as those of an engine, may go on meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            result = work()

        def replay() -> torch.Tensor:
            graph.replay()
            return result

        return replay


class _Call(NamedTuple):
    """Work, and what it was recorded with: a graph knows addresses only, so whatever is there must stay as long as it does."""

    given: torch.Tensor  # (T, D)
    buffer: torch.Tensor
    places: Places
    work: Work


class CapturedBackbone(LeanBackbone):
    """Takes as much memory for weights as the backbone itself, besides the network's own."""

    def __init__(self, network: WorldAgen, record: Recorder) -> None:
        super().__init__(network)
        self._record, self._rehearsing, self._mixes = record, False, False
        self.recorded, self.missed = 0, 0  # calls that were recorded, and calls since that were not
        self._calls: dict[tuple[int, tuple[int, bytes]], _Call] = {}
        self._parameters = [part for layer in self._layers for part in layer.parts] + [self._norm]
        with torch.inference_mode(False), torch.no_grad():
            self._weights = [LayerWeights(*(weight.detach().clone() for weight in layer.weights())) for layer in self._layers]
            self._norm_copy = self._norm.detach().clone()
            self._copies = _split([*(weight for layer in self._weights for weight in layer), self._norm_copy], self._parameters)
        # What the copies hold now. The tensors are kept, so that no other can have the address of one.
        self._sources = [part.data for part in self._parameters]
        self._addresses = [part.data_ptr() for part in self._parameters]

    @contextmanager
    def rehearsal(self) -> Iterator[None]:
        """Calls that are new are recorded meanwhile, which takes a moment each."""
        self._rehearsing = True
        try:
            yield
        finally:
            self._rehearsing, self.missed = False, 0

    def mix(self, added: Sequence[Added] | None) -> None:
        super().mix(added)
        self._mixes = added is not None

    def run(self, x: torch.Tensor, buffer: torch.Tensor, places: Places) -> torch.Tensor:
        """As LeanBackbone.run."""
        if self._mixes:
            return super().run(x, buffer, places)
        key = buffer.data_ptr(), places.key
        if key not in self._calls and not self._rehearsing:
            self.missed += 1
            return super().run(x, buffer, places)
        self._follow_weights()
        if key not in self._calls:
            given = x.clone()
            work = self._record(lambda: self.compute(given, buffer, places, self._weights, self._norm_copy))
            self._calls[key] = _Call(given, buffer, places, work)
            self.recorded += 1
        call = self._calls[key]
        call.given.copy_(x)
        return call.work().clone()

    def _follow_weights(self) -> None:
        """Copy the weights that were exchanged since the last call over those that are recorded."""
        addresses = [part.data_ptr() for part in self._parameters]
        if addresses == self._addresses:
            return
        for copy, part, now, before in zip(self._copies, self._parameters, addresses, self._addresses, strict=True):
            if now != before:
                copy.copy_(part.data)
        self._sources, self._addresses = [part.data for part in self._parameters], addresses


def _split(weights: Sequence[torch.Tensor], parts: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Views of weights as long as the parts that they were joined of, in the same order."""
    lengths, views = [len(part) for part in parts], []
    for whole in weights:
        rest = whole
        while len(rest):
            length = lengths[len(views)]
            views.append(rest[:length])
            rest = rest[length:]
    return views
