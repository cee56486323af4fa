"""What quantizing costs and saves: quality, memory, and the choice between levels."""

from qlearn import lazily

__all__, __getattr__, __dir__ = lazily(
    __name__,
    {
        "evaluate": ["perplexity", "kl_divergence", "top1_agreement", "compare"],
        "answers": ["sentiment_scores", "area_under_curve"],
        "harness": [
            "paired_difference",
            "review_questions",
            "run_harness",
            "standard_error",
            "write_task",
        ],
        "memory.inference": ["estimate_memory"],
        "choose.advice": ["recommend"],
    },
)
