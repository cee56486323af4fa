"""The task, its score against real greedy decoding, and training over NF4 on the CPU."""

import pytest
import torch
from tiny_models import llama
from torch.nn import functional as F
from transformers import AutoModelForCausalLM

from qlearn.course.chapters.ch09.orders import (
    CITIES,
    COLOURS,
    IGNORED,
    ITEMS,
    NEW_CITIES,
    NEW_ITEMS,
    NUMBERS,
    Encoded,
    answer_logits,
    draw_new_words,
    draw_orders,
    encode,
    exact_match,
    exact_match_and_loss,
)
from qlearn.course.chapters.ch09.training import keep_trainable, load_nf4, train


def read_back(order):
    """The record, worked out again from the sentence by looking for its words."""
    words = order.prompt.replace(",", " ").replace(".", " ").replace("?", " ").split()
    numbers = [None, None, *NUMBERS]
    number = next(numbers.index(word) for word in words if word in NUMBERS)
    colour = next(word for word in words if word in COLOURS)
    item = next(word[:-1] for word in words if word[:-1] in [*ITEMS, *NEW_ITEMS])
    city = next(word for word in words if word in [*CITIES, *NEW_CITIES])
    day = next(word for word in words if word.endswith("day"))
    return f" {number}|{item}|{colour}|{city}|{day[:3]}"


def test_records_say_what_the_sentences_say():
    for order in [*draw_orders(300, 20)[0], *draw_new_words(100)]:
        assert order.record == read_back(order), order


def test_orders_are_seeded_different_and_held_out():
    orders, held_out = draw_orders(400, 100, seed=3)
    again, _ = draw_orders(400, 100, seed=3)
    assert orders == again
    assert orders != draw_orders(400, 100, seed=4)[0]
    assert len({o.prompt for o in [*orders, *held_out]}) == 500
    new = draw_new_words(50)
    assert all(any(w in o.prompt for w in NEW_ITEMS) for o in new)
    assert not any(w in o.prompt for o in orders for w in [*NEW_ITEMS, *NEW_CITIES])


class Bytes:
    """A tokenizer of one token a byte, for tests without a model."""

    eos_token_id = 0

    def __call__(self, text, add_special_tokens):
        return {"input_ids": list(text.encode())}


def test_targets_are_the_record_one_position_ahead():
    orders, _ = draw_orders(6, 1)
    data = encode(Bytes(), orders)
    assert len(data) == 6
    for row, order in enumerate(orders):
        text = [*(order.prompt + order.record).encode(), 0]
        targets = data.targets[row]
        where = (targets != IGNORED).nonzero()[:, 0].tolist()
        assert where == list(range(len(order.prompt) - 1, len(text) - 1))
        assert targets[where].tolist() == text[len(order.prompt) :]
        assert data.tokens[row, : len(text) - 1].tolist() == text[:-1]
    shortest = min(range(6), key=lambda k: len(orders[k].prompt + orders[k].record))
    cut = data[[shortest]]
    assert cut.tokens.shape[1] == len(orders[shortest].prompt + orders[shortest].record)


def test_logits_are_those_of_the_whole_model():
    model = llama()
    data = encode(Bytes(), draw_orders(4, 1)[0])
    logits, targets = answer_logits(model, data)
    counted = data.targets != IGNORED
    torch.testing.assert_close(logits, model(data.tokens).logits[counted])
    assert torch.equal(targets, data.targets[counted])


def test_the_score_is_that_of_greedy_decoding():
    """Rows whose record is the model's own greedy continuation count, others do not."""
    model = llama()
    model.generation_config.eos_token_id = None
    prompt = torch.randint(1, 128, (6, 9), generator=torch.Generator().manual_seed(0))
    written = model.generate(prompt, max_new_tokens=5, do_sample=False, pad_token_id=0)
    written[[1, 4], [10, 13]] += 1  # two records are not what the model writes
    written %= 128
    targets = torch.full((6, 13), IGNORED)
    targets[:, 8:] = written[:, 9:]
    data = Encoded(written[:, :-1], targets)
    assert exact_match(model.train(), data, batch_size=4) == pytest.approx(4 / 6)
    assert model.training, "the mode is as it was"
    score, loss = exact_match_and_loss(model, data, batch_size=4)
    assert score == pytest.approx(4 / 6)
    whole = F.cross_entropy(model(data.tokens).logits.flatten(0, 1), targets.flatten())
    assert loss == pytest.approx(whole.item(), rel=1e-5), "padding counts for nothing"


def test_training_is_seeded_and_learns():
    def run(seed):
        model = llama()
        data = encode(Bytes(), draw_orders(16, 1)[0])
        return list(train(model, data, 6, lr=1e-2, batch_size=4, seed=seed))

    first = run(0)
    assert first == run(0)
    assert first != run(1)
    assert first[-1] < first[0] - 0.5


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_a_batch_in_parts_is_the_same_step(at_once):
    def run(**more):
        model = llama()
        data = encode(Bytes(), draw_orders(16, 1)[0])
        losses = list(train(model, data, 3, lr=1e-2, batch_size=4, **more))
        return losses, torch.cat([p.flatten() for p in model.parameters()])

    (losses, weights), (again, others) = run(), run(at_once=at_once)
    assert again == pytest.approx(losses, rel=1e-4)
    torch.testing.assert_close(others, weights, rtol=0, atol=2e-3)


@pytest.mark.parametrize(
    ("call", "part"),
    [
        (lambda: draw_orders(0, 1), "count=0"),
        (lambda: draw_orders(1, 0), "held_out=0"),
        (lambda: draw_orders(10**6, 1), "too many"),
        (lambda: draw_new_words(0), "count=0"),
        (lambda: encode(Bytes(), []), "orders is empty"),
        (lambda: train(llama(), None, 0, lr=0.1), "steps=0"),
        (lambda: train(llama(), None, 1, lr=float("nan")), "lr=nan"),
        (lambda: train(llama(), None, 1, lr=0.1, batch_size=0), "batch_size=0"),
        (lambda: train(llama(), None, 1, lr=0.1, at_once=0), "at_once=0"),
        (lambda: train(llama().requires_grad_(False), None, 1, lr=0.1), "give it adapters"),
    ],
)
def test_bad_input(call, part):
    with pytest.raises(ValueError, match=part):
        call()


@pytest.fixture
def folder(tmp_path):
    llama().save_pretrained(tmp_path)
    return tmp_path


def test_evaluation_leaves_an_nf4_base_trainable(folder):
    """Its layers would repack their weights for inference, and then have no gradient."""
    from qlearn.methods.lora import add_lora

    model = load_nf4(folder).eval()
    data = encode(Bytes(), draw_orders(8, 1)[0])
    exact_match(model, data)
    layers = add_lora(model, rank=2, alpha=4)
    losses = list(train(model, data, 6, lr=1e-2, batch_size=8))
    assert losses[-1] < losses[0] - 0.2
    assert layers["model.layers.0.self_attn.q_proj"].lora_A.grad is None  # zeroed after the step
    assert layers["model.layers.0.self_attn.q_proj"].lora_B.abs().max() > 0


def test_a_gguf_file_is_refused(tmp_path):
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    with pytest.raises(ValueError, match=r"is a GGUF file.*save_pretrained"):
        load_nf4(file)


def test_what_keep_trainable_is_for(folder):
    """Without it, where the processor repacks: the first block's adapters learn nothing."""
    from bitsandbytes import functional

    if not functional.has_avx512bf16():
        pytest.skip("this processor has no AVX-512 for bfloat16, so nothing is repacked")
    from transformers import BitsAndBytesConfig

    from qlearn.methods.lora import add_lora

    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.float32)
    data = encode(Bytes(), draw_orders(8, 1)[0])
    found = {}
    for name, prepare in (("as it comes", lambda m: m), ("kept", keep_trainable)):
        model = prepare(AutoModelForCausalLM.from_pretrained(folder, quantization_config=config))
        with torch.no_grad():
            model.eval()(data.tokens)
        layers = add_lora(model, rank=2, alpha=4)
        logits, targets = answer_logits(model, data)
        torch.nn.functional.cross_entropy(logits, targets).backward()
        grad = layers["model.layers.0.self_attn.q_proj"].lora_B.grad
        found[name] = 0.0 if grad is None else grad.abs().max().item()
    assert found["kept"] > 0
    assert found["as it comes"] == 0
