"""Answers to the exercises of chapter 2: right ones written another way, and plausible mistakes."""

import math

import torch


def grid_with_torch(values, bits):
    low = torch.clamp(values.min(), max=0)
    high = torch.clamp(values.max(), min=0)
    scale = (high - low) / (2**bits - 1)
    return scale, int(torch.round(-low / scale))


def grid_by_codes(values, bits):
    low, high = min(0, values.min().item()), max(0, values.max().item())
    scale = (high - low) / 2**bits
    return scale, round(-low / scale)


def grid_by_bare_range(values, bits):
    scale = (values.max() - values.min()) / (2**bits - 1)
    return scale, torch.round(-values.min() / scale).int()


def grid_upside_down(values, bits):
    scale, zero_point = grid_with_torch(values, bits)
    return scale, -zero_point


def grid_with_a_fraction(values, bits):
    low, high = min(0, values.min().item()), max(0, values.max().item())
    return (high - low) / (2**bits - 1), -low * (2**bits - 1) / (high - low)


def codes_with_the_fake_quantizer(values, scale, zero_point, bits):
    back = torch.fake_quantize_per_tensor_affine(values, scale, zero_point, 0, 2**bits - 1)
    return (torch.round(back / scale) + zero_point).to(torch.uint8)


def codes_one_by_one(values, scale, zero_point, bits):
    flat = [
        min(max(round(v / scale) + zero_point, 0), 2**bits - 1) for v in values.flatten().tolist()
    ]
    return torch.tensor(flat, dtype=torch.uint8).view(values.shape)


def codes_not_clamped(values, scale, zero_point, bits):
    return ((values / scale).round().int() + zero_point).to(torch.uint8)


def codes_truncated(values, scale, zero_point, bits):
    return ((values / scale).int() + zero_point).clamp(0, 2**bits - 1).to(torch.uint8)


def codes_with_zero_inside(values, scale, zero_point, bits):
    return torch.clamp(torch.round(values / scale + zero_point), 0, 2**bits - 1).byte()


def codes_with_the_inverse(values, scale, zero_point, bits):
    return torch.clamp(torch.round(values * scale) + zero_point, 0, 2**bits - 1).byte()


def approximations(values, bits, clips):
    steps = 2 ** (bits - 1) - 1
    for clip in clips:
        yield clip, values.clamp(-clip, clip).mul(steps / clip).round() * clip / steps


def clip_by_sum(values, bits, clips):
    errors = {
        clip: (values - a).pow(2).sum().item() for clip, a in approximations(values, bits, clips)
    }
    return min(errors, key=errors.get)


def clip_index(values, bits, clips):
    return clips.index(clip_by_sum(values, bits, clips))


def clip_by_largest(values, bits, clips):
    errors = {
        clip: (values - a).abs().max().item() for clip, a in approximations(values, bits, clips)
    }
    return min(errors, key=errors.get)


def clip_without_clamp(values, bits, clips):
    steps = 2 ** (bits - 1) - 1
    return min(
        clips,
        key=lambda clip: torch.nn.functional.mse_loss(
            values.div(clip / steps).round() * (clip / steps), values
        ).item(),
    )


def block_with_numpy(block):
    import numpy as np

    x = block.numpy()
    step = x[np.abs(x).argmax()] / np.float32(-8)
    codes = np.clip(np.floor(x * (1 / step) + np.float32(8.5)), 0, 15)
    return torch.tensor(step).half(), torch.from_numpy(codes.astype(np.uint8))


def block_without_sign(block):
    step = block.abs().max() / -8
    return step.half(), (block / step + 8.5).trunc().clamp(0, 15).byte()


def block_by_plus_eight(block):
    step = block[block.abs().argmax()] / 8
    return step.half(), (block / step + 8.5).trunc().clamp(0, 15).byte()


def block_with_stored_step(block):
    step = (block[block.abs().argmax()] / -8).half()
    return step, (block / step.float() + 8.5).trunc().clamp(0, 15).byte()


def block_not_clamped(block):
    step = block[block.abs().argmax()] / -8
    return step.half(), (block / step + 8.5).byte()


CASES = {
    "ch02.grid": {
        "right": [grid_with_torch],
        "wrong": [
            (grid_by_codes, "divided by the number of codes"),
            (grid_by_bare_range, "does not reach 0"),
            (grid_upside_down, "wrong sign"),
            (grid_with_a_fraction, "not rounded"),
        ],
    },
    "ch02.codes": {
        "right": [codes_with_the_fake_quantizer, codes_one_by_one],
        "wrong": [
            (codes_not_clamped, "not clamped"),
            (codes_truncated, "truncated towards 0"),
            (codes_with_zero_inside, "added before rounding"),
            (codes_with_the_inverse, "multiplied by the scale"),
        ],
    },
    "ch02.sqnr": {
        "right": [10 * math.log10(12 * 6.4**2), 6.02 * 6 + 4.77 - 20 * math.log10(5)],
        "wrong": [
            (36.1, "fill the range evenly"),
            (16.0, "not `step**2`"),
            (32.8, "The range is 10"),
            (13.4, "ratio of amplitudes"),
        ],
    },
    "ch02.clip": {
        "right": [clip_by_sum],
        "wrong": [
            (clip_index, "place of the best clip"),
            (clip_by_largest, "minimises the largest error"),
            (clip_without_clamp, "Clipping costs nothing"),
        ],
    },
    "ch02.q4_0": {
        "right": [block_with_numpy],
        "wrong": [
            (block_without_sign, "without its sign"),
            (block_by_plus_eight, "divided by 8, not by -8"),
            (block_with_stored_step, "come from the float16 step"),
            (block_not_clamped, "gets code 16"),
        ],
    },
}
