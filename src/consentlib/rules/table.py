"""The rule table: every rule with its id, effect, what it reads, where it comes from, and its sentence.

A use is judged in three steps. **Bars** deny before any ground is looked at. **Grounds** allow; the first that holds carries
the use. **Limits** deny what the ground does not stretch to. A deny rule with a fact it can't establish denies
(`missing_fact`); a ground with such a fact does not hold. Rules never look at a use's name, only at what the policy says of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from attrs import field, frozen

from consentlib.policy.model import Policy, Use
from consentlib.rules.conditions import CONDITIONS, ORDER_CONDITIONS
from consentlib.rules.consent import STOP_REASONS, Consent, weigh
from consentlib.rules.decision import Message
from consentlib.rules.question import DAY, Found, Question

Test = Callable[[Question, Use], Found | str | None]
"""A deny rule gives `Found` (it denies) or None; a ground `Found` (it holds), the reason why not, or None (not offered)."""


@frozen
class Rule:
    """One rule. `reads` names the facts it needs; `text` is its sentence in English and Danish."""

    id: str
    effect: str
    reads: frozenset[str]
    cite: tuple[str, ...]
    text: Mapping[str, str] = field(eq=False)
    test: Test = field(eq=False, repr=False)


RULES: dict[str, Rule] = {}
"""Every rule by id."""


def _rule(id: str, effect: str, reads: str, cite: tuple[str, ...], en: str, da: str) -> Callable[[Test], Test]:
    def register(test: Test) -> Test:
        RULES[id] = Rule(id, effect, frozenset(reads.split()), cite, {"en": en, "da": da}, test)
        return test

    return register


# Bars.


@_rule(
    "no.unknown_subject",
    "deny",
    "entries",
    ("GDPR 5(2)",),
    "Nothing is allowed for somebody the ledger knows nothing about.",
    "Intet er tilladt for en person, som registret ikke kender.",
)
def _unknown(question: Question, _: Use) -> Found | None:
    if question.known:
        return None
    return Found("consent_missing" if (question.request.address or "").startswith("device:") else "unknown_subject")


@_rule(
    "no.erasure",
    "deny",
    "erased alive",
    ("GDPR 17(1)",),
    "What was erased carries nothing; only what the person does afterwards can.",
    "Det slettede kan intet bære; det kan kun, hvad personen gør bagefter.",
)
def _erased(question: Question, _: Use) -> Found | None:
    erased = question.erased
    if erased is None or erased > question.at:
        return None
    alive = any(fold.alive is not None and erased < fold.alive <= question.at for fold in question.folds)
    return None if alive else Found("erased", None, erased)


@_rule(
    "no.restriction",
    "deny",
    "restricted grants stops birthdate texts",
    ("GDPR 18(2)",),
    "While processing is restricted, only what the person agreed to since then may be done.",
    "Mens behandlingen er begrænset, må kun det ske, som personen siden har sagt ja til.",
)
def _restricted(question: Question, use: Use) -> Found | None:
    since = question.restricted()
    if since is None or _consent_since(question, use, since).grant is not None:
        return None
    return Found("restricted", None, since)


def _consent_since(question: Question, use: Use, since: int) -> Consent:
    """A consent for this use that was given after the restriction was set."""
    found = weigh(question, use)
    grant = found.grant
    return found if grant is not None and question.spoke(grant.said, grant.recorded) > since else Consent(None)


@_rule(
    "no.restriction_at_all",
    "deny",
    "restricted",
    ("GDPR 18(2)",),
    "Keeping records by law is storage; using them is not, and is restricted like everything else.",
    "At opbevare efter loven er opbevaring; at bruge er det ikke og er begrænset som alt andet.",
)
def _restricted_at_all(question: Question, _: Use) -> Found | None:
    since = question.restricted()
    return None if since is None else Found("restricted", None, since)


@_rule(
    "no.undeclared_content",
    "deny",
    "marketing branded",
    ("MFL 10(1)", "GDPR 5(2)"),
    "A message must say whether it carries marketing.",
    "Det skal oplyses, om en besked indeholder markedsføring.",
)
def _undeclared(question: Question, use: Use) -> Found | None:
    message = question.message
    if use.declare_marketing and message.marketing is None and question.channel != "none":
        return Found("missing_fact")
    if message.branded is None and "survey" in use.objections and "legitimate_interest" in use.grounds:
        return Found("missing_fact")
    return None


def carries_marketing(message: Message, use: Use) -> bool:
    """Whether a message of this use is judged as marketing instead."""
    return not use.marketing and bool(message.marketing or (message.branded and "survey" in use.objections))


MIXED: Final = "mixed_content"
"""The reason of the rule below, on which the judge asks again as marketing."""


@_rule(
    "no.mixed_content",
    "deny",
    "marketing branded",
    ("MFL 10(1)", "FO spam guidance 2021 ch. 6.2"),
    "Marketing in a service message is marketing, and needs its ground.",
    "Markedsføring i en servicebesked er markedsføring og kræver grundlag som sådan.",
)
def _mixed(question: Question, use: Use) -> Found | None:
    return Found(MIXED) if carries_marketing(question.message, use) else None


@_rule(
    "no.stop",
    "deny",
    "stops grants birthdate texts",
    ("GDPR 7(3)", "GDPR 21(1)-(3)", "MFL 10(1)"),
    "A no stays a no until the person gives a new, valid consent.",
    "Et nej er et nej, indtil personen giver et nyt, gyldigt samtykke.",
)
def _stopped(question: Question, use: Use) -> Found | None:
    if not question.stops:
        return None
    stop = weigh(question, use).stop
    return None if stop is None else Found(STOP_REASONS[stop.kind], stop.index, stop.since)


# Grounds.


@_rule(
    "consent.during_restriction",
    "allow",
    "restricted grants stops birthdate texts",
    ("GDPR 18(2)",),
    "The person agreed to this after restricting the processing.",
    "Personen har sagt ja til dette efter at have begrænset behandlingen.",
)
def _during_restriction(question: Question, use: Use) -> Found | None:
    since = question.restricted()
    if since is None:
        return None
    found = _consent_since(question, use, since)
    if found.grant is None:
        return None
    return Found("consent_during_restriction", found.grant.index, found.grant.said, found.until)


@_rule(
    "consent.valid",
    "allow",
    "grants stops birthdate texts",
    ("GDPR 6(1)(a)", "GDPR 7", "MFL 10(1)"),
    "A proven, confirmed and live consent covers the use, channel, company and address.",
    "Et dokumenteret, bekræftet og gældende samtykke dækker anvendelsen, kanalen, virksomheden og adressen.",
)
def _consented(question: Question, use: Use) -> Found | str:
    found = weigh(question, use)
    if found.grant is None:
        return found.reason
    return Found("consent_valid", found.grant.index, found.grant.said, found.until)


@_rule(
    "soft_opt_in.valid",
    "allow",
    "orders negotiations birthdate own_products product_category",
    ("ePD 13(2)", "MFL 10(2)", "C-654/23"),
    "A customer who was offered a way to decline at the sale may be told of the shop's own similar goods.",
    "En kunde, der ved købet kunne sige nej tak, må få tilbud om butikkens egne tilsvarende varer.",
)
def _soft_opt_in(question: Question, use: Use) -> Found | str | None:
    parameters = question.policy.parameters
    if question.channel not in parameters.soft_opt_in_channels:
        return None
    sales = [
        (order.category, order.placed or 0, order.index)
        for order in question.orders(bound=True)
        if order.offered and not order.declined and not question.had(order.cancelled)
    ]
    if question.policy.profile.soft_opt_in_negotiation:
        sales += [
            (one.category, one.said, one.index)
            for one in question.own.negotiations
            if one.offered and question.spoke(one.said, one.recorded) <= question.at
        ]
    if not sales:
        return None
    if question.minor_on(question.at):
        return "minor_without_parent"
    message = question.message
    if message.own_products is None:
        return "missing_fact"
    if not message.own_products or question.controller != question.policy.controller:
        return "soft_opt_in_not_own"
    kept = parameters.soft_opt_in_max_days * DAY
    fresh = [sale for sale in sales if question.at < sale[1] + kept]
    if not fresh:
        return "soft_opt_in_stale"
    if message.product_category is None:
        return "missing_fact"
    similar = [sale for sale in fresh if sale[0] == message.product_category]
    if not similar:
        return "soft_opt_in_not_similar"
    _, placed, index = max(similar, key=lambda sale: sale[1])
    return Found("soft_opt_in_valid", index, placed, placed + kept)


@_rule(
    "implied_consent.valid",
    "allow",
    "orders inquiries birthdate",
    ("CASL 10(9)-(10)",),
    "Where the country's law implies consent, a recent purchase or question carries it.",
    "Hvor landets lov forudsætter samtykke, bærer et nyligt køb eller spørgsmål det.",
)
def _implied(question: Question, _: Use) -> Found | str | None:
    profile = question.policy.profile
    if not profile.implied or question.controller != question.policy.controller:
        return None
    reasons = [
        (order.placed or 0, profile.implied_purchase_days, order.index)
        for order in question.orders(bound=True)
        if not question.had(order.cancelled)
    ]
    asked = question.own.asked
    if asked is not None and question.spoke(asked[0], asked[1]) <= question.at:
        reasons.append((asked[0], profile.implied_inquiry_days, asked[2]))
    if not reasons:
        return None
    if question.minor_on(question.at):
        return "minor_without_parent"
    until, said, index = max((said + days * DAY, said, index) for said, days, index in reasons)
    return Found("implied_consent_valid", index, said, until) if question.at < until else "implied_consent_expired"


_CONDITION_TEXTS: Final = {
    "order_open": ("orders", ("GDPR 6(1)(b)",), "An order is on its way.", "En ordre er undervejs."),
    "order_current": (
        "orders",
        ("GDPR 6(1)(b)",),
        "An order is in hand, or its complaint period runs.",
        "En ordre er i gang, eller dens reklamationsfrist løber.",
    ),
    "order_delivered_recently": (
        "orders",
        ("GDPR 6(1)(b)", "GDPR 6(1)(f)", "FO 16/06125"),
        "Goods were delivered a short while ago.",
        "Varer er leveret for kort tid siden.",
    ),
    "complaint_period": (
        "orders",
        ("GDPR 6(1)(b)", "Købeloven § 83"),
        "The period for complaints runs, or one that came in time is open.",
        "Reklamationsfristen løber, eller en rettidig reklamation er åben.",
    ),
    "withdrawal_period": (
        "orders",
        ("GDPR 6(1)(b)", "Forbrugeraftaleloven § 18 ff."),
        "The right to return runs, or a return that came in time is open.",
        "Fortrydelsesfristen løber, eller en rettidig retur er åben.",
    ),
    "bookkeeping_period": (
        "orders",
        ("GDPR 6(1)(c)", "Bogføringsloven"),
        "Vouchers are kept for the years the law asks for.",
        "Bilag opbevares i de år, loven kræver.",
    ),
    "product_in_use": (
        "orders",
        ("GDPR 6(1)(c)", "GPSR 2023/988 art. 35"),
        "A buyer is warned of dangerous goods.",
        "En køber advares om farlige varer.",
    ),
    "inquiry_open": (
        "inquiries",
        ("GDPR 6(1)(b)",),
        "A question waits for an answer.",
        "Et spørgsmål venter på svar.",
    ),
    "confirmation_pending": (
        "grants stops",
        ("GDPR 6(1)(b)", "GDPR 7(1)"),
        "A sign-up waits for its one confirmation.",
        "En tilmelding venter på sin ene bekræftelse.",
    ),
    "campaign_won": (
        "campaigns stops birthdate",
        ("GDPR 6(1)(a)",),
        "The person won a prize that can still be claimed.",
        "Personen har vundet en præmie, der stadig kan gøres krav på.",
    ),
    "register_clear": (
        "registers birthdate",
        ("GDPR 6(1)(f)", "MFL 10(4)"),
        "The person is in no register of those who decline letters, looked up lately.",
        "Personen står ikke i Robinsonlisten, som er slået op for nylig.",
    ),
    "claim_open": (
        "orders",
        ("GDPR 17(3)(e)", "GDPR 18(2)"),
        "A claim is open.",
        "Et krav er åbent.",
    ),
    "proof_period": (
        "grants stops birthdate texts",
        ("GDPR 7(1)", "GDPR 17(3)(e)", "EDPB 05/2020 para 107"),
        "Proof of a consent is kept while it is used and for a period afterwards.",
        "Dokumentation for et samtykke gemmes, mens det bruges, og en periode derefter.",
    ),
    "restricted_storage": (
        "restricted",
        ("GDPR 18(2)",),
        "Restricted data may be stored.",
        "Begrænsede data må opbevares.",
    ),
    "suppression": (
        "",
        ("GDPR 6(1)(c)", "GDPR 21(3)"),
        "A no may be kept in order to honour it.",
        "Et nej må gemmes for at blive overholdt.",
    ),
    "always": (
        "",
        ("GDPR 6(1)(c)", "GDPR 12"),
        "A request about one's rights is always handled.",
        "En henvendelse om ens rettigheder bliver altid behandlet.",
    ),
    "device_necessary": (
        "",
        ("ePD 5(3)",),
        "What a service cannot work without needs no consent on the device.",
        "Det, en tjeneste ikke kan virke uden, kræver ikke samtykke på enheden.",
    ),
}

for _name, (_reads, _cite, _en, _da) in _CONDITION_TEXTS.items():
    _rule(_name, "allow", _reads, _cite, _en, _da)(CONDITIONS[_name])


# Limits.


@_rule(
    "only.channel",
    "deny",
    "",
    ("GDPR 5(1)(b)",),
    "A use goes out only by the channels the policy gives it.",
    "En anvendelse sker kun ad de kanaler, politikken giver den.",
)
def _channel(question: Question, use: Use) -> Found | None:
    return None if use.permits(question.channel) else Found("unknown_channel")


@_rule(
    "only.data",
    "deny",
    "",
    ("GDPR 5(1)(c)", "GDPR 9"),
    "A use may read only the categories of data the policy gives it.",
    "En anvendelse må kun bruge de datakategorier, politikken giver den.",
)
def _data(question: Question, use: Use) -> Found | None:
    data = question.request.data
    return None if not data or use.data.issuperset(data) else Found("data_category_not_permitted")


@_rule(
    "only.processor",
    "deny",
    "processor",
    ("GDPR 28", "GDPR 4(11)"),
    "Only a processor the policy names may send; anybody else is a partner and needs consent.",
    "Kun en databehandler, som politikken nævner, må sende; enhver anden er en partner og kræver samtykke.",
)
def _processor(question: Question, _: Use) -> Found | None:
    processor = question.message.processor
    return None if processor is None or processor in question.policy.processors else Found("consent_missing")


@_rule(
    "only.with_footer",
    "deny",
    "unsubscribe sender_identified",
    ("MFL 10(2)-(3)", "ePD 13(4)"),
    "Marketing shows its sender and a way to stop it.",
    "Markedsføring viser sin afsender og en måde at stoppe den på.",
)
def _footer(question: Question, use: Use) -> Found | None:
    if not (use.marketing and use.declare_marketing) or question.channel in ("none", "device"):
        return None
    message = question.message
    return None if message.unsubscribe and message.sender_identified else Found("message_obligation_unmet")


@_rule(
    "only.without_tracking",
    "deny",
    "tracking grants stops birthdate texts",
    ("ePD 5(3)", "EDPB 2/2023"),
    "Pixels and tracked links need a consent of their own.",
    "Sporingspixels og sporede links kræver deres eget samtykke.",
)
def _tracking(question: Question, _: Use) -> Found | None:
    if not question.message.tracking or _tracked(question).grant is not None:
        return None
    return Found("tracking_not_consented")


def _tracked(question: Question) -> Consent:
    use = question.policy.use(question.policy.tracking_use or "")
    return Consent(None) if use is None else weigh(question, use)


def tracking_until(question: Question) -> int | None:
    """Until when the consent to tracking lasts that a message relies on."""
    return _tracked(question).until


def lacking(question: Question, use: Use, rule: Rule) -> str:
    """The fact that a rule missed: one that can't be established, else the first of those it asks for that was not stated."""
    unknown = sorted(question.held.unknown & rule.reads)
    if unknown:
        return unknown[0]
    declares = use.declare_marketing and question.channel != "none"
    for name in ("marketing", "branded", "own_products", "product_category"):
        if name in rule.reads and getattr(question.message, name) is None and (name != "marketing" or declares):
            return name
    return "campaign" if "campaigns" in rule.reads else "order"


# What applies to a use.

_FREE: Final = frozenset({"device_necessary", "always", "suppression"})
_BY_LAW: Final = frozenset({"restricted_storage", "bookkeeping_period", "proof_period", "product_in_use"})
_OUTLASTING: Final = _BY_LAW | {"claim_open"}
_ELECTIVE: Final = frozenset({"consent", "soft_opt_in", "implied_consent", "legitimate_interest"})


@frozen(eq=False)
class Plan:
    """The rules that apply to a use, in order."""

    use: Use
    bars: tuple[Rule, ...]
    grounds: tuple[tuple[str, Rule], ...]
    limits: tuple[Rule, ...]
    orders: bool
    """Whether any of them reads orders."""


def plan(policy: Policy, use: Use) -> Plan:
    """Which rules judge a use, from what the policy says of it: its grounds, conditions and marks, never its name."""
    conditions = set(use.conditions.values())
    bars: list[str] = []
    if not conditions & _FREE:
        bars.append("no.unknown_subject")
        if not conditions & _OUTLASTING:
            bars += ["no.erasure", "no.restriction"]
        elif conditions & _BY_LAW and "restricted_storage" not in conditions:
            bars.append("no.restriction_at_all")
    bars.append("no.undeclared_content")
    if not use.marketing:
        bars.append("no.mixed_content")
    if not _ELECTIVE.isdisjoint(use.grounds) and "campaign_won" not in conditions:
        bars.append("no.stop")
    grounds: list[tuple[str, Rule]] = []
    if "no.restriction" in bars:
        grounds.append(("consent", RULES["consent.during_restriction"]))
    for ground in use.grounds:
        condition = use.conditions.get(ground)
        grounds.append((ground, RULES[condition or f"{ground}.valid"]))
    limits = ["only.channel", "only.data", "only.processor", "only.with_footer", "only.without_tracking"]
    reads_orders = bool(conditions & ORDER_CONDITIONS) or (
        "soft_opt_in" in use.grounds and bool(policy.parameters.soft_opt_in_channels)
    )
    reads_orders = reads_orders or ("implied_consent" in use.grounds and policy.profile.implied)
    return Plan(
        use,
        tuple(RULES[name] for name in bars),
        tuple(grounds),
        tuple(RULES[name] for name in limits),
        reads_orders,
    )
