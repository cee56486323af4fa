"""What students are able to do after the course, and where each of it is taught and tested.

One entry an objective. Ids name exercises of `qlearn.exercises` and questions of
`qlearn.assignments`; a test holds that all exist, and that none is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["OBJECTIVES", "Objective"]


@dataclass(frozen=True)
class Objective:
    """What a student is able to do.

    Attributes:
        text: continues "You will be able to".
        chapters: numbers of the chapters that teach it.
        exercises: ids of the chapters' exercises that practise it.
        questions: ids of the assignments' questions that test it; none means exercises alone do.
    """

    text: str
    chapters: tuple[int, ...]
    exercises: tuple[str, ...]
    questions: tuple[str, ...] = ()


OBJECTIVES = (
    Objective(
        "read a number from its bits, float or integer",
        (1,),
        ("ch01.decode_fp16", "ch01.twos_complement"),
    ),
    Objective(
        "say how far a format reaches, how finely it counts, and what gets lost in between",
        (1,),
        ("ch01.gap", "ch01.lost_updates"),
    ),
    Objective(
        "count bytes and bits a weight whole: codes, scales, zero-points, padding",
        (1, 3, 4),
        ("ch01.memory", "ch03.bits_per_weight", "ch03.megabytes", "ch04.bytes"),
        ("a2.bits",),
    ),
    Objective(
        "fit a grid to a tensor, by hand and in code",
        (2,),
        ("ch02.grid",),
        ("a1.by_hand", "a1.grid"),
    ),
    Objective(
        "turn weights into codes and codes into weights",
        (2,),
        ("ch02.codes",),
        ("a1.codes", "a1.back"),
    ),
    Objective("predict what one bit more buys", (2,), ("ch02.sqnr",), ("a1.noise",)),
    Objective("choose a clip by its error", (2,), ("ch02.clip",), ("a2.clip",)),
    Objective("reproduce a tool's format bit for bit", (2,), ("ch02.q4_0",)),
    Objective(
        "say what an outlier ruins, and quantize by tensor, row, column and group",
        (3,),
        ("ch03.group_quantize",),
        ("a2.reach", "a2.scales", "a2.groups"),
    ),
    Objective(
        "pack codes of any width into bytes without waste, and take them out again",
        (3,),
        ("ch03.pack4", "ch03.pack3"),
        ("a1.pack", "a1.unpack", "a6.unpack"),
    ),
    Objective(
        "quantize a whole model and measure the damage",
        (4,),
        ("ch04.perplexity", "ch04.kl"),
        ("a1.model", "a2.model"),
    ),
    Objective(
        "spend a budget of bytes where it helps most",
        (4, 11),
        ("ch04.best_under",),
        ("a6.budget", "a6.order", "a6.allocate"),
    ),
    Objective(
        "put activations on a grid, dynamic or static", (5,), ("ch05.absmax",), ("a2.static",)
    ),
    Objective(
        "find outlier columns and take them out of the integer product, as LLM.int8() does",
        (5,),
        ("ch05.columns", "ch05.product", "ch05.survives"),
    ),
    Objective(
        "move the difficulty from activations into weights, as SmoothQuant does",
        (5,),
        ("ch05.smooth",),
    ),
    Objective(
        "compute what a rounded weight costs a layer's outputs from its Hessian",
        (6,),
        ("ch06.loss",),
        ("a3.hessian",),
    ),
    Objective(
        "make a rounding error good in the weights that are still free",
        (6,),
        ("ch06.compensate", "ch06.uncorrelated"),
        ("a3.by_hand", "a3.free"),
    ),
    Objective(
        "show with an input of one's own that a quantizer is wrong",
        (6,),
        ("ch06.gptq",),
        ("a3.smallest", "a3.witness"),
    ),
    Objective(
        "write GPTQ with a Cholesky factor, groups and damping, and run it over a model",
        (6,),
        ("ch06.factor",),
        ("a3.gptq", "a3.groups", "a3.model"),
    ),
    Objective(
        "find the columns that matter, and say what scaling them does to their groups",
        (7,),
        ("ch07.channel_scales", "ch07.smaller"),
        ("a4.salient", "a4.limits", "a4.scales"),
    ),
    Objective(
        "search scales by the error of the outputs",
        (7,),
        ("ch07.output_loss", "ch07.best_ratio"),
        ("a4.loss", "a4.search"),
    ),
    Objective(
        "fold scales away, and prove that folding alone changes nothing",
        (7,),
        ("ch07.fold",),
        ("a4.fold", "a4.chain", "a4.block"),
    ),
    Objective(
        "train through rounding with a straight-through estimator, and say why weights oscillate",
        (8,),
        ("ch08.gradient", "ch08.step", "ch08.crossing"),
    ),
    Objective(
        "derive the gradient of a learned scale", (8,), ("ch08.scale_gradient", "ch08.factor")
    ),
    Objective(
        "build NF4 and double quantization, and count their bits",
        (9,),
        ("ch09.nf4", "ch09.bits"),
        ("a5.levels", "a5.quantize", "a5.double"),
    ),
    Objective(
        "write LoRA forward and backward, and train it through frozen codes",
        (9,),
        ("ch09.lora", "ch09.gradient"),
        ("a5.init", "a5.lora", "a5.gradients", "a5.step"),
    ),
    Objective(
        "say before training what fine-tuning takes, and what fits a card",
        (9, 10),
        ("ch09.memory", "ch10.qlora"),
        ("a5.bytes",),
    ),
    Objective(
        "count what inference takes: weights, KV cache, the longest context",
        (10,),
        ("ch10.weights", "ch10.cache", "ch10.context"),
    ),
    Objective(
        "bound the speed of decoding, and say at which batch arithmetic takes over",
        (10, 11, 12),
        ("ch10.speed", "ch11.crossover", "ch12.roofline"),
    ),
    Objective(
        "choose a precision from size and loss, at equal bytes",
        (11,),
        ("ch11.front", "ch11.smallest", "ch11.equal"),
    ),
    Objective(
        "tell a real difference between two models from chance",
        (11, 14),
        ("ch11.paired", "ch14.questions"),
    ),
    Objective(
        "read what is inside a checkpoint, and load it with today's calls",
        (12,),
        ("ch12.bits", "ch12.bytes", "ch12.today", "ch12.head"),
    ),
    Objective(
        "ship a compressed model that others can decode, and defend its numbers",
        (4, 11, 12),
        (),
        ("a6.entry",),
    ),
    Objective(
        "put load on a served model, and read its latencies",
        (13,),
        ("ch13.percentile", "ch13.queue"),
    ),
    Objective(
        "watch a model in use, with false alarms that are promised and delays that are known",
        (13,),
        ("ch13.heights", "ch13.delay", "ch13.days"),
    ),
    Objective(
        "turn a claim into a rule, and recompute its verdict",
        (14,),
        ("ch14.rule", "ch14.cache", "ch14.cards", "ch14.kept"),
    ),
)
