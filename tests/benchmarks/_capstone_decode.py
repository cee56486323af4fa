"""The decoder of our capstone entry: nothing but the file; its text counts towards the bytes."""

import lzma
import zlib

import torch

WIDE, HIDDEN, FINE, COARSE = 576, 1536, 4, 8  # steps in quarters of an octave, spreads in eighths


def table():
    """The parameters' shapes by name."""
    found = {"model.embed_tokens.weight": (49152, WIDE), "model.norm.weight": (WIDE,)}
    for k in range(30):
        own = f"model.layers.{k}."
        found |= {f"{own}{n}_layernorm.weight": (WIDE,) for n in ("input", "post_attention")}
        for n, rows in (("q", WIDE), ("k", 192), ("v", 192), ("o", WIDE)):
            found[f"{own}self_attn.{n}_proj.weight"] = (rows, WIDE)
        found |= {f"{own}mlp.{n}_proj.weight": (HIDDEN, WIDE) for n in ("gate", "up")}
        found[f"{own}mlp.down_proj.weight"] = (WIDE, HIDDEN)
    return dict(sorted(found.items()))


def places(spread, rows):
    """In which order a matrix's codes stand: those of like spread together."""
    context = (spread[:rows, None].int() + spread[None, rows:].int() + 2) // 4
    return context.flatten().to(torch.int16).argsort(stable=True)


def decode(data):
    """Weights by name, from the file's bytes."""
    shapes, at = table(), 0

    def take(count):
        nonlocal at
        at += count
        return data[at - count : at].clone()

    def part():
        return take(int(take(4).view(torch.int32)))

    def unpacked(reader):
        return torch.frombuffer(bytearray(reader(part().numpy().tobytes())), dtype=torch.int8)

    side, weights = unpacked(lzma.decompress), {}
    for name, shape in shapes.items():
        if len(shape) == 1:
            weights[name] = take(2 * shape[0]).view(torch.float16)
            continue
        rows, both = shape[0], sum(shape)
        step, spread, side = side[:both].float(), side[both : 2 * both], side[2 * both :]
        order = places(spread, rows)
        codes = torch.empty(shape[0] * shape[1], dtype=torch.int16)
        codes[order] = unpacked(lambda b: zlib.decompress(b, -15)).short()
        far = part().view(torch.int32)
        codes[far[0::2].long()] = far[1::2].short()
        grid = torch.exp2((step[:rows, None] + step[None, rows:]) / FINE)
        weights[name] = (codes.view(shape) * grid).bfloat16()
    return weights
