"""Fixed sine and cosine position tables over a grid, in the arrangement of the published MAE encoder."""

import torch


def grid_positions(rows: int, columns: int, width: int) -> torch.Tensor:
    """(rows * columns, width) in raster order: the first half of a row encodes its column, the second half its row.

    Each half holds sines, then cosines, of coordinate * 10000^(-i / (width / 4)). width must be a multiple of 4.
    """
    frequencies = 10_000.0 ** (-torch.arange(width // 4, dtype=torch.float64) / (width / 4))
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    halves = [coordinate.flatten()[:, None] * frequencies for coordinate in (column, row)]  # (P, width / 4) each
    return torch.cat([wave for half in halves for wave in (half.sin(), half.cos())], dim=1).float()
