"""The article's forty claims in our words, and the rule that gives each its verdict.

The rules were written down before the measurements they judge, with the thresholds of
:mod:`qlearn.course.claims.thresholds`. Those on results of earlier chapters were written with those
results known.

Words in the rules: *kept* is the float model's perplexity over the quantized one's, or the
quantized model's accuracy over the float one's, on tasks that the float model solved. *Plain* tasks
are copy, reverse, recall and agree; *arithmetic* ones add2, add3, add4, add3r and mul. *At b bits*
is the mean over the rows of round-to-nearest, GPTQ and AWQ with b bits in the quality table.
"""

from __future__ import annotations

from dataclasses import dataclass

KINDS = ("measured", "computed", "source")
LATE = ("memory", "batching", "choosing", "harness", "tools")  # measured after the rules


@dataclass(frozen=True)
class Claim:
    """One claim and how it is judged.

    Attributes:
        number: 1 to 40, in the order of the article.
        text: the claim, in our words.
        kind: ``"measured"`` here, ``"computed"`` from sizes, or from a primary ``"source"``.
        rule: what gives which verdict.
        needs: results files that the rule reads; ``"quality"`` is the quality table, ``"evidence"``
            all losses that recommendations rest on.
    """

    number: int
    text: str
    kind: str
    rule: str
    needs: tuple[str, ...] = ()

    @property
    def blind(self) -> bool:
        """Whether all that the rule reads was measured after the rule was written."""
        return bool(self.needs) and set(self.needs) <= {*LATE}


_ROWS = (
    (1, "FP16, INT8 and INT4 save 50, 75 and 87.5% of FP32's memory", "measured", ("memory",),
     ("Measured footprints: holds if each saving is within SAVING_POINTS. Holds when the model "
      "is large, if Llama 2 7B, computed, is within LARGE_SAVING_POINTS each. Else wrong.")),
    (2, "QLoRA fine-tunes 65B on one consumer card such as an RTX 4090", "computed", (),
     ("Holds if weights, adapters, optimizer and activations fit in FITS_SHARE of 24 GB; holds "
      "when the optimizer is paged out, if the weights alone fit; else wrong.")),
    (3, "Post-training quantization needs no retraining, so any model can have it", "measured",
     ("quality",),
     ("No step of training is taken by definition; what is judged is whether that is enough. "
      "Holds if the best method keeps KEPT of each model at 8 and at 4 bits; holds when at 8 "
      "alone.")),
    (4, "GPTQ and AWQ are near-lossless at 4 bits", "measured", ("quality",),
     ("Holds if both raise the perplexity of smollm2-135m (groups of 64) by NEAR_LOSSLESS at "
      "most; holds when the model is large, if a published GPTQ row does; else wrong.")),
    (5, "75% less memory, 2 to 4 times as fast, 95% of the quality kept", "measured",
     ("memory", "batching", "quality"),
     ("For INT8 and INT4 against FP32: saving HEADLINE_SAVING, speed HEADLINE_SPEED at batch 1 "
      "and at 32, KEPT of the perplexity. Holds if one precision passes all four; holds when, "
      "if one passes speed at batch 1 and saving or quality; else wrong.")),
    (6, "A 7B model takes 28 GB in FP32 and 3.5 GB in INT4", "computed", (),
     ("Llama 2 7B: holds if FP32, and 4-bit groups of 128 with a 16-bit embedding, are within "
      "SIZE_TOLERANCE; holds when codes alone are counted, if those are; else wrong.")),
    (7, "Post-training quantization converts the weights directly", "measured", ("quality",),
     ("Holds if neither GPTQ nor AWQ lowers rounding's perplexity at 4 bits by PERPLEXITY_GAIN: "
      "then direct conversion is all there is. Holds when the method is round-to-nearest, if "
      "one does and rounding keeps KEPT at 8 bits; else wrong.")),
    (8, "Quantization-aware training beats post-training, most at extreme levels", "measured",
     ("qat",),
     ("Gain: accuracy on solved tasks over the better of RTN and GPTQ, mean over the pocket "
      "models. Holds if it is GAIN or more at 4, 3 and 2 bits and largest at 2; holds when, if "
      "at some of them; else wrong.")),
    (9, "QLoRA: a 4-bit base and 16-bit adapters", "measured", ("qlora", "tools"),
     ("Holds if the base's layers take NF4_BITS each weight and peft's adapters are 16 bit wide "
      "by default; holds when they are asked for in 16 bit, if the base alone does; else wrong.")),
    (10, "GPTQ minimises the reconstruction error layer by layer", "measured",
     ("gptq_layer", "quality"),
     ("Holds if a layer's loss is LAYER_LOSS of rounding's or less, and the model's KL "
      "divergence falls at 4 and 3 bits; holds when the layer is meant, not the model; else "
      "wrong.")),
    (11, "AWQ and GPTQ keep important weights at higher precision", "measured",
     ("rtn", "calibrated", "quality"),
     ("Extra bits a weight over round-to-nearest in the same scheme. Holds if MIXED_BITS or "
      "more for both; holds when for one; wrong if for neither.")),
    (12, "Quality lost: INT8 about 2%, INT4 by GPTQ about 5%, QLoRA little", "measured",
     ("quality", "qlora"),
     ("Five losses: perplexity of smollm2-135m and accuracy of the pocket models, at INT8 and "
      "at INT4 by GPTQ, and QLoRA's answers against LoRA's. Holds if all are within INT8_LOSS, "
      "INT4_LOSS, QLORA_LOSS; holds when some are; wrong if none.")),
    (13, "from_pretrained loads a GPTQ checkpoint with load_in_4bit=True", "measured", ("tools",),
     ("The call on a local folder, with the keyword and with today's config. Holds if both "
      "load; holds when one does; wrong if neither.")),
    (14, "Install auto-gptq", "measured", ("tools",),
     ("Holds if it installs and imports beside the course's versions and has a release within "
      "RECENT_YEARS; holds when it is older but imports; else wrong.")),
    (15, "GPTQ for quality, AWQ for speed", "measured", ("quality", "calibration_sets"),
     ("Two parts at 4 bits: GPTQ's perplexity is below AWQ's for more than half of the texts to "
      "calibrate; AWQ stores MIXED_BITS fewer, which speed could come from. Holds for both, "
      "holds when for one, wrong for none.")),
    (16, "Calibration takes 1,000 to 10,000 samples", "measured", ("calibration_sets",),
     ("Share of the fall in KL divergence, from none to 128 sequences, that 32 sequences give. "
      "Wrong if ENOUGH or more for GPTQ and AWQ; holds when for one; holds if for neither.")),
    (17, "Quantizing takes 30 minutes to several hours", "measured", ("libraries",),
     ("Holds if all runs of GPTQ and AWQ here and the published ones lie from SHORTEST to "
      "LONGEST; holds when some published one does; wrong if none.")),
    (18, "Validate on benchmarks of your own task", "measured", ("harness",),
     ("Holds if the harness gives FP32 and INT4 apart by STANDARD_ERRORS of their difference; "
      "holds when there are more questions, if not; wrong if the two are equal.")),
    (19, "Deploy, monitor, and alert on regressions", "measured", ("tools",),
     ("A canary of fixed questions. Holds if all broken models raise an alert and no healthy "
      "one does; holds when CANARY_FOUND of them do and false alarms are fewer; else wrong.")),
    (20, "Memory is parameters x bytes x 1.2", "measured", ("memory",),
     ("Holds if the formula is within FORMULA_TOLERANCE of the measured footprint in all four "
      "precisions; holds when in some; wrong in none.")),
    (21, "The KV cache takes 1 to 2 GB per 1000 tokens of a 7B model", "measured", ("memory",),
     ("The formula, corrected by what smollm2-135m's cache measured, for 7B and 8B models in 16 "
      "bit. Holds if all lie in KV_RANGE; holds when some do; wrong if none.")),
    (22, "4-bit 7B with 4K of context takes 6 to 8 GB", "computed", (),
     ("The total of the 7B models at 4-bit groups of 128 with a 16-bit cache. Holds if all lie "
      "in TOTAL_RANGE; holds when some do; wrong if none.")),
    (23, "70B in INT4 runs on an RTX 4090 of 24 GB", "computed", (),
     ("Holds if all of it fits in FITS_SHARE at CONTEXT; holds when at SHORT_CONTEXT; else "
      "wrong.")),
    (24, "13B in INT4 runs on 12 GB, 7B on an M1 of 16 GB", "computed", (),
     "Holds if both fit in FITS_SHARE at CONTEXT; holds when at SHORT_CONTEXT; else wrong."),
    (25, "When to take FP16, INT8 and INT4", "computed", ("batching", "evidence"),
     ("Share of models, devices and uses in which the article's rules and the course's choose "
      "the same. Holds from AGREE on, holds when from AGREE_PARTLY on, else wrong.")),
    (26, "INT4 for maximum throughput", "measured", ("batching",),
     ("INT4's tokens a second against the fastest other precision. Holds if ahead at M = 1, 32 "
      "and 512; holds when at some; wrong at none.")),
    (27, "Most models keep 95% at INT8; INT4 hurts reasoning more", "measured", ("quality",),
     ("Holds if all models keep KEPT at 8 bits, and at 4 bits arithmetic loses GAIN more than "
      "plain tasks; holds when one of the two; else wrong.")),
    (28, "Text and classification are more robust than reasoning, maths, code", "measured",
     ("quality",),
     ("Loss of arithmetic less that of plain tasks, mean over the pocket models. Holds if GAIN "
      "or more at 4, 3 and 2 bits; holds when at some; wrong at none.")),
    (29, "Larger models quantize better", "measured", ("quality",),
     ("Loss on solved tasks of the smallest pocket model less that of the largest. Holds if "
      "GAIN or more at 4, 3 and 2 bits; holds when at some; wrong at none.")),
    (30, "70B in INT4 beats 13B in FP16", "measured", ("quality",),
     ("Pairs of pocket models, the larger at 4 bits in EQUAL_MEMORY of the smaller's 16-bit "
      "bytes. Holds if the larger is ahead on all tasks together in all pairs; holds when in "
      "some.")),
    (31, "Transformers with bitsandbytes is the easiest start", "measured", ("tools",),
     ("Statements until a 4-bit model writes. Holds if it runs and no other tool needs fewer; "
      "holds when it runs and another does; wrong if it does not run.")),
    (32, "AutoGPTQ is the go-to for production", "measured", ("tools", "libraries"),
     ("Holds if it installs, imports and has a release within RECENT_YEARS; holds when it "
      "imports but is older; else wrong.")),
    (33, "TensorRT is the fastest on NVIDIA cards", "source", ("tools",),
     ("Not measured without a GPU. A primary source's speed of its engine against another on "
      "one card: holds if it is ahead for each model given; holds when for some; else wrong.")),
    (34, "OpenVINO makes models faster on CPUs", "measured", ("tools",),
     ("Holds if its INT8 and its INT4 write FASTER times the tokens a second of torch's faster "
      "precision; holds when one does; else wrong.")),
    (35, "Quantized models can't be fine-tuned directly; QLoRA can", "measured", ("tools", "qlora"),
     ("Two parts: codes refuse a gradient; QLoRA gains LEARNED. Holds for both, holds when for "
      "one, wrong for none.")),
    (36, "70B can be fine-tuned on consumer cards", "computed", (),
     ("QLoRA's total over FITS_SHARE of 24 GB. Holds if one card does; holds when several share "
      "it, up to CARDS; else wrong.")),
    (37, "4 bits cost 2 to 5%, on reasoning and maths 5 to 15%", "measured",
     ("quality", "sentiment"),
     ("Perplexity of smollm2-135m by GPTQ, its sentiment, plain tasks (TEXT_LOSS) and "
      "arithmetic (REASONING_LOSS). Holds if all four losses lie in their range; holds when "
      "some; else wrong.")),
    (38, "On a CPU alone it is 10 to 20 times slower", "computed", ("memory",),
     ("Bandwidth of the consumer cards over that of laptops' memory. Holds if all pairs lie in "
      "CPU_SLOWDOWN; holds when some do; wrong if none. The measured speed checks the bandwidth "
      "rule.")),
    (39, "Take pre-quantized models first", "measured", ("tools",),
     ("Each format that we write, loaded by transformers alone. Holds if all load, LOAD_FASTER "
      "times as fast as GPTQ quantizes; holds when some do; wrong if none.")),
    (40, "Quantization is not reversible", "measured", ("tools",),
     ("Share of weights that come back exactly. Holds if RECOVERED or less in each case tried; "
      "holds when the weights were not on a grid before, if in some; wrong if in none.")),
)  # fmt: skip

CLAIMS: tuple[Claim, ...] = tuple(
    Claim(number, text, kind, rule, needs) for number, text, kind, needs, rule in _ROWS
)
