"""The words of the field, once: grounds, statuses, purposes, conditions, each with where it comes from.

Citations are short names of public texts: `GDPR` (Regulation (EU) 2016/679), `ePD` (Directive 2002/58/EC), `MFL`
(markedsføringsloven, Denmark), `CASL` (Canada), `GPSR` (Regulation (EU) 2023/988), `EDPB`, `FO` (Danish Consumer
Ombudsman). `iso27560` is the field of an ISO/IEC TS 27560 consent record that the word fills, `dpv` its identifier in
the Data Privacy Vocabulary 2.3. Nothing here is legal advice.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

CHANNELS: Final = ("email", "sms", "phone", "post", "device", "none", "any")
OBJECTIONS: Final = ("direct_marketing", "legitimate_interest", "survey")


@frozen
class Term:
    """A word, its sources, its names in ISO/IEC TS 27560 and DPV 2.3 (`None` where there is none), and what it means."""

    name: str
    cite: tuple[str, ...]
    iso27560: str | None
    dpv: str | None
    note: str


def _terms(iso27560: str | None, *rows: tuple[str, tuple[str, ...], str | None, str]) -> dict[str, Term]:
    return {name: Term(name, cite, iso27560, dpv, note) for name, cite, dpv, note in rows}


GROUNDS: Final = _terms(
    "lawful_basis",
    ("consent", ("GDPR 6(1)(a)", "GDPR 7", "MFL 10(1)"), "eu-gdpr:A6-1-a", "The person said yes to this use."),
    (
        "soft_opt_in",
        ("ePD 13(2)", "MFL 10(2)", "C-654/23"),
        None,
        "A customer may be told of the shop's own similar products. A ground of its own: where it is"
        " met, GDPR 6(1) does"
        " not apply. DPV has no term for it.",
    ),
    (
        "implied_consent",
        ("CASL 10(9)",),
        None,
        "A recent purchase or inquiry lets a Canadian sender write for a time. DPV has no term for it.",
    ),
    ("contract", ("GDPR 6(1)(b)",), "eu-gdpr:A6-1-b-contract-performance", "Needed to perform the person's contract."),
    (
        "request_of_subject",
        ("GDPR 6(1)(b)",),
        "eu-gdpr:A6-1-b-enter-into-contract",
        "Steps the person asked for before a contract.",
    ),
    ("legal_obligation", ("GDPR 6(1)(c)",), "eu-gdpr:A6-1-c", "A law demands it of the shop."),
    (
        "legitimate_interest",
        ("GDPR 6(1)(f)", "GDPR 21"),
        "eu-gdpr:A6-1-f-controller",
        "The shop's interest outweighs the person's, until the person objects.",
    ),
    (
        "legal_claims",
        ("GDPR 17(3)(e)", "GDPR 18(2)"),
        None,
        "A permission, not an Art. 6 ground: data needed to establish, exercise or defend a claim may be kept and used."
        " DPV has no legal basis for it.",
    ),
    (
        "storage",
        ("GDPR 18(2)",),
        None,
        "A permission, not an Art. 6 ground: restricted data may be stored, and nothing else. DPV has no legal basis for it.",
    ),
    (
        "strictly_necessary",
        ("ePD 5(3)",),
        None,
        "A permission, not an Art. 6 ground: storing or reading what a service that the person asked for can't do"
        " without. DPV has no legal basis for it.",
    ),
)

STATUSES: Final = _terms(
    "event_state",
    ("asked", ("GDPR 7(2)",), "dpv:ConsentRequested", "The person was asked and has not answered."),
    ("refused", ("GDPR 4(11)",), "dpv:ConsentRefused", "The person said no."),
    (
        "unconfirmed",
        ("GDPR 7(1)",),
        None,
        "Given, and waiting for the confirmation that the policy asks for; not valid. DPV has no term for it.",
    ),
    ("given", ("GDPR 6(1)(a)", "GDPR 7"), "dpv:ConsentGiven", "Given and, where asked for, confirmed; valid."),
    (
        "renewed",
        ("EDPB 05/2020 para 111",),
        "dpv:RenewedConsentGiven",
        "Given again while an earlier one was live; valid.",
    ),
    ("expired", ("EDPB 05/2020 para 110",), "dpv:ConsentExpired", "Its own end, its age or lack of use ended it."),
    (
        "superseded",
        ("EDPB 05/2020 para 110", "WP260 para 29"),
        None,
        "The use changed materially after it was given; ended for that use. DPV has no term for it.",
    ),
    ("withdrawn", ("GDPR 7(3)",), "dpv:ConsentWithdrawn", "The person took it back."),
    ("revoked", ("GDPR 5(1)(e)",), "dpv:ConsentRevoked", "The shop ended it, not the person."),
    ("invalidated", ("GDPR 4(11)", "GDPR 7"), "dpv:ConsentInvalidated", "Found never to have been valid."),
    ("unknown", ("GDPR 7(1)",), "dpv:ConsentUnknown", "Nothing is known; not valid."),
)

PURPOSES: Final = _terms(
    "purpose",
    ("delivery", ("GDPR 6(1)(b)",), "dpv:DeliveryOfGoods", "Bringing an order to the customer."),
    ("order_admin", ("GDPR 6(1)(b)",), "dpv:CustomerOrderManagement", "Handling an order."),
    ("service_message", ("GDPR 6(1)(b)",), "dpv:FulfilmentOfContractualObligation", "Telling what concerns an order."),
    (
        "follow_up",
        ("GDPR 6(1)(b)", "GDPR 6(1)(f)"),
        "dpv:CommunicationForCustomerCare",
        "A neutral word after delivery.",
    ),
    ("answer_question", ("GDPR 6(1)(b)",), "dpv:CommunicationForCustomerCare", "Answering what the person asked."),
    ("legal_bookkeeping", ("GDPR 6(1)(c)", "Bogføringsloven 10"), "dpv:LegalCompliance", "Keeping accounts."),
    ("legal_safety_recall", ("GDPR 6(1)(c)", "GPSR 35(1)"), "dpv:LegalCompliance", "Warning of a dangerous product."),
    ("rights_handling", ("GDPR 6(1)(c)", "GDPR 12-22"), "dpv:RightsFulfilment", "Answering a request under GDPR."),
    ("complaint", ("GDPR 6(1)(b)", "Købeloven 83"), "dpv:CustomerClaimsManagement", "Handling a complaint."),
    (
        "return_exchange",
        ("GDPR 6(1)(b)", "Forbrugeraftaleloven 18-25"),
        "dpv:CustomerClaimsManagement",
        "Handling a return, an exchange or a withdrawal from the purchase.",
    ),
    ("marketing_newsletter", ("GDPR 6(1)(a)", "MFL 10(1)"), "dpv:DirectMarketing", "News and offers for everyone."),
    (
        "marketing_offers_profiled",
        ("GDPR 6(1)(a)", "MFL 10(1)"),
        "dpv:PersonalisedAdvertising",
        "Offers chosen by what the person has bought.",
    ),
    (
        "marketing_segmentation",
        ("GDPR 6(1)(a)", "GDPR 21(2)"),
        "dpv:PersonalisedAdvertising",
        "Sorting customers by what they have bought; a use of its own, also where nothing is sent.",
    ),
    ("marketing_post", ("GDPR 6(1)(f)", "MFL 10(4)"), "dpv:DirectMarketing", "Offers by letter."),
    ("marketing_phone", ("GDPR 6(1)(a)", "Forbrugeraftaleloven 4(1)"), "dpv:DirectMarketing", "Offers by phone call."),
    ("campaign_prize", ("GDPR 6(1)(a)",), None, "Finding and telling a winner. No DPV term is exact."),
    ("survey", ("GDPR 6(1)(a)", "GDPR 6(1)(f)"), None, "Asking what customers think. No DPV term is exact."),
    (
        "consent_confirmation",
        ("GDPR 6(1)(b)", "GDPR 7(1)"),
        None,
        "Asking once whether the person meant it, without marketing. DPV has no purpose for it.",
    ),
    (
        "consent_renewal_request",
        ("GDPR 6(1)(a)", "FO spam guidance 2021 ch. 7.4"),
        "dpv:DirectMarketing",
        "Asking somebody whose consent is live to renew it; marketing itself.",
    ),
    (
        "share_with_partner",
        ("GDPR 6(1)(a)",),
        None,
        "Handing data to a named partner. DPV names the act, not the purpose.",
    ),
    (
        "suppression_check",
        ("GDPR 6(1)(c)", "GDPR 21(3)"),
        "dpv:RightsFulfilment",
        "Keeping just enough to honour a no.",
    ),
    ("consent_proof", ("GDPR 7(1)", "GDPR 17(3)(e)"), "dpv:LegalCompliance", "Being able to show what was said."),
    ("legal_claims", ("GDPR 17(3)(e)",), None, "Pursuing or defending a claim. No DPV purpose is exact."),
    ("storage", ("GDPR 18(2)",), None, "Storing restricted data. DPV names the act, not the purpose."),
    ("cookies_necessary", ("ePD 5(3)",), None, "What the site can't work without. No DPV purpose is exact."),
    ("cookies_statistics", ("ePD 5(3)",), None, "Counting visits. No DPV purpose is exact."),
    ("cookies_preferences", ("ePD 5(3)",), None, "Remembering choices on a device. No DPV purpose is exact."),
    (
        "cookies_marketing",
        ("ePD 5(3)", "GDPR 6(1)(a)"),
        "dpv:PersonalisedAdvertising",
        "Following a device for marketing.",
    ),
    ("email_tracking", ("ePD 5(3)", "EDPB 2/2023"), None, "Seeing who opens and clicks. No DPV purpose is exact."),
)

CONDITIONS: Final = _terms(
    None,
    ("order_open", ("GDPR 6(1)(b)",), None, "An order is placed, and neither cancelled nor delivered nor closed."),
    (
        "order_current",
        ("GDPR 6(1)(b)",),
        None,
        "An order is placed, not cancelled or closed, until the complaint period after its delivery has ended.",
    ),
    (
        "order_delivered_recently",
        ("GDPR 6(1)(b)", "GDPR 6(1)(f)"),
        None,
        "An order was delivered, fewer days ago than the policy's window.",
    ),
    (
        "complaint_period",
        ("GDPR 6(1)(b)", "Købeloven 83"),
        None,
        "A complaint is open, or the complaint period after delivery has not ended.",
    ),
    (
        "withdrawal_period",
        ("GDPR 6(1)(b)", "Forbrugeraftaleloven 18-25"),
        None,
        "A return is registered and not closed, or the withdrawal period after delivery has not ended.",
    ),
    (
        "bookkeeping_period",
        ("GDPR 6(1)(c)", "Bogføringsloven 10"),
        None,
        "The years for which the law wants accounts kept, from the end of the order's financial year, have not passed.",
    ),
    (
        "product_in_use",
        ("GDPR 6(1)(c)", "GPSR 35(1)"),
        None,
        "The person has an order that was not cancelled, so that a dangerous product may be in use.",
    ),
    ("inquiry_open", ("GDPR 6(1)(b)",), None, "The person asked something, and the inquiry is not closed."),
    (
        "confirmation_pending",
        ("GDPR 6(1)(b)", "GDPR 7(1)"),
        None,
        "A consent waits for its confirmation, within the days for it, and the person was not asked before.",
    ),
    (
        "campaign_won",
        ("GDPR 6(1)(a)",),
        None,
        "The person joined the campaign, was drawn, has not withdrawn, and the days to claim the prize have not passed.",
    ),
    (
        "register_clear",
        ("GDPR 6(1)(f)", "MFL 10(4)"),
        None,
        "The newest issue of the opt-out register was checked and does not list the person.",
    ),
    ("claim_open", ("GDPR 17(3)(e)",), None, "A complaint or claim between the person and the shop is open."),
    (
        "proof_period",
        ("GDPR 5(1)(e)", "GDPR 7(1)", "EDPB 05/2020 para 107"),
        None,
        "The consent is in use, or the days for which its proof is kept have not passed since it ended.",
    ),
    ("restricted_storage", ("GDPR 18(2)",), None, "The person's data is restricted, so that it may be stored only."),
    ("suppression", ("GDPR 21(3)",), None, "Always: a no can be honoured only by looking it up."),
    ("always", ("GDPR 6(1)(c)",), None, "Always: a duty that does not depend on what happened before."),
    (
        "device_necessary",
        ("ePD 5(3)",),
        None,
        "The device asked for a service that can't be given without what is stored or read.",
    ),
)

MESSAGE_FIELDS: Final = {
    "marketing": "Whether the message advertises anything; undeclared denies where the use asks for it.",
    "unsubscribe": "Whether the message offers an easy and free way to stop.",
    "sender_identified": "Whether the message says who sends it.",
    "product_category": "The group of products the message is about.",
    "own_products": "Whether all the products are the shop's own.",
    "branded": "Whether the message promotes a brand by its look or words.",
    "partner": "The other company that would get the data.",
    "processor": "The company that handles the data for the shop, such as its mail service.",
    "kind": "What sort of message it is, such as `payment_failed` or `basket_reminder`.",
    "tracking": "Whether opening or clicking is recorded for each recipient.",
}

OBLIGATIONS: Final = {
    "include_unsubscribe": "Offer an easy and free way to stop in the message itself.",
    "identify_sender": "Say plainly who sends the message, with an address that works.",
    "recheck_at_send": "Ask again just before the hand-over; an answer is not valid past its `valid_until`.",
    "record_use": "Record the send, so that the passivity clock and the person's history are right.",
}
