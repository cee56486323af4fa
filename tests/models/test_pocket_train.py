"""Training the pocket models: repeatable, its loss by hand, and folders that load."""

import hashlib

import pytest
import torch
from torch.nn import functional as F

from qlearn import load_model, load_tokenizer, perplexity, quantize_model
from qlearn.models.packaged import POCKET, POCKET_FOLDER
from qlearn.models.pocket.batches import ROW, batches, encode, pocket_tokens
from qlearn.models.pocket.tasks import ALPHABET
from qlearn.models.pocket.train import RECIPES, Recipe, build, fit, loss_of, main, optimizers, train
from qlearn.numerics.scheme import QuantScheme

SMALL = Recipe(32, 2, 64, 3, 6e-3)


def test_the_recipes_are_those_that_are_packaged():
    assert set(POCKET) <= set(RECIPES)
    assert sorted(path.name for path in POCKET_FOLDER.iterdir()) == sorted(POCKET)
    for name in POCKET:
        recipe = RECIPES[name]
        config = load_model(name).config
        found = config.hidden_size, config.num_hidden_layers, config.intermediate_size
        assert found == (recipe.hidden, recipe.blocks, recipe.mlp)
        assert (config.vocab_size, config.max_position_embeddings) == (len(ALPHABET) + 1, ROW)
        for width in (recipe.hidden, recipe.mlp):
            assert width % 32 == 0  # groups of 32 divide every layer
    size = sum(path.stat().st_size for path in POCKET_FOLDER.rglob("*.safetensors"))
    assert size <= 16e6


@pytest.mark.usefixtures("one_thread")
def test_a_run_again_gives_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setitem(RECIPES, "pocket-100k", SMALL)
    digests = set()
    for run in ("one", "two"):
        main(["pocket-100k", "--folder", str(tmp_path / run)])
        torch.rand(3)  # chance from elsewhere changes nothing
        file = tmp_path / run / "pocket-100k" / "model.safetensors"
        digests.add(hashlib.sha256(file.read_bytes()).hexdigest())
    assert len(digests) == 1
    other = train("pocket-100k", tmp_path / "longer", steps=4) / "model.safetensors"
    assert hashlib.sha256(other.read_bytes()).hexdigest() not in digests


@pytest.mark.usefixtures("one_thread")
def test_training_learns_and_other_seeds_differ():
    losses = []
    model = build(SMALL)
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.parameters(), build(SMALL).parameters(), strict=True)
    )
    fit(model, 40, 6e-3, warmup=5, after=lambda _, loss: losses.append(loss))
    assert len(losses) == 40
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert not model.training
    other = build(SMALL, seed=1)
    assert not torch.equal(other.model.embed_tokens.weight, build(SMALL).model.embed_tokens.weight)


def test_loss_by_hand():
    """PocketQuestion after question by itself, without a mask, weights and all."""
    model = build(SMALL).eval()
    batch = next(batches(4, 7))
    total = weight = 0.0
    for row in range(4):
        starts = (batch.positions[row] == 0).nonzero().flatten().tolist()
        for start, stop in zip(starts, [*starts[1:], ROW - 1], strict=True):
            tokens = batch.tokens[row, start : stop + 1]
            with torch.no_grad():
                logits = model(tokens[None]).logits[0, :-1]
            surprise = F.cross_entropy(logits, tokens[1:], reduction="none")
            own = batch.weights[row, start + 1 : stop + 1]
            total += float((surprise * own).sum())
            weight += float(own.sum())
    assert loss_of(model, batch).item() == pytest.approx(total / weight, rel=1e-4)


def test_each_parameter_has_one_optimizer():
    model = build(SMALL)
    muon, adam = optimizers(model, 1e-3)
    held = [id(p) for o in (muon, adam) for g in o.param_groups for p in g["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters())
    assert all(p.shape[0] > 1 and p.ndim == 2 for g in muon.param_groups for p in g["params"])
    assert len(muon.param_groups[0]["params"]) == 2 * 7


def test_the_tokenizer_is_the_alphabet():
    tokenizer = load_tokenizer("pocket-100k")
    text = "\n12+34=046\nthe old cat by the kings was red.\n  a>b"
    assert tokenizer(text)["input_ids"] == encode(text)
    assert tokenizer.decode(encode(text)) == text
    assert tokenizer("é-Z")["input_ids"] == [len(ALPHABET)] * 3
    assert len(tokenizer) == len(ALPHABET) + 1
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (0, 0)


def test_greedy_generation_gives_the_answer():
    model, tokenizer = load_model("pocket-100k"), load_tokenizer("pocket-100k")
    ids = torch.tensor([encode("\nqzta<")])
    out = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False
    )
    assert tokenizer.decode(out[0]) == "\nqzta<atzq\n"


def test_all_of_qlearn_works_on_them(tmp_path):
    from qlearn import load_quantized, save_quantized

    model = load_model("pocket-100k")
    tokens = pocket_tokens(32, "evaluation")
    before = perplexity(model, tokens)
    assert 1 < before < 20
    report = quantize_model(
        model, "gptq", QuantScheme(4, True, 32), pocket_tokens(32), progress=False
    )
    assert report.bits_per_weight == pytest.approx(4.5)
    after = perplexity(model, tokens)
    assert before < after < 1.1 * before
    save_quantized(model, tmp_path / "saved", format="compressed-tensors")
    assert perplexity(load_quantized(tmp_path / "saved"), tokens) == pytest.approx(after, rel=1e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: train("pocket-2m"), "name='pocket-2m' is unknown; choose one of pocket-100k"),
        (lambda: fit(build(SMALL), 0, 1e-3), "steps=0 and learning_rate=0.001 train nothing"),
        (lambda: fit(build(SMALL), 1, 0.0), "learning_rate=0.0 train nothing"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
