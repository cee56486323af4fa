"""Answers to assignment 1: pack, unpack, model."""

from assignments_cases import spoil
from assignments_cases.a1_right import (
    CALLS_PACK,
    CALLS_UNPACK,
    MODEL,
    MODEL_OTHER,
    PACK,
    PACK_LOOP,
    PACK_SUM,
    UNPACK,
    UNPACK_DIV,
)

CASES = {
    "a1.pack": {
        "right": [PACK, PACK_LOOP, PACK_SUM],
        "wrong": [
            (spoil(PACK, ("first | (second << 4)", "(first << 4) | second")), "high half of the"),
            (
                spoil(
                    PACK, ("codes = torch.cat([codes, filler], dim=-1)", "codes = codes[..., :-1]")
                ),
                "is lost",
            ),
            (
                (
                    "def pack_int4(codes):\n    codes = codes.flatten()\n"
                    "    if len(codes) % 2:\n        codes = torch.cat([codes, codes[:1] * 0])\n"
                    "    return codes[::2] | codes[1::2] << 4"
                ),
                "Codes of two rows",
            ),
            (
                spoil(
                    PACK,
                    ("codes[..., ::2]", "codes[..., : codes.shape[-1] // 2]"),
                    ("codes[..., 1::2]", "codes[..., codes.shape[-1] // 2 :]"),
                ),
                "two halves are paired",
            ),
            (spoil(PACK, ("[codes, filler]", "[filler, codes]")), "at its front"),
            (spoil(PACK, ("torch.zeros(", "15 * torch.ones(")), "filled up with 15"),
            (spoil(PACK, ("(second << 4)", "second")), "not shifted"),
            (spoil(PACK, ("<< 4", "<< 3")), "shifted by 3"),
            (spoil(PACK, ("(second << 4)", "(second * 10)"), ("|", "+")), "multiplied by 10"),
            (spoil(PACK, ("first | (second << 4)", "first ^ 8 | ((second ^ 8) << 4)")), "signed"),
            (spoil(PACK, ("return first", "first = first.int()\n    return first")), "not uint8"),
        ],
        "calls": [CALLS_PACK],
    },
    "a1.unpack": {
        "right": [UNPACK, UNPACK_DIV],
        "wrong": [
            (
                spoil(UNPACK, ("0::2", "9::2"), ("1::2", "0::2"), ("9::2", "1::2")),
                "high half comes",
            ),
            (spoil(UNPACK, ("packed & 0x0F", "packed")), "still carries"),
            (spoil(UNPACK, ("& 0x0F", "% 15")), "is not a mask"),
            (spoil(UNPACK, ("& 0x0F", "& 0x07")), "three bits"),
            (spoil(UNPACK, (">> 4", ">> 3 & 15")), "shifted by 3"),
            (spoil(UNPACK, ("packed >> 4", "packed & 0xF0")), "not shifted down"),
            (
                spoil(
                    UNPACK,
                    ("0::2", ": packed.shape[-1]"),
                    ("1::2", "packed.shape[-1] :"),
                ),
                "Interleave",
            ),
            (spoil(UNPACK, ("[..., :n]", "")), "still there"),
            (spoil(UNPACK, ("[..., :n]", "[..., -n:]")), "at the front"),
            (
                spoil(
                    UNPACK, ("return codes", "codes = ((codes ^ 8).char() - 8)\n    return codes")
                ),
                "turn negative",
            ),
            (
                spoil(UNPACK, ("return codes", "codes = codes.char() - 8\n    return codes")),
                "8 is taken off",
            ),
        ],
        "calls": [CALLS_UNPACK],
    },
    "a1.model": {
        "right": [MODEL, MODEL_OTHER],
        "wrong": [
            (
                spoil(MODEL, ("scale.to(torch.float32), z", "choose_grid(weight, 4)[0], z")),
                "reader has",
            ),
            (
                spoil(MODEL, ("            out[name] = weight\n", "            pass\n")),
                "other tensors are",
            ),
            (spoil(MODEL, (' and "layers" in name', "")), "embeddings are quantized"),
            (spoil(MODEL, ('"layers" in name', '"self_attn" in name')), "One layer kind"),
            (spoil(MODEL, ('"layers" in name', '"mlp" in name')), "Only the projections"),
            (
                spoil(
                    MODEL,
                    (
                        "            scale, zero",
                        "            weight = weight.T\n            scale, zero",
                    ),
                ),
                "wrong dimension",
            ),
            (
                spoil(MODEL, ("first | (second << 4)", "second | (first << 4)")),
                "halves of each byte",
            ),
            (
                spoil(
                    MODEL,
                    (
                        "choose_grid(weight, 4)",
                        (
                            "(t.expand(len(weight), 1).clone() "
                            "for t in choose_grid(weight.reshape(1, -1), 4))"
                        ),
                    ),
                ),
                "whole matrix",
            ),
            (spoil(MODEL, ("scale = scale.to(torch.float16)", "pass")), "scales are float32"),
            (
                spoil(
                    MODEL, ("        else:\n            out", "        if True:\n            out")
                ),
                "beside the packed",
            ),
        ],
    },
}
