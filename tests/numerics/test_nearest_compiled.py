"""The compiled form gives the codes of the plain one; without a compiler the plain one runs."""

import pytest
import torch
from bitwise import CODEBOOKS, assert_same, seeded
from needs import refuse, require

from qlearn.numerics import nearest, nearest_compiled
from qlearn.numerics.codebook import NF4, Codebook, quantize_blockwise


@pytest.fixture
def short_chunks(monkeypatch):
    """Chunks that a small tensor fills, so that most of it goes through the compiled form."""
    monkeypatch.setattr(nearest, "_CHUNK", 1 << 12)


@pytest.mark.slow
@pytest.mark.usefixtures("short_chunks")
@pytest.mark.parametrize("codebook", CODEBOOKS, ids=str)
def test_codes_equal_the_plain_ones_and_bitsandbytes(codebook):
    require("a C++ compiler")
    if nearest_compiled.compiled_ranks(codebook, 64, 64) is None:
        refuse("torch.compile does not work here: it needs a C++ compiler and Python's headers")
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        assert_same(seeded(3 * 4096 + 65, dtype), codebook, compiled=True)
    for largest in (0.0, 1e-45, 1e-40, 9e-39, 1.2e-38, 3.4e38):
        assert_same(seeded(2 * 4096, largest=largest), codebook, compiled=True)
    edges = codebook.boundaries
    near = [torch.nextafter(edges, torch.full_like(edges, to)) for to in (-2.0, 2.0)]
    block = torch.cat([edges, *near, codebook.levels, torch.tensor([1.0, -1.0, 0.0])])
    weight = block * torch.linspace(0.001, 3, 256)[:, None]
    assert_same(weight, codebook, compiled=True, double_quant=True)
    plain = quantize_blockwise(weight, codebook)
    assert torch.equal(quantize_blockwise(weight, codebook, compiled=True).codes, plain.codes)
    with pytest.raises(ValueError, match="NaN or infinite"):
        quantize_blockwise(torch.full((4096,), torch.nan), codebook, compiled=True)


@pytest.mark.usefixtures("short_chunks")
def test_without_a_compiler_there_is_a_warning_and_the_plain_form(monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("No working C++ compiler found\nand more")

    own = Codebook("own", NF4.levels)  # not compiled before
    monkeypatch.setattr(torch, "compile", fails)
    weight = seeded(2 * 4096)
    with pytest.warns(RuntimeWarning, match=r"does not work here \(No working C\+\+ compiler"):
        found = quantize_blockwise(weight, own, compiled=True)
    assert torch.equal(found.codes, quantize_blockwise(weight, NF4).codes)


def test_many_levels_are_not_compiled():
    many = Codebook("many", torch.linspace(-1, 1, 17))
    assert nearest_compiled.compiled_ranks(many, 64, 64) is None
