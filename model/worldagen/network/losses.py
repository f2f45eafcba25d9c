"""Predictions and targets in, named losses out. Every unit and every row weighs the same.

Legend: B windows, K units, n frames and m action rows per unit, s prediction steps per row, S side of a target picture.
"""

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from worldagen.network.heads import cut_patches
from worldagen.network.worldagen import Predictions


@dataclass(frozen=True)
class LossWeights:
    """The published weighting. arm_beta: where SmoothL1 turns from a square to a line."""

    arm: float = 1.0
    gripper: float = 0.01
    image: float = 0.1
    arm_state: float = 0.01
    gripper_state: float = 0.01
    arm_beta: float = 1.0


@dataclass(frozen=True, eq=False)
class Targets:
    """What a batch of windows should have predicted, in the checkpoint's own numbers.

    actions: (B, K m s, 7). static, wrist: (B, K n, 3, S, S) normalised. states: (B, K n, 7), for state prediction only.
    """

    actions: torch.Tensor
    static: torch.Tensor | None = None
    wrist: torch.Tensor | None = None
    states: torch.Tensor | None = None


@dataclass(frozen=True, eq=False)
class Losses:
    """Scalars. `total` is weighted, the others are not; one that is not computed is None."""

    total: torch.Tensor
    arm: torch.Tensor
    gripper: torch.Tensor
    image: torch.Tensor | None
    arm_state: torch.Tensor | None
    gripper_state: torch.Tensor | None


def compute_losses(predictions: Predictions, targets: Targets, weights: LossWeights | None = None) -> Losses:
    """SmoothL1 on arms, cross-entropy on grippers, mean square error on normalised pixels, the mean of both views."""
    weights = weights or LossWeights()
    arm, gripper = _arm_and_gripper(predictions.arm, predictions.gripper_logit, targets.actions, weights.arm_beta)
    total = weights.arm * arm + weights.gripper * gripper
    image = arm_state = gripper_state = None
    if predictions.images is not None and targets.static is not None and targets.wrist is not None:
        image = image_loss(predictions.images, targets.static, targets.wrist)
        total = total + weights.image * image
    if predictions.arm_state is not None and predictions.gripper_state_logit is not None and targets.states is not None:
        arm_state, gripper_state = _arm_and_gripper(
            predictions.arm_state, predictions.gripper_state_logit, targets.states, weights.arm_beta
        )
        total = total + weights.arm_state * arm_state + weights.gripper_state * gripper_state
    return Losses(total, arm, gripper, image, arm_state, gripper_state)


def image_loss(images: torch.Tensor, static: torch.Tensor, wrist: torch.Tensor) -> torch.Tensor:
    """Painted patches (B, K, n, 2, P, C) against pictures (B, K n, 3, S, S) of each view -> scalar."""
    patch = round((images.shape[-1] / 3) ** 0.5)
    painted = images.flatten(1, 2)  # (B, K n, 2, P, C)
    errors = [F.mse_loss(painted[:, :, place], cut_patches(view, patch)) for place, view in enumerate((static, wrist))]
    return (errors[0] + errors[1]) / 2


def _arm_and_gripper(
    arm: torch.Tensor, gripper_logit: torch.Tensor, target: torch.Tensor, beta: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, K, r, 6) and (B, K, r) against (B, K r, 7); a gripper number of 1 or more is class 1."""
    wanted = target.unflatten(1, arm.shape[1:3])
    gripper = (wanted[..., 6] >= 1).to(gripper_logit.dtype)
    return F.smooth_l1_loss(arm, wanted[..., :6], beta=beta), F.binary_cross_entropy_with_logits(gripper_logit, gripper)
