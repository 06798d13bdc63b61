from __future__ import annotations

import re
from typing import Any

import pytest

from consentlib import terms
from consentlib.errors import PolicyError
from consentlib.policy import Policy, lint, parse_policy, render
from consentlib.policy.render import notice_table, processing_record


def rows(table: str) -> dict[str, list[str]]:
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table.splitlines()]
    assert {len(row) for row in cells} == {8}
    return {row[0]: row[1:] for row in cells}


def test_the_notice_has_a_row_a_use(policy: Policy) -> None:
    """Every use is told, each with purpose, ground, data, channels, retention and right; nothing is left blank."""
    for language in ("en", "da"):
        found = rows(notice_table(policy, language))
        assert set(found) >= {use.label[language] for use in policy.uses.values()}
        assert len(found) == len(policy.uses) + 2
        assert all(cell for row in found.values() for cell in row)


def test_the_notice_tells_what_the_policy_says(policy: Policy) -> None:
    """Purpose, ground with article, data, channels, retention with its number, right to stop, recipients."""
    assert rows(notice_table(policy, "en"))["Newsletter"] == [
        "To send you news and offers on our products.",
        "consent, GDPR 6(1)(a)",
        "e-mail address, name, telephone number",
        "e-mail, SMS, telephone, post",
        "until you withdraw or 365 days without use; the proof 730 days longer",
        "withdraw at any time; object at any time, always followed (GDPR 21(2))",
        "Mailchimp (The Rocket Science Group LLC)",
    ]
    assert rows(notice_table(policy, "da"))["Levering"][1] == "aftale med dig, GDPR art. 6, stk. 1, litra b"


def test_the_notice_follows_the_parameters(policy: Policy) -> None:
    """Numbers, grounds by parameter, and grounds that a parameter or profile switches on."""
    other = policy.overlay(
        "CA", {"complaint_days": 99, "soft_opt_in_channels": ["email"], "survey_ground": "legitimate_interest"}
    )
    found = rows(notice_table(other, "en"))
    assert found["Complaints"][4].startswith("99 days after delivery")
    assert found["Newsletter"][1].split("; ")[1:] == [
        "own similar products to customers, ePrivacy 13(2)",
        "implied consent, CASL 10(9)-(10)",
    ]
    assert found["Surveys"][1] == "legitimate interest, GDPR 6(1)(f)"
    assert found["Surveys"][5] == "object (GDPR 21(1)); decline further surveys"


def test_the_record_tells_what_article_30_asks_for(policy: Policy) -> None:
    """Controller, purposes, categories of persons and data, recipients, third countries, time limits, security."""
    record = processing_record(policy, "en")
    for words in (
        "- Controller: Littlesteps ApS, Strandvejen 1",
        f"- Policy: littlesteps 3 (`{policy.hash}`)",
        "- Purpose: To deliver what you ordered.",
        "- Categories of persons: customers\n",
        "- Categories of data: delivery address, e-mail address, name, telephone number\n",
        "- Recipients: the carrier\n",
        "US: sends our e-mails and keeps the mailing list; safeguard: EU-US Data Privacy Framework",
        "- Time limit: 5 years from the end of the financial year\n",
        "## Security measures\n",
    ):
        assert words in record
    assert record.count("\n## ") == len(policy.uses) + 2
    assert "- Kategorier af registrerede: kunder\n" in processing_record(policy, "da")


@pytest.mark.parametrize("render", [notice_table, processing_record])
def test_equal_policies_read_alike(policy: Policy, small: str, render: Any) -> None:
    """What was read from a file and what was read from the log give the same words."""
    for name in "ba":
        small += f"[processors.{name}]\nname = '{name}'\ncountry = 'DK'\npurpose = {{}}\nuses = ['news']\n"
    for one in (policy, parse_policy(small)):
        assert render(Policy.from_canonical(one.canonical()), "da") == render(one, "da")


def test_every_word_of_the_field_has_its_words() -> None:
    """A ground or channel added to the terms must be told in the notice, and a medium must be looked for in texts."""
    assert set(render._GROUNDS) == set(terms.GROUNDS)
    assert set(render._CHANNELS) == set(terms.CHANNELS) == set(lint._MEDIA) | {"any", "none"}


@pytest.mark.parametrize("render", [notice_table, processing_record])
def test_another_language_is_refused(policy: Policy, render: Any) -> None:
    """No mixture of languages is passed off as a translation."""
    with pytest.raises(PolicyError, match="expected the language `en` or `da`, found `de`"):
        render(policy, "de")


def test_words_the_policy_lacks_appear_as_keys(small: str) -> None:
    """A sparse policy still renders; a period without a sentence is a number of days."""
    found = rows(notice_table(parse_policy(small), "da"))
    assert found["news"][4] == "730 dage"
    assert found["news"][2] == "e-mail address"
    assert "no label" not in processing_record(parse_policy(small), "en")


def test_text_can_not_break_out_of_its_cell(change: Any) -> None:
    """A bar or a line break in a policy's words stays inside the cell."""
    found = rows(notice_table(change((("uses", "delivery", "purpose"), {"en": "a | b\n| c"})), "en"))
    assert found["Delivery"][0] == "a \\| b \\| c"
