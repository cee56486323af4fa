"""The forty verdicts: every rule answers, and follows what it reads."""

import ast
import inspect
import re
from collections import Counter
from dataclasses import fields
from importlib import import_module
from pkgutil import iter_modules

import pytest
from claims_synthetic import synthetic

from qlearn.course.claims import rules, thresholds
from qlearn.course.claims.claim import claim, stated
from qlearn.course.claims.common import HOLDS, WHEN, WRONG, ClaimVerdict, judge, rows
from qlearn.course.claims.links import Link
from qlearn.course.claims.thresholds import limits_with
from qlearn.course.claims.verdicts import CLAIMS, RULES, check_claim, check_claims, claims_table

BY_NUMBER = {claim.number: claim for claim in CLAIMS}
RULE_MODULES = [
    import_module(f"{rules.__name__}.{found.name}") for found in iter_modules(rules.__path__)
]


def put(results, name, key, new, /, **match):
    """Change one entry in each row that matches; ``new`` may be a function of the old one."""
    found = rows(results, name, **match)
    for row in found:
        row[key] = new(row[key]) if callable(new) else new
    return results


def all_accuracy(results, bits, share, tasks=None):
    """Give every pocket model the same accuracy with so many bits."""
    for row in rows(results, "quality", bits=bits):
        if row["accuracy"]:
            row["accuracy"] = {
                task: share if tasks is None or task in tasks else old
                for task, old in row["accuracy"].items()
            }
    return results


def smollm(results, method, bits, perplexity):
    return put(results, "quality", "perplexity", perplexity, model="smollm2-135m", method=method,
               bits=bits)  # fmt: skip


ARITHMETIC = ("add2", "add3", "add4", "add3r", "mul")

# Of each measured claim: a change of the measurements, and the verdict that it must lead to.
CHANGES = {
    1: (lambda r: [put(r, "memory", "measured", size, what="footprint", precision=name)
                   for name, size in (("INT8", 538.06e6 / 4), ("INT4", 538.06e6 / 8))], HOLDS),
    3: (lambda r: [all_accuracy(r, 8, 0.9), smollm(r, "rtn", 8, 60.0)], WRONG),
    4: (lambda r: [smollm(r, "gptq", 4, 40.1), smollm(r, "awq", 4, 40.1)], HOLDS),
    5: (lambda r: put(r, "batching", "times_float32", 1.0, what="model"), WRONG),
    7: (lambda r: [smollm(r, "gptq", 4, 55.0), smollm(r, "awq", 4, 55.0)], HOLDS),
    8: (lambda r: put(r, "qat", "accuracy", lambda a: dict.fromkeys(a, 0.0), method="qat"), WRONG),
    9: (lambda r: put(r, "tools", "bits", 16, tensor="adapter"), HOLDS),
    10: (lambda r: put(r, "gptq_layer", "loss_over_rtn", 1.1, form="qlearn"), WRONG),
    11: (lambda r: put(r, "calibrated", "bits_per_weight", lambda b: b + 0.12), WHEN),
    12: (lambda r: [smollm(r, "rtn", 8, 40.1), smollm(r, "gptq", 4, 41.0)], HOLDS),
    13: (lambda r: put(r, "tools", "loads", True, what="article call", form="keyword"), WHEN),
    14: (lambda r: put(r, "tools", "imports", True, name="auto-gptq")
         and put(r, "tools", "installs", True, name="auto-gptq"), WHEN),
    15: (lambda r: put(r, "calibration_sets", "perplexity", 1.0, method="gptq"), WHEN),
    16: (lambda r: put(r, "calibration_sets", "kl_divergence", 0.3, sequences=32), HOLDS),
    17: (lambda r: [row.update(seconds=60) for row in r["published"]["gptq"]["seconds"]], WRONG),
    18: (lambda r: put(r, "harness", "difference_standard_error", 0.05, precision="INT4 RTN"),
         WHEN),
    19: (lambda r: put(r, "tools", "found", 3, what="canary"), WRONG),
    20: (lambda r: put(r, "memory", "measured", 1e9, what="footprint"), WRONG),
    21: (lambda r: put(r, "memory", "ratio", 2.5, what="kv_cache"), WHEN),
    26: (lambda r: put(r, "batching", "tokens_per_second", 1.0, precision="INT4"), WRONG),
    27: (lambda r: [all_accuracy(r, 8, 0.5), all_accuracy(r, 4, 0.9)], WRONG),
    28: (lambda r: [all_accuracy(r, bits, 0.5) for bits in (4, 3, 2)], WRONG),
    29: (lambda r: [all_accuracy(r, bits, 0.5) for bits in (4, 3, 2)], WRONG),
    30: (lambda r: all_accuracy(r, 4, 0.0), WRONG),
    31: (lambda r: put(r, "tools", "runs", False, tool="transformers and bitsandbytes"), WRONG),
    32: (lambda r: [put(r, "tools", key, new, name="auto-gptq") for key, new in
                    (("imports", True), ("installs", True), ("released", "2026-11-01"))], HOLDS),
    34: (lambda r: put(r, "tools", "tokens_per_second", 1.0, tool="openvino"), WRONG),
    35: (lambda r: put(r, "tools", "refuses", False, tensor="codes"), WHEN),
    37: (lambda r: [all_accuracy(r, 4, 0.9, ARITHMETIC),
                    put(r, "sentiment", "accuracy", 0.78, scheme="INT4 g64 asym"),
                    smollm(r, "gptq", 4, 41.2),
                    all_accuracy(r, 4, 0.97, ("copy", "reverse", "recall", "agree"))], HOLDS),
    39: (lambda r: put(r, "tools", "loads", True, what="load"), HOLDS),
    40: (lambda r: put(r, "tools", "recovered", 1.0, what="round trip"), WRONG),
}  # fmt: skip


def test_forty_claims_in_order_and_most_of_them_measured():
    assert [claim.number for claim in CLAIMS] == list(range(1, 41)) == list(RULES)
    kinds = Counter(claim.kind for claim in CLAIMS)
    assert kinds["measured"] >= 25
    assert set(kinds) <= {"measured", "computed", "source"}


def test_measured_claims_read_measurements():
    assert all(claim.needs for claim in CLAIMS if claim.kind == "measured")
    assert {n for n, claim in BY_NUMBER.items() if claim.kind == "measured"} == set(CHANGES)


@pytest.mark.parametrize("number", RULES)
def test_every_claim_has_a_verdict_with_a_figure(number):
    verdict = check_claim(number, synthetic()).verdict
    assert verdict.verdict in (HOLDS, WHEN, WRONG)
    assert re.search(r"\d", verdict.figure)
    assert len(verdict.figure) < 240


@pytest.mark.parametrize("number", CHANGES)
def test_a_changed_measurement_changes_the_verdict(number):
    change, wanted = CHANGES[number]
    before, changed = synthetic(), synthetic()
    change(changed)
    first, then = (check_claim(number, each).verdict for each in (before, changed))
    assert first.verdict != wanted
    assert then.verdict == wanted
    assert first.figure != then.figure


@pytest.mark.parametrize("number", RULES)
def test_rules_leave_the_results_as_they_are(number):
    results, again = synthetic(), synthetic()
    check_claim(number, results)
    assert results == again


@pytest.mark.parametrize("number", [n for n, claim in BY_NUMBER.items() if claim.needs])
def test_a_rule_reads_no_file_but_those_that_its_claim_names(number):
    known = synthetic()
    kept = {name: known[name] for name in (*BY_NUMBER[number].needs, "published")}
    assert check_claim(number, kept).verdict == check_claim(number, known).verdict


def test_missing_results_are_named():
    with pytest.raises(ValueError, match="lack 'memory'"):
        check_claim(1, {"published": {}})
    empty = synthetic()
    empty["memory"] = {"rows": []}
    with pytest.raises(ValueError, match=r"results\['memory'\] has no row"):
        check_claim(1, empty)
    with pytest.raises(ValueError, match="number=41"):
        check_claim(41, synthetic())


def test_a_threshold_moves_a_verdict():
    results = synthetic()
    assert check_claim(4, results).verdict.verdict == WHEN
    assert check_claim(4, results, limits_with(NEAR_LOSSLESS=0.5)).verdict.verdict == HOLDS
    with pytest.raises(ValueError, match="KEEP= is no threshold"):
        limits_with(KEEP=0.5)


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [(1, "measured", "number=1 is taken by .FP16"), (41, "heard", "kind='heard' is not known")],
)
def test_a_claim_is_stated_once_and_of_a_known_kind(number, kind, words):
    with pytest.raises(ValueError, match=words):
        claim(number, "x", kind=kind, rule="y", shown=Link("06_gptq", "z"))
    assert len(stated()) == 40


def test_the_rules_are_where_they_are_looked_for():
    assert {rule.__module__ for rule in RULES.values()} == {one.__name__ for one in RULE_MODULES}


def test_every_threshold_is_read_by_a_rule_and_explained():
    source = inspect.getsource(thresholds)
    names = [field.name for field in fields(thresholds.Thresholds)]
    assert len(names) > 40
    read = "".join(inspect.getsource(module) for module in RULE_MODULES)
    assert [name for name in names if f"limits.{name}" not in read] == []
    lines = source.splitlines()
    for k, line in enumerate(lines):
        if re.match(r"    [A-Z_0-9]+: ", line):  # beside it, or in the line above
            assert re.search(r"  # \S.{15}", line) or re.match(r"    # \S.{15}", lines[k - 1]), line


def test_figures_are_not_typed_into_the_rules():
    """No string of a rule holds a figure of three digits, or one with a decimal point."""
    for module in RULE_MODULES:
        for text in ast.walk(ast.parse(inspect.getsource(module))):
            for node in text.values if isinstance(text, ast.JoinedStr) else []:
                if isinstance(node, ast.Constant):
                    typed = re.findall(r"\b\d+\.\d+\b|\b\d{3,}\b", str(node.value))
                    assert {*typed} <= {"128", "135"}, (module.__name__, node.value)


def test_verdicts_refuse_what_says_nothing():
    with pytest.raises(ValueError, match="verdict='maybe'"):
        ClaimVerdict("maybe", "3")
    with pytest.raises(ValueError, match="holds no number"):
        ClaimVerdict(HOLDS, "better")
    with pytest.raises(ValueError, match="condition=''"):
        ClaimVerdict(WHEN, "3")
    assert judge("3", [True, False], "it rains").verdict == WHEN
    assert judge("3", [False], "").verdict == WRONG


def test_the_table_has_a_row_and_a_link_for_each_claim():
    table = claims_table(check_claims(synthetic()))
    html = table._repr_html_()
    for number in RULES:
        assert html.count(f'<tr id="claim-{number}">') == 1
    assert html.count("data-site=") == len(RULES)
    assert "<script" not in html
    assert len(repr(table).splitlines()) >= 2 * len(RULES)
