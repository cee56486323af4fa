"""The dashboard's figures: shares by question, ranges of points, the commonest diagnoses."""

from qlearn.classroom.marks.dashboard import commonest, shares, totals


def record(points, kind, diagnosis=""):
    mark = {"points": points, "most": 4, "kind": kind, "diagnosis": diagnosis}
    return {"points": points, "most": 4, "questions": {"a1.scale": mark}}


RECORDS = {
    "ada": record(4, "right"),
    "ben": record(1, "wrong", "You gave 3.25; the largest code is 127."),
    "cleo": record(0, "wrong", "You gave -4,5e+3; the largest code is 127."),
    "dan": record(2, "wrong", "You gave 3.25; the largest code is 127."),
    "eva": record(0, "wrong", "You rounded twice."),
    "fay": record(0, "blank", "Nothing."),
}


def test_diagnoses_that_differ_in_numbers_alone_count_as_one():
    assert commonest(RECORDS) == [
        ("a1.scale", "You gave 3.25; the largest code is 127.", 3),
        ("a1.scale", "You rounded twice.", 1),
    ]
    assert commonest(RECORDS, 1)[0][2] == 3 and len(commonest(RECORDS, 1)) == 1
    assert commonest({"ada": RECORDS["ada"]}) == []


def test_the_same_sentence_under_two_questions_is_two():
    other = {"a1.zero": RECORDS["eva"]["questions"]["a1.scale"]}
    both = {**RECORDS, "gil": {"points": 0, "most": 4, "questions": other}}
    assert ("a1.zero", "You rounded twice.", 1) in commonest(both)


def test_shares_and_totals_count_every_submission():
    row = shares(RECORDS)["a1.scale"]
    assert (row["right"], row["wrong"], row["blank"]) == (1 / 6, 4 / 6, 1 / 6)
    assert row["points"] == 7 / 24
    assert sum(count for _, count in totals(RECORDS)) == len(RECORDS)
    assert totals(RECORDS)[0] == ("0 to 0.5", 3)
