"""A second way to embed a place, closer to the paper: messages passed among the patches of the static view.

TMoW's router is a network over a graph of objects in which few layers exchange messages (0, 4, 8, 12) and the others work on
each node alone, so that neighbourhoods grow slowly: early layers tell of objects, late ones of the scene. Here the nodes are
the patch tokens of the frozen vision encoder, neighbours in the picture are joined, and an edge weighs as much as its ends are
alike. Nothing is learned, and no instruction takes part: an adapter must not be picked by what the robot is told.

Legend: B frames, P patches of a G x G grid, V token width.
"""

import numpy as np
import torch
from torch.nn import functional as F

from worldagen.errors import BankError
from worldagen.mixture.embedding import Embedding
from worldagen.network.worldagen import WorldAgen

DEFINITION = "static-graph-1"
DEPTH = 13
MESSAGES = (0, 4, 8, 12)  # layers that pass messages
READ_AFTER = (0, 8, 12)  # layers after which the nodes are pooled: fine, middle, scene


class GraphEmbedder:
    """Embeds by messages among patches. Its vectors are not those of embedding.embed: a bank belongs to one of both."""

    definition = DEFINITION

    def __init__(self, network: WorldAgen) -> None:
        self._network = network
        self._neighbours: dict[int, torch.Tensor] = {}

    @torch.no_grad()
    def embed(self, static: torch.Tensor) -> list[Embedding]:
        """Normalised static pictures (B, 3, H, H) -> an embedding each, of V numbers at every level."""
        patches, _ = self._network.vision(static.to(next(self._network.vision.parameters()).dtype))
        nodes = patches.float()
        reachable = self._grid(nodes.shape[1]).to(nodes.device)
        read = []
        for layer in range(DEPTH):
            if layer in MESSAGES:
                nodes = pass_messages(nodes, reachable)
            else:
                nodes = F.gelu(F.layer_norm(nodes, nodes.shape[-1:]))
            if layer in READ_AFTER:
                read.append(nodes.mean(dim=1).cpu().numpy().astype(np.float64))
        return [Embedding(tuple(level[frame] for level in read)) for frame in range(len(static))]

    def _grid(self, patches: int) -> torch.Tensor:
        if patches not in self._neighbours:
            self._neighbours[patches] = grid_neighbours(patches)
        return self._neighbours[patches]


def pass_messages(nodes: torch.Tensor, reachable: torch.Tensor) -> torch.Tensor:
    """One layer: each node (B, P, V) becomes the mean of its neighbours and itself, weighed by how alike they are.

    `Etilde = (A + I) * R` of the paper, R the cosine between two nodes where it is positive; rows are scaled to one.
    """
    directions = F.normalize(nodes - nodes.mean(dim=1, keepdim=True), dim=-1)
    alike = (directions @ directions.transpose(1, 2)).clamp_min(0.0) * reachable  # (B, P, P)
    alike = torch.maximum(alike, torch.eye(nodes.shape[1], device=nodes.device))  # a node always hears itself
    return alike / alike.sum(dim=-1, keepdim=True) @ nodes


def grid_neighbours(patches: int) -> torch.Tensor:
    """(P, P): 1 where two places of a square grid touch, corners counted, or are the same. Raises BankError for no square."""
    side = round(patches**0.5)
    if side * side != patches:
        raise BankError(f"{patches} patches are no square grid; the graph embedder is for square pictures")
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    places = torch.stack([rows.flatten(), columns.flatten()], dim=1)
    return ((places[:, None] - places[None]).abs().amax(dim=-1) <= 1).float()
