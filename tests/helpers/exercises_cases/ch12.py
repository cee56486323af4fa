"""Answers to chapter 12's exercises, written apart from the exercises: right ones and wrong."""


def group_bits(config):
    size = config["group_size"]
    stored = size * config["bits"] + 16 + config["bits"]
    return stored / size


def bytes_by_blocks(tensors, blocks):
    total = 0
    for weights, kind in tensors:
        in_block, size = blocks[kind]
        total += (weights // in_block) * size
    return total


def moved(arguments, quantized):
    found = dict(arguments)
    config = {}
    for key in list(found):
        if key.startswith(("load_in_", "bnb_")):
            config[key] = found.pop(key)
    if config and not quantized:
        found["quantization_config"] = config
    return found


def head(config):
    match config["quant_method"]:
        case "gptq":
            return config.get("lm_head", False)
        case "compressed-tensors":
            return "lm_head" not in config.get("ignore", ())
    listed = config.get("llm_int8_skip_modules")
    return False if listed is None else "lm_head" not in listed


def roof(weights, bits, bandwidth, operations, batch):
    by_bytes = batch * bandwidth / (weights * bits / 8)
    by_arithmetic = operations / (2 * weights)
    return min(by_bytes, by_arithmetic)


CASES = {
    "ch12.bits": {
        "right": [group_bits],
        "wrong": [
            (lambda c: c["bits"] + 16 / c["group_size"], "zero-points are missing"),
            (
                lambda c: c["bits"] + (16 + c["bits"] * (not c["sym"])) / c["group_size"],
                "asymmetric grids alone",
            ),
            (lambda c: c["bits"] + (32 + c["bits"]) / c["group_size"], "float32"),
            (lambda c: c["bits"], "codes alone"),
        ],
    },
    "ch12.bytes": {
        "right": [bytes_by_blocks],
        "wrong": [
            (lambda ts, bs: sum(w * int(k.split("_")[0][1:]) for w, k in ts) / 8, "codes alone"),
            (lambda ts, bs: 8 * bytes_by_blocks(ts, bs), "These are bits"),
            (lambda ts, bs: sum(w * bs[k][1] for w, k in ts), "weights / 32 blocks"),
            (
                lambda ts, bs: bytes_by_blocks([(sum(w for w, _ in ts), max(ts)[1])], bs),
                "largest tensor",
            ),
        ],
    },
    "ch12.today": {
        "right": [moved],
        "wrong": [
            (lambda arguments, quantized: arguments, "TypeError"),
            (lambda arguments, quantized: moved(arguments, False), "ValueError"),
            (lambda old, quantized: {**old, **moved(old, quantized)}, "in the old one"),
            (
                lambda arguments, quantized: {
                    k: v
                    for k, v in moved(arguments, quantized).items()
                    if k == "quantization_config"
                },
                "device_map",
            ),
        ],
    },
    "ch12.head": {
        "right": [head],
        "wrong": [
            (lambda c: not head(c), "opposite"),
            (lambda c: c["quant_method"] != "bitsandbytes" and head(c), "takes the default's"),
            (
                lambda c: (
                    "lm_head" not in (c.get("llm_int8_skip_modules") or ())
                    if c["quant_method"] == "bitsandbytes"
                    else head(c)
                ),
                "transformers' default",
            ),
            (
                lambda c: c.get("lm_head", True) if c["quant_method"] == "gptq" else head(c),
                "GPTQ keeps",
            ),
        ],
    },
    "ch12.roofline": {
        "right": [roof],
        "wrong": [
            (lambda w, b, r, o, n: min(n * r / (w * b / 8), o / w), "multiply and add"),
            (lambda w, b, r, o, n: max(n * r / (w * b / 8), o / (2 * w)), "shorter of the two"),
            (lambda w, b, r, o, n: roof(w, 8 * b, r, o, n), "divide by 8"),
            (lambda w, b, r, o, n: roof(w, b, r, o, n) / n, "one sequence's"),
            (lambda w, b, r, o, n: n / (w * b / 8 / r + 2 * w * n / o), "not their sum"),
        ],
    },
}
