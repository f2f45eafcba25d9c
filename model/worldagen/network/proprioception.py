"""The two linear-only modules that turn 7 numbers (a state or an action) into one token, and their one-hot rule."""

import torch
from torch import nn
from torch.nn import functional as F


class PoseAndGripperEncoder(nn.Module):
    """(..., 7) pose or motion (6) and gripper (1) -> (..., D). States and actions have one each, of the same shape."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.arm = nn.Linear(6, hidden)
        self.gripper = nn.Linear(2, hidden)
        self.join = nn.Linear(2 * hidden, hidden)

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        gripper = gripper_classes(numbers[..., 6], numbers.dtype)
        return self.join(torch.cat([self.arm(numbers[..., :6]), self.gripper(gripper)], dim=-1))


def gripper_classes(gripper: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """(...) -> (..., 2) one-hot: class 1 at 1 and above, class 0 for anything below, so 0/1 and -1/+1 read the same."""
    return F.one_hot((gripper >= 1).long(), num_classes=2).to(dtype)
