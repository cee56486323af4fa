"""What a model's *name* claims: method, bits, groups. A claim, which the files confirm or not."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Word -> method. A word stands between hyphens, dots, underscores, slashes or at the ends.
METHODS = {
    "gptq": "gptq",
    "gptqmodel": "gptq",
    "awq": "awq",
    "autoround": "auto-round",
    "bnb": "bitsandbytes",
    "bitsandbytes": "bitsandbytes",
    "nf4": "bitsandbytes",
    "hqq": "hqq",
    "quanto": "quanto",
    "torchao": "torchao",
    "gguf": "gguf",
    "exl2": "exl2",
    "mlx": "mlx",
    "eetq": "eetq",
    "aqlm": "aqlm",
    "mxfp4": "mxfp4",
    "nvfp4": "nvfp4",
    "bitnet": "bitnet",
    "openvino": "openvino",
    "ov": "openvino",
    "onnx": "onnx",
}
_WORD = r"(?<![a-z0-9])(?:{})(?![a-z0-9])"
_FLOATS = {"fp8": 8.0, "nf4": 4.0, "mxfp4": 4.0, "nvfp4": 4.0, "fp4": 4.0}


@dataclass(frozen=True)
class NameClaim:
    """What a name says.

    Attributes:
        name: the name.
        method: quantizer or format; ``None`` where none is named.
        bits: of a weight, each number that is named, without repeats.
        activation_bits: of the inputs, from a name such as ``w8a8``.
        group_size: weights that share a scale.
        file_type: llama.cpp's type, such as ``"Q4_K_M"``.
    """

    name: str
    method: str | None = None
    bits: tuple[float, ...] = ()
    activation_bits: int | None = None
    group_size: int | None = None
    file_type: str | None = None

    @property
    def sentence(self) -> str:
        """What the name claims, in one sentence."""
        parts = [self.method or ""]
        parts.append(" or ".join(f"{bits:g} bits" for bits in self.bits))
        parts.append(f"inputs in {self.activation_bits} bits" if self.activation_bits else "")
        parts.append(f"groups of {self.group_size}" if self.group_size else "")
        parts.append(f"llama.cpp's type {self.file_type}" if self.file_type else "")
        said = ", ".join(part for part in parts if part)
        return f"The name claims: {said}." if said else "The name claims nothing."


def read_name(name: str) -> NameClaim:
    """Read what a model's or a file's name claims.

    Raises:
        ValueError: for something that is no name.

    >>> read_name("Qwen2.5-7B-Instruct-GPTQ-Int4").sentence
    'The name claims: gptq, 4 bits.'
    >>> read_name("Llama-3.1-8B-Instruct.Q4_K_M.gguf").sentence
    "The name claims: gguf, 4 bits, llama.cpp's type Q4_K_M."
    """
    if not isinstance(name, str) or not name.strip():
        raise ValueError(
            f"name={name!r:.60} is empty or no text; pass a name such as 'x-GPTQ-Int4'"
        )
    plain = name.lower().replace("auto-round", "autoround")
    bits: list[float] = []
    methods = [METHODS[word] for word in METHODS if re.search(_WORD.format(word), plain)]
    kind = re.search(
        r"(?<![a-z0-9])(i?q\d_(?:k|\d|xx?s|nl|[sm])(?:_(?:xl|[sml]))?|tq\d_0)(?![a-z0-9])", plain
    )
    if kind:
        bits.append(float(re.sub(r"\D*(\d).*", r"\1", kind[1])))
        methods.insert(0, "gguf")
    inputs = re.search(_WORD.format(r"w(\d+)a(\d+)"), plain)
    if inputs:
        bits.append(float(inputs[1]))
    wanted = (
        r"(?:u?int|i)(\d+)|(\d+(?:\.\d+)?)[-_]?bits?|b(1\.58)|q(\d)f(?:16|32)|(\d+(?:\.\d+)?)bpw"
    )
    bits += [
        float(next(part for part in found.groups() if part))
        for found in re.finditer(_WORD.format(wanted), plain)
    ]
    bits += [value for word, value in _FLOATS.items() if re.search(_WORD.format(word), plain)]
    size = re.search(_WORD.format(r"(?:g|gs|group)[-_]?(\d+)|(\d+)g"), plain)
    return NameClaim(
        name=name,
        method=methods[0] if methods else None,
        bits=tuple(dict.fromkeys(bits)),
        activation_bits=int(inputs[2]) if inputs and int(inputs[2]) < 16 else None,
        group_size=int(next(part for part in size.groups() if part)) if size else None,
        file_type=kind[1].upper() if kind else None,
    )
