"""Chapter 14: forty claims, each with a computed verdict."""

from qlearn import lazily

__all__, __getattr__, __dir__ = lazily(
    __name__,
    {
        "verdicts": [
            "CLAIMS",
            "RULES",
            "check_claim",
            "check_claims",
            "claims_table",
            "load_results",
            "published",
        ],
        "common": ["rows"],
        "thresholds": ["limits_with"],
    },
)
