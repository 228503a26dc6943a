"""All claims in one run: what is counted, what a person sees of it, and what a program gets."""

import time
from dataclasses import replace
from functools import lru_cache
from typing import Any

import pytest

from attnlab.errors import UsageError
from attnlab.experiments.claims.claim import Trial
from attnlab.experiments.claims.laws import Laws
from attnlab.experiments.claims.registry import CLAIMS, claims_named
from attnlab.experiments.verify import VerifyConfig, VerifyRecord, run, steps
from attnlab.experiments.verify_report import csv_table, document, limits, report
from attnlab.files.documents import csv_bytes, json_bytes
from tests.rendered import shown, told
from tests.wrong_laws import WRONG

QUICK = ("lemma-1", "lemma-4", "theorem-5")
#: Lines of the bare command's screen, with the two for the files that it writes.
MOST_LINES = 60
#: Seconds of work on one core; 5 measured.
MOST_SECONDS = 20.0


@lru_cache
def everything_and_its_time() -> tuple[VerifyRecord, float]:
    started = time.process_time()
    return run(VerifyConfig()), time.process_time() - started


def everything() -> VerifyRecord:
    return everything_and_its_time()[0]


def test_all_claims_are_as_expected_within_twenty_seconds() -> None:
    record, seconds = everything_and_its_time()
    assert seconds < MOST_SECONDS
    assert record.as_expected
    assert [one.claim for one in record.tried] == [*CLAIMS]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    config = VerifyConfig(claims=QUICK, seed=3)
    first, again, other = (run(one) for one in (config, config, replace(config, seed=4)))
    assert json_bytes(document(first)) == json_bytes(document(again)) != json_bytes(document(other))
    assert csv_bytes(*csv_table(first)) == csv_bytes(*csv_table(again)) != csv_bytes(*csv_table(other))


def test_a_claim_tried_alone_gives_the_numbers_that_it_gives_among_the_others() -> None:
    (alone,) = run(VerifyConfig(claims=["lemma-2"])).tried
    (among,) = [one for one in everything().tried if one.claim.id == "lemma-2"]
    assert alone == among


@pytest.mark.parametrize("samples", [1, 3])
def test_every_step_is_told(samples: int) -> None:
    config, told_steps = VerifyConfig(claims=QUICK, samples=samples), []
    run(config, advance=lambda: told_steps.append(1))
    assert len(told_steps) == steps(config) == 3 * samples


@pytest.mark.parametrize("samples", [0, -1])
def test_fewer_than_the_usual_samples_are_refused(samples: int) -> None:
    config = VerifyConfig(samples=samples)
    for refuse in (run, steps):
        with pytest.raises(UsageError, match=f"^--samples {samples}; expected 1 or more: how many times the usual"):
            refuse(config)


class TestNames:
    def test_none_means_all(self) -> None:
        assert claims_named([]) == [*CLAIMS]

    def test_the_order_asked_for_and_each_once(self) -> None:
        found = claims_named(["lemma-6", "Lemma 1", "LEMMA_6"])
        assert [claim.id for claim in found] == ["lemma-6", "lemma-1"]

    @pytest.mark.parametrize(
        ("given", "meant"), [("lema-4", "lemma-4"), ("theorem", "theorem-1"), ("corolary_4", "corollary-4")]
    )
    def test_an_unknown_claim_is_told_the_nearest(self, given: str, meant: str) -> None:
        with pytest.raises(UsageError, match=f'^{given!r}: no such claim; did you mean "{meant.partition("-")[0]}-'):
            claims_named([given])

    def test_all_claims_are_named_where_none_is_near(self) -> None:
        with pytest.raises(UsageError, match=r"^'xyz': no such claim \(there are lemma-1, .*, row-vectors\)$"):
            claims_named(["xyz"])


class TestReport:
    @pytest.mark.parametrize("width", [80, 120])
    def test_the_screen_fits(self, width: int) -> None:
        lines = shown(report(everything()), width)
        assert max(map(len, lines)) <= 80
        assert len(lines) <= MOST_LINES - 2

    def test_a_claim_has_a_line_and_a_second_where_it_does_not_simply_hold(self) -> None:
        rows = [line.split() for line in shown(report(everything()))]
        for one in everything().tried:
            (place,) = [i for i, words in enumerate(rows) if words[:1] == [one.claim.id]]
            assert rows[place] == [one.claim.id, *one.claim.statement.split(), one.verdict]
            plain = one.verdict == "holds" and one.proof != "mended" and not one.claim.not_tried
            below = rows[place + 1][:1]
            assert (below == [] or below[0] in {claim.id for claim in CLAIMS}) is plain

    def test_a_mended_proof_and_what_was_not_tried_are_said(self) -> None:
        text = told(report(everything()))
        assert text.count("proof mended: ") == 3
        assert "not tried: that it speeds training up" in text
        assert "The conclusion stands" in text

    def test_the_finding_comes_first_and_the_last_line_points_on(self) -> None:
        _, _, counted, *_, pointed = shown(report(everything()))
        assert counted == "15 hold (3 with the proof mended), 7 are corrected, 1 is refuted."
        assert pointed == "Next: attnlab verify corollary-4 --explain · more: --details"

    @pytest.mark.parametrize(
        ("claims", "counted", "named"),
        [
            (["lemma-4"], "Holds, with the proof mended.", "lemma-4"),
            (["lemma-1", "theorem-5"], "1 holds, 1 is corrected.", "theorem-5"),
        ],
    )
    def test_fewer_claims(self, claims: list[str], counted: str, named: str) -> None:
        lines = shown(report(run(VerifyConfig(claims=claims))))
        assert (lines[2], lines[-1]) == (counted, f"Next: attnlab verify {named} --explain · more: --details")

    def test_claims_asked_for_by_name_have_their_numbers(self) -> None:
        record = run(VerifyConfig(claims=["theorem-5"]))
        assert f"holds {record.tried[0].evidence.in_short}" in told(report(record))

    def test_the_heading_says_seed_and_samples(self) -> None:
        record = run(VerifyConfig(claims=["theorem-5"], seed=5, samples=2))
        assert report(record).heading == "theorem-5 · Theorem 5 · seed 5 · 2 × the usual samples"
        assert report(everything()).heading == "23 claims of the course · seed 0"

    def test_a_surprise_comes_first_with_what_was_not_shown(self) -> None:
        laws, _ = WRONG["lemma-1"]["a softmax over the queries"]
        record = run(VerifyConfig(claims=["lemma-1", "theorem-5"]), laws=laws)
        assert not record.as_expected
        text = told(report(record))
        assert text.startswith(
            "2 claims of the course · seed 0 lemma-1: refuted; expected: corrected. Not shown: row sums: "
        )

    @pytest.mark.parametrize("claim", [claim.id for claim in CLAIMS])
    def test_an_explanation_is_whole_and_fits(self, claim: str) -> None:
        (one,) = [one for one in everything().tried if one.claim.id == claim]
        made = report(VerifyRecord(config=VerifyConfig(claims=[claim]), tried=[one]), explain=True)
        assert max(map(len, shown(made))) <= 80
        text = told(made)
        words = (one.claim.source, one.claim.argument, one.claim.mending, one.claim.method, one.evidence.finding)
        for part in (*words, one.claim.not_tried, f"What remains: {one.claim.remains}"):
            assert " ".join(part.split()) in text
        quoted = f"{claim} · {one.claim.place} · seed 0 “{one.claim.quote}” (“{one.claim.translation}”)"
        assert text.startswith(f"{quoted} Verdict: {one.verdict}. ")
        assert ("Against its words as they stand" in text) is (one.verdict != "holds")
        assert ("The proof, mended: " in text) is (one.proof == "mended" and one.verdict != "refuted")
        assert ("The proof is sound" in text) is (one.proof == "sound")
        assert "NOT SHOWN" not in text

    def test_an_explanation_of_several_names_each(self) -> None:
        text = told(report(run(VerifyConfig(claims=["lemma-4", "theorem-5"])), explain=True))
        assert " lemma-4 · Lemma 4 “A separação" in text
        assert " theorem-5 · Theorem 5 “as transformações" in text

    def test_in_short_an_explanation_of_several_has_verdicts_and_what_remains(self) -> None:
        record = run(VerifyConfig(claims=["lemma-1", "theorem-5"]))
        text = told(report(record, explain=True), details=False)
        assert all(one.evidence.finding in text for one in record.tried)
        assert text.count("What remains: ") == 1
        assert len(shown(report(everything(), explain=True))) < 200

    def test_a_proof_that_surprises_is_said(self) -> None:
        laws, _ = WRONG["lemma-4"]["a softmax over the whole matrix"]
        record = run(VerifyConfig(claims=["lemma-4"]), laws=laws)
        assert not record.as_expected
        assert " lemma-4: proof sound; expected: mended. Not shown: W_Q = W_K: weights differ" in told(report(record))

    def test_what_was_not_shown_stands_out(self) -> None:
        laws, _ = WRONG["lemma-1"]["a softmax over the queries"]
        assert "NOT SHOWN" in told(report(run(VerifyConfig(claims=["lemma-1"]), laws=laws), explain=True))

    def test_the_corollary_ends_in_agreement_and_warns_of_the_trap(self) -> None:
        (one,) = [one for one in everything().tried if one.claim.id == "corollary-4"]
        text = told(report(VerifyRecord(config=VerifyConfig(), tried=[one]), explain=True))
        assert "What remains: Your conclusion stands; the reason is this one" in text
        assert "A trap: the mean ‖J‖_F is larger unscaled" in text


@pytest.mark.parametrize(
    ("trial", "words"),
    [
        (Trial(what="", value=0, high=0.5), "≤ 0.500"),
        (Trial(what="", value=0, low=3.0), "≥ 3"),
        (Trial(what="", value=0, low=0.25, high=0.75), "0.250 to 0.750"),
        (Trial(what="", value=0, low=2.0, high=2.0), "2"),
    ],
)
def test_limits_in_words(trial: Trial, words: str) -> None:
    assert limits(trial) == words


class TestDocument:
    def test_every_claim_has_the_promised_fields(self) -> None:
        claims: Any = document(everything())["claims"]
        promised = {
            "id",
            "verdict",
            "proof",
            "expected_verdict",
            "quote",
            "translation",
            "place",
            "statement",
            "measured",
            "expected",
            "bound",
            "samples",
            "remains",
            "not_tried",
        }
        assert [claim["id"] for claim in claims] == [claim.id for claim in CLAIMS]
        for claim in claims:
            assert promised <= {*claim}
            assert isinstance(claim["samples"], int)
            assert isinstance(claim["measured"], float)
            assert claim["bound"] is None or isinstance(claim["bound"], float)
            assert claim["checks"]

    def test_a_check_says_what_it_was_held_to(self) -> None:
        (lemma,) = [one for one in everything().tried if one.claim.id == "lemma-1"]
        claims: Any = document(VerifyRecord(config=VerifyConfig(), tried=[lemma]))["claims"]
        (entry,) = claims
        least, *_, bare = entry["checks"]
        assert (least["low"], least["high"], least["holds"], least["against"]) == (0.0, None, True, False)
        assert (bare["low"], bare["against"], bare["against_proof"]) == (0.1, True, False)

    def test_speeds_are_shown_but_not_kept(self) -> None:
        (one,) = [one for one in everything().tried if one.claim.id == "parallel"]
        record = VerifyRecord(config=VerifyConfig(), tried=[one])
        assert "speed, N = 1,024: " in told(report(record, explain=True))
        assert b"speed" not in json_bytes(document(record))

    def test_what_is_missing_is_null(self) -> None:
        claims: Any = document(everything())["claims"]
        by_id = {claim["id"]: claim for claim in claims}
        assert (by_id["theorem-8"]["proof"], by_id["theorem-8"]["not_tried"]) == (None, None)
        assert (by_id["lemma-2"]["proof"], by_id["lemma-1"]["proof"]) == ("mended", "sound")
        assert by_id["layernorm"]["not_tried"] == "that it speeds training up"

    def test_a_row_per_claim(self) -> None:
        columns, rows = csv_table(everything())
        assert columns[:4] == ("id", "verdict", "proof", "expected_verdict")
        assert [row[0] for row in rows] == [claim.id for claim in CLAIMS]


def test_the_laws_on_trial_are_attnlabs_own_unless_others_are_given() -> None:
    config = VerifyConfig(claims=["lemma-4"])
    assert run(config) == run(config, laws=Laws())
