"""The authors' tensor names and ours: the only place that knows theirs.

Their checkpoints hold one flat list; ours is nested by module. A name is translated by its longest known beginning.
Source: section 11 of the specification; MAE and CLIP names are those of their authors, which timm and open_clip kept.
"""

import re

# Beginning of their name (whole dotted parts) -> beginning of ours. {i} stands for a number.
NAMES = {
    "text_projector": "text_projector",
    "arm_state_encoder": "state_encoder.arm",
    "gripper_state_encoder": "state_encoder.gripper",
    "state_projector": "state_encoder.join",
    "action_pose_encoder": "action_encoder.arm",
    "action_gripper_position_encoder": "action_encoder.gripper",
    "action_projector": "action_encoder.join",
    "image_primary_projector": "latent_projectors.static",
    "image_wrist_projector": "latent_projectors.wrist",
    "cls_token_primary_projector": "cls_projectors.static",
    "cls_token_wrist_projector": "cls_projectors.wrist",
    "perceiver_resampler.latents": "resampler.latents",
    "perceiver_resampler.norm": "resampler.norm",
    "perceiver_resampler.layers.{i}.0.norm_media": "resampler.layers.{i}.norm_patches",
    "perceiver_resampler.layers.{i}.0.norm_latents": "resampler.layers.{i}.norm_latents",
    "perceiver_resampler.layers.{i}.0.to_q": "resampler.layers.{i}.query",
    "perceiver_resampler.layers.{i}.0.to_kv": "resampler.layers.{i}.key_value",
    "perceiver_resampler.layers.{i}.0.to_out": "resampler.layers.{i}.out",
    "perceiver_resampler.layers.{i}.1": "resampler.layers.{i}.feed_forward",
    "transformer_backbone_position_embedding": "position",
    "embedding_layer_norm": "input_norm",
    "transformer_backbone": "backbone.model",
    "action_pred_token": "action_tokens",
    "state_pred_token": "state_token",
    "obs_tokens": "image_tokens",
    "action_decoder": "action_head.trunk",
    "arm_action_decoder.0": "action_head.arm",
    "gripper_action_decoder.0": "action_head.gripper",
    "state_decoder": "state_head.trunk",
    "arm_state_decoder.0": "state_head.arm",
    "gripper_state_decoder.0": "state_head.gripper",
    "mask_token": "image_head.mask_token",
    "image_decoder_obs_pred_projector": "image_head.project",
    "image_decoder": "image_head.blocks",
    "image_decoder_norm": "image_head.norm",
    "image_decoder_pred": "image_head.paint",
    "vision_encoder": "vision.model",
    "clip_model": "text.tower",
}

# Parts of their files that our network does not have, and why.
UNUSED = {
    "attention_mask": "rebuilt from the configuration, after comparing",
    "image_decoder_position_embedding": "a fixed table, computed",
    "vision_encoder.decoder": "the decoder half of the masked autoencoder",
    "vision_encoder.mask_token": "the decoder half of the masked autoencoder",
    "clip_model.visual": "the picture half of CLIP",
    "clip_model.logit_scale": "joins the two halves of CLIP",
}


def our_name(theirs: str) -> str | None:
    """Their tensor name -> ours, or None for a name nobody knows."""
    for pattern in sorted(NAMES, key=len, reverse=True):
        shape = re.escape(pattern).replace(r"\{i\}", r"(\d+)")
        found = re.fullmatch(rf"{shape}((?:\..+)?)", theirs)
        if found:
            *numbers, rest = found.groups()
            return NAMES[pattern].format(i=numbers[0] if numbers else "") + rest
    return None


def unused_reason(theirs: str) -> str | None:
    """Why a tensor of theirs is left out, or None if it should be used."""
    return next((reason for start, reason in UNUSED.items() if re.match(rf"{re.escape(start)}(\.|_|$)", theirs)), None)
