"""Every reason code of a decision, with its sentences for the shop and for the person, in English and Danish.

The codes are stable: shops branch on them, cases name them, and the audit report counts them. Citations are written as in
`terms`. Nothing here is legal advice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import frozen


@frozen
class Reason:
    """Why a use is or is not allowed. The texts have the keys `en` and `da` and hold no placeholder.

    `shop` is for the shop's staff, `person` fit for the data subject (GDPR 12(1), 15), `repair` the nearest thing that
    would lift a denial: `None` for an allow, and where nothing the shop does could.
    """

    code: str
    allows: bool
    cite: tuple[str, ...]
    shop: Mapping[str, str]
    person: Mapping[str, str]
    repair: str | None


def _yes(code: str, cite: tuple[str, ...], shop: tuple[str, str], person: tuple[str, str]) -> Reason:
    return Reason(code, True, cite, _texts(shop), _texts(person), None)


def _no(code: str, cite: tuple[str, ...], repair: str | None, shop: tuple[str, str], person: tuple[str, str]) -> Reason:
    return Reason(code, False, cite, _texts(shop), _texts(person), repair)


def _texts(pair: tuple[str, str]) -> dict[str, str]:
    return {"en": pair[0], "da": pair[1]}


_CONSENT: Final = ("GDPR 6(1)(a)", "GDPR 7")
_DOUBT: Final = ("GDPR 5(2)", "GDPR 25(2)")
_NEW_CONSENT: Final = "a new confirmed consent for this use and channel"
_DOUBT_PERSON: Final = (
    "The shop could not be sure that it may use your data for this, so it did not.",
    "Butikken kunne ikke være sikker på, at den måtte bruge dine oplysninger til dette, så den lod være.",
)

_ALLOW: Final = (
    _yes(
        "campaign_winner",
        ("GDPR 6(1)(a)",),
        (
            "The person won the campaign and the prize can still be claimed.",
            "Personen har vundet konkurrencen, og præmien kan stadig hentes.",
        ),
        (
            "You took part in a competition and won, so the shop contacts you about the prize.",
            "Du deltog i en konkurrence og vandt, så butikken kontakter dig om præmien.",
        ),
    ),
    _yes(
        "claim_open",
        ("GDPR 17(3)(e)",),
        (
            "A claim is open, and the data is needed for it.",
            "Der er en åben sag, og oplysningerne er nødvendige for den.",
        ),
        (
            "The shop keeps and uses the data because a claim between you and the shop is open.",
            "Butikken gemmer og bruger oplysningerne, fordi der er en åben sag mellem dig og butikken.",
        ),
    ),
    _yes(
        "complaint_open",
        ("GDPR 6(1)(b)",),
        ("A complaint about this order is open.", "Der er en åben reklamation på denne ordre."),
        (
            "You have an open complaint, and the shop uses the data to handle it.",
            "Du har en åben reklamation, og butikken bruger oplysningerne til at behandle den.",
        ),
    ),
    _yes(
        "consent_during_restriction",
        ("GDPR 18(2)", "GDPR 6(1)(a)"),
        (
            "The person's data is restricted, but the person agreed to this use afterwards.",
            "Personens oplysninger er begrænset, men personen har siden sagt ja til netop denne brug.",
        ),
        (
            "You limited the use of your data and later agreed to this use.",
            "Du har fået brugen af dine oplysninger begrænset, men har siden sagt ja til netop denne brug.",
        ),
    ),
    _yes(
        "consent_valid",
        _CONSENT,
        ("A valid consent covers this use and channel.", "Et gyldigt samtykke dækker denne brug og kanal."),
        (
            "You agreed to this use, and you can withdraw your consent at any time.",
            "Du har sagt ja til denne brug, og du kan når som helst trække dit samtykke tilbage.",
        ),
    ),
    _yes(
        "contract_open",
        ("GDPR 6(1)(b)",),
        (
            "An order is under way, and the use is needed to fulfil it.",
            "En ordre er i gang, og brugen er nødvendig for at opfylde den.",
        ),
        (
            "You have an order with the shop, and the data is needed to fulfil it.",
            "Du har en ordre hos butikken, og oplysningerne er nødvendige for at opfylde den.",
        ),
    ),
    _yes(
        "follow_up_window",
        ("GDPR 6(1)(b)", "GDPR 6(1)(f)"),
        (
            "The order was delivered recently enough for a neutral follow-up.",
            "Ordren er leveret for så kort tid siden, at en neutral opfølgning er tilladt.",
        ),
        (
            "The shop follows up on an order that you received recently.",
            "Butikken følger op på en ordre, som du har modtaget for nylig.",
        ),
    ),
    _yes(
        "implied_consent_valid",
        ("CASL 10(9)",),
        (
            "A recent purchase or inquiry counts as implied consent.",
            "Et nyligt køb eller en nylig henvendelse tæller som stiltiende samtykke.",
        ),
        (
            "You bought something or asked about it recently, and the shop may write to you for a limited time.",
            "Du har for nylig købt noget eller spurgt om det, og butikken må skrive til dig i en begrænset periode.",
        ),
    ),
    _yes(
        "inquiry_open",
        ("GDPR 6(1)(b)",),
        ("The person's inquiry is still open.", "Personens henvendelse er stadig åben."),
        (
            "You asked the shop something, and the data is used to answer you.",
            "Du har henvendt dig til butikken, og oplysningerne bruges til at svare dig.",
        ),
    ),
    _yes(
        "not_objected",
        ("GDPR 6(1)(f)", "MFL 10(4)"),
        (
            "The person has not objected, and no register stands in the way.",
            "Personen har ikke gjort indsigelse, og intet register står i vejen.",
        ),
        (
            "The shop relies on its legitimate interest, and you can object at any time.",
            "Butikken bygger på sin legitime interesse, og du kan når som helst gøre indsigelse.",
        ),
    ),
    _yes(
        "pending_confirmation",
        ("GDPR 6(1)(b)", "GDPR 7(1)"),
        (
            "The consent waits for confirmation, and the person may be asked once.",
            "Samtykket mangler at blive bekræftet, og personen må spørges én gang.",
        ),
        (
            "You signed up, and the shop asks you once to confirm it.",
            "Du har tilmeldt dig, og butikken beder dig én gang om at bekræfte det.",
        ),
    ),
    _yes(
        "restricted_storage",
        ("GDPR 18(2)",),
        (
            "The data is restricted and may be stored, but not used.",
            "Oplysningerne er begrænset og må opbevares, men ikke bruges.",
        ),
        (
            "The use of your data is limited, and the shop only stores it.",
            "Brugen af dine oplysninger er begrænset, og butikken opbevarer dem kun.",
        ),
    ),
    _yes(
        "return_open",
        ("GDPR 6(1)(b)",),
        ("A return or exchange of this order is open.", "Der er en åben returnering eller ombytning på denne ordre."),
        (
            "You have an open return or exchange, and the data is used to handle it.",
            "Du har en åben returnering eller ombytning, og oplysningerne bruges til at behandle den.",
        ),
    ),
    _yes(
        "soft_opt_in_valid",
        ("ePD 13(2)", "MFL 10(2)", "C-654/23"),
        (
            "The customer bought something similar and did not decline marketing.",
            "Kunden har købt noget tilsvarende og har ikke sagt nej til markedsføring.",
        ),
        (
            "You bought something and did not decline, so the shop may tell you of its similar products until you say no.",
            "Du har købt noget og ikke sagt nej, så butikken må fortælle dig om egne tilsvarende"
            " produkter, indtil du siger nej.",
        ),
    ),
    _yes(
        "statutory_duty",
        ("GDPR 6(1)(c)",),
        ("The law demands this use.", "Loven kræver denne brug."),
        (
            "The shop must use the data this way to meet a legal duty.",
            "Butikken skal bruge oplysningerne sådan for at opfylde en pligt efter loven.",
        ),
    ),
    _yes(
        "strictly_necessary",
        ("ePD 5(3)",),
        (
            "It is strictly necessary for the service that was asked for.",
            "Det er strengt nødvendigt for den tjeneste, der er bedt om.",
        ),
        (
            "The site can't give you the service you asked for without it.",
            "Siden kan ikke levere den tjeneste, du har bedt om, uden det.",
        ),
    ),
    _yes(
        "suppression_kept",
        ("GDPR 6(1)(c)", "GDPR 21(3)"),
        ("The address may be looked up in order to respect a no.", "Adressen må slås op for at respektere et nej."),
        (
            "The shop keeps as little as possible so that it can respect a no from you.",
            "Butikken gemmer så lidt som muligt for at kunne respektere et nej fra dig.",
        ),
    ),
    _yes(
        "survey_window",
        ("GDPR 6(1)(f)",),
        ("The survey is neutral and close to a purchase.", "Undersøgelsen er neutral og ligger tæt på et køb."),
        (
            "The shop asks what you think of a recent purchase, and you can decline.",
            "Butikken spørger, hvad du synes om et nyligt køb, og du kan sige nej.",
        ),
    ),
    _yes(
        "within_complaint_period",
        ("GDPR 6(1)(b)", "Købeloven 83"),
        ("The complaint period after delivery has not ended.", "Reklamationsfristen efter leveringen er ikke udløbet."),
        (
            "You can still complain about your purchase, and the data is kept for that.",
            "Du kan stadig reklamere over dit køb, og oplysningerne gemmes til det.",
        ),
    ),
    _yes(
        "within_proof_period",
        ("GDPR 7(1)", "GDPR 17(3)(e)", "EDPB 05/2020 para 107"),
        ("The proof of the consent may still be kept.", "Dokumentationen for samtykket må stadig gemmes."),
        (
            "The shop keeps proof of your consent for a limited time.",
            "Butikken gemmer dokumentation for dit samtykke i en begrænset periode.",
        ),
    ),
    _yes(
        "within_statutory_period",
        ("GDPR 6(1)(c)", "Bogføringsloven 10"),
        (
            "The law demands that this is kept, and the period has not ended.",
            "Loven kræver, at dette gemmes, og perioden er ikke udløbet.",
        ),
        (
            "The law demands that the shop keeps the data for a number of years.",
            "Loven kræver, at butikken gemmer oplysningerne i en årrække.",
        ),
    ),
    _yes(
        "within_withdrawal_period",
        ("GDPR 6(1)(b)", "Forbrugeraftaleloven 18-25"),
        ("The right to cancel the purchase has not ended.", "Fortrydelsesfristen er ikke udløbet."),
        (
            "You can still cancel your purchase, and the data is kept for that.",
            "Du kan stadig fortryde dit køb, og oplysningerne gemmes til det.",
        ),
    ),
)

_DENY: Final = (
    _no(
        "already_asked",
        ("GDPR 7", "MFL 10(1)"),
        "the person confirms, or signs up again",
        (
            "The person was already asked to confirm and is not asked again.",
            "Personen er allerede bedt om at bekræfte og bliver ikke spurgt igen.",
        ),
        (
            "The shop has asked you once to confirm and does not ask again.",
            "Butikken har én gang bedt dig om at bekræfte og spørger ikke igen.",
        ),
    ),
    _no(
        "campaign_closed",
        ("GDPR 6(1)(a)", "GDPR 5(1)(e)"),
        None,
        ("The campaign is over for this person.", "Konkurrencen er slut for denne person."),
        (
            "The competition is over for you, so the shop no longer uses the data for it.",
            "Konkurrencen er slut for dit vedkommende, så butikken bruger ikke længere oplysningerne til den.",
        ),
    ),
    _no(
        "consent_channel_mismatch",
        (*_CONSENT, "FO spam guidance 2021 ch. 7.2"),
        "a confirmed consent that names this channel",
        ("There is a consent, but for another channel.", "Der er et samtykke, men til en anden kanal."),
        (
            "You agreed to be contacted in another way, not in this one.",
            "Du har sagt ja til at blive kontaktet på en anden måde, ikke på denne.",
        ),
    ),
    _no(
        "consent_controller_mismatch",
        (*_CONSENT, "GDPR 4(11)"),
        "a confirmed consent that names this company",
        ("There is a consent, but for another company.", "Der er et samtykke, men til en anden virksomhed."),
        (
            "You agreed to this for another company, not for this one.",
            "Du har sagt ja over for en anden virksomhed, ikke denne.",
        ),
    ),
    _no(
        "consent_expired",
        ("EDPB 05/2020 para 110", "FO spam guidance 2021 ch. 11.3"),
        _NEW_CONSENT,
        (
            "The consent has expired by its own end, its age or lack of use.",
            "Samtykket er bortfaldet, fordi det er udløbet, for gammelt eller ikke er blevet brugt.",
        ),
        ("Your consent has expired and is no longer used.", "Dit samtykke er bortfaldet og bruges ikke længere."),
    ),
    _no(
        "consent_future",
        _DOUBT,
        "the time at which the consent was given is reached, or its time is corrected",
        (
            "The consent is dated in the future, so it does not count yet.",
            "Samtykket er dateret i fremtiden, så det tæller ikke endnu.",
        ),
        (
            "The shop's record of your consent has a time that has not come yet, so it is not used.",
            "Butikkens registrering af dit samtykke har et tidspunkt, der ligger i fremtiden, så det bruges ikke endnu.",
        ),
    ),
    _no(
        "consent_identifier_mismatch",
        _CONSENT,
        "a confirmed consent for this very address",
        (
            "There is a consent, but for another address or number of the person.",
            "Der er et samtykke, men til en anden adresse eller et andet nummer, som personen har.",
        ),
        (
            "You agreed to this for another address or number, not for this one.",
            "Du har sagt ja for en anden adresse eller et andet nummer, ikke for dette.",
        ),
    ),
    _no(
        "consent_invalid_form",
        ("GDPR 4(11)", "GDPR 7", "C-673/17", "C-61/19"),
        "a new consent through a form that meets the conditions",
        (
            "The form by which the consent was asked does not meet the conditions.",
            "Formularen, som samtykket blev indhentet med, opfylder ikke betingelserne.",
        ),
        (
            "The way in which you were asked does not meet the law's conditions, so the shop does not use your answer.",
            "Måden, du blev spurgt på, opfylder ikke lovens betingelser, så butikken bruger ikke dit svar.",
        ),
    ),
    _no(
        "consent_missing",
        _CONSENT,
        _NEW_CONSENT,
        ("There is no consent for this use.", "Der er intet samtykke til denne brug."),
        ("You have not agreed to this use.", "Du har ikke sagt ja til denne brug."),
    ),
    _no(
        "consent_purpose_mismatch",
        (*_CONSENT, "GDPR 5(1)(b)"),
        "a confirmed consent that names this use",
        ("There is a consent, but for another use.", "Der er et samtykke, men til en anden brug."),
        ("You agreed to another use, not to this one.", "Du har sagt ja til en anden brug, ikke til denne."),
    ),
    _no(
        "consent_refused",
        ("GDPR 4(11)", "GDPR 7"),
        "a later consent that the person gives unasked",
        ("The person was asked and said no.", "Personen er blevet spurgt og har sagt nej."),
        ("You were asked and said no.", "Du er blevet spurgt og har sagt nej."),
    ),
    _no(
        "consent_unconfirmed",
        ("GDPR 7(1)",),
        "the person confirms from the same address in time, or signs up again",
        ("The consent was not confirmed.", "Samtykket er ikke blevet bekræftet."),
        (
            "You signed up but did not confirm it, so the shop does not use it.",
            "Du har tilmeldt dig, men ikke bekræftet det, så butikken bruger det ikke.",
        ),
    ),
    _no(
        "consent_unproven",
        ("GDPR 7(1)", "EDPB 05/2020 para 108"),
        "proof of the consent and of its text, or a new confirmed consent",
        (
            "The shop can't prove this consent or the text it was given on.",
            "Butikken kan ikke dokumentere samtykket eller den tekst, det blev givet på.",
        ),
        (
            "The shop can't prove that you agreed, so it does not use the consent.",
            "Butikken kan ikke dokumentere, at du har sagt ja, så den bruger ikke samtykket.",
        ),
    ),
    _no(
        "consent_version_superseded",
        ("EDPB 05/2020 para 110", "WP260 para 29"),
        "a confirmed consent on the current text",
        (
            "The use has changed materially since the consent was given.",
            "Brugen er ændret væsentligt, siden samtykket blev givet.",
        ),
        (
            "What you agreed to has changed, so the shop needs a new answer from you.",
            "Det, du sagde ja til, er ændret, så butikken skal have et nyt svar fra dig.",
        ),
    ),
    _no(
        "consent_withdrawn",
        ("GDPR 7(3)", "MFL 10(1)"),
        _NEW_CONSENT,
        ("The person has withdrawn the consent.", "Personen har trukket samtykket tilbage."),
        ("You have withdrawn your consent.", "Du har trukket dit samtykke tilbage."),
    ),
    _no(
        "data_category_not_permitted",
        ("GDPR 5(1)(c)", "GDPR 25(2)"),
        "ask only for the data that the policy lists for this use",
        (
            "The use asks for data that the policy does not allow for it.",
            "Brugen kræver oplysninger, som politikken ikke tillader til den.",
        ),
        (
            "More of your data was asked for than this use needs, so it was refused.",
            "Der blev bedt om flere af dine oplysninger, end denne brug kræver, så det blev afvist.",
        ),
    ),
    _no(
        "erased",
        ("GDPR 17(1)",),
        "a new consent, order or inquiry from the person",
        ("The person's data has been erased.", "Personens oplysninger er slettet."),
        ("Your data has been erased.", "Dine oplysninger er slettet."),
    ),
    _no(
        "implied_consent_expired",
        ("CASL 10(9)",),
        "an express consent, or a new purchase or inquiry",
        (
            "The purchase or inquiry is too long ago to count as implied consent.",
            "Købet eller henvendelsen ligger for langt tilbage til at tælle som stiltiende samtykke.",
        ),
        (
            "Your purchase or inquiry is so long ago that the shop may no longer write to you because of it.",
            "Dit køb eller din henvendelse ligger så langt tilbage, at butikken ikke længere må"
            " skrive til dig på grund af det.",
        ),
    ),
    _no(
        "invalid_address",
        _DOUBT,
        "an address in a form that can be read",
        (
            "The address can't be read as an e-mail address, phone number or other known address.",
            "Adressen kan ikke læses som en e-mailadresse, et telefonnummer eller en anden kendt adresse.",
        ),
        (
            "The address that the shop has for you can't be read, so it is not used.",
            "Den adresse, butikken har på dig, kan ikke læses, så den bruges ikke.",
        ),
    ),
    _no(
        "invalid_time",
        _DOUBT,
        "ask with a time that has a zone and is not absurd",
        ("The question has no usable time.", "Forespørgslen har ikke et brugbart tidspunkt."),
        _DOUBT_PERSON,
    ),
    _no(
        "ledger_unavailable",
        _DOUBT,
        "ask again when the ledger can be read",
        ("The ledger can't be read now.", "Loggen kan ikke læses lige nu."),
        _DOUBT_PERSON,
    ),
    _no(
        "ledger_unverified",
        _DOUBT,
        "find out why verification failed, and verify the ledger",
        (
            "The ledger is not verified, so nothing in it allows anything.",
            "Loggen er ikke verificeret, så intet i den giver lov til noget.",
        ),
        _DOUBT_PERSON,
    ),
    _no(
        "message_obligation_unmet",
        ("MFL 10(3)", "ePD 13(4)"),
        "offer a way to stop in the message, and say who sends it",
        (
            "The message lacks a way to stop or a clear sender.",
            "Beskeden mangler en mulighed for at framelde sig eller en tydelig afsender.",
        ),
        (
            "The message did not tell you how to stop or who sent it, so it was not allowed.",
            "Beskeden fortalte ikke, hvordan du framelder dig, eller hvem der sendte den, så den var ikke tilladt.",
        ),
    ),
    _no(
        "minor_without_parent",
        ("GDPR 8", "DBL 6"),
        "a consent from the holder of parental responsibility",
        ("The person is a child, and no parent has agreed.", "Personen er et barn, og ingen forælder har sagt ja."),
        (
            "You are under the age at which you can agree to this without a parent.",
            "Du er under den alder, hvor du selv kan sige ja til dette uden en forælder.",
        ),
    ),
    _no(
        "missing_fact",
        _DOUBT,
        "state what is missing, such as the order, or whether the message is marketing",
        (
            "Something that the rules need was not stated, such as the order or whether the message is marketing.",
            "Noget, som reglerne kræver, er ikke oplyst, for eksempel ordren, eller om beskeden er markedsføring.",
        ),
        _DOUBT_PERSON,
    ),
    _no(
        "mixed_content",
        ("MFL 10(1)", "FO spam guidance 2021 ch. 6.2"),
        "take the marketing out of the message, or have a ground for marketing",
        (
            "The message mixes marketing into something else, and marketing is not allowed.",
            "Beskeden blander markedsføring ind i noget andet, og markedsføring er ikke tilladt.",
        ),
        (
            "The message contained marketing that the shop may not send you.",
            "Beskeden indeholdt markedsføring, som butikken ikke må sende dig.",
        ),
    ),
    _no(
        "no_ground",
        ("GDPR 6(1)", "MFL 10(1)"),
        "a ground for this use, such as a new confirmed consent",
        ("Nothing allows this use for this person.", "Intet giver lov til denne brug for denne person."),
        (
            "The shop has no legal ground to use your data for this.",
            "Butikken har intet retligt grundlag for at bruge dine oplysninger til dette.",
        ),
    ),
    _no(
        "no_open_contract",
        ("GDPR 6(1)(b)",),
        "an order, return or inquiry that is open",
        (
            "There is no open order or case that needs this use.",
            "Der er ingen åben ordre eller sag, som kræver denne brug.",
        ),
        (
            "You have no open order or case with the shop that needs this.",
            "Du har ingen åben ordre eller sag hos butikken, som kræver dette.",
        ),
    ),
    _no(
        "objection_direct_marketing",
        ("GDPR 21(2)", "GDPR 21(3)"),
        "a later confirmed consent that the person gives unasked",
        ("The person has objected to marketing.", "Personen har gjort indsigelse mod markedsføring."),
        ("You have objected to marketing.", "Du har gjort indsigelse mod markedsføring."),
    ),
    _no(
        "objection_legitimate_interest",
        ("GDPR 21(1)",),
        "a consent for this use",
        ("The person has objected to this use.", "Personen har gjort indsigelse mod denne brug."),
        ("You have objected to this use.", "Du har gjort indsigelse mod denne brug."),
    ),
    _no(
        "policy_invalid",
        _DOUBT,
        "a policy that passes its checks",
        (
            "The policy can't be used, so it allows nothing.",
            "Politikken kan ikke bruges, så den giver ikke lov til noget.",
        ),
        _DOUBT_PERSON,
    ),
    _no(
        "register_listed",
        ("MFL 10(4)",),
        "a request from the person to get marketing by post",
        (
            "The person is on the register of people who do not want marketing by post.",
            "Personen står på listen over dem, der ikke vil have markedsføring med posten.",
        ),
        (
            "You are on the register of people who do not want marketing by post.",
            "Du står på listen over dem, der ikke vil have markedsføring med posten.",
        ),
    ),
    _no(
        "register_stale",
        ("MFL 10(4)",),
        "a check of the register's newest issue",
        ("The register was not checked recently enough.", "Listen er ikke tjekket for nylig nok."),
        (
            "The shop has not checked the register of people who do not want marketing by post, so it does not write.",
            "Butikken har ikke tjekket listen over dem, der ikke vil have markedsføring med posten, så den skriver ikke.",
        ),
    ),
    _no(
        "restricted",
        ("GDPR 18(1)", "GDPR 18(2)"),
        "the person's consent to this use, or the end of the restriction",
        (
            "The person's data is restricted and may only be stored.",
            "Personens oplysninger er begrænset og må kun opbevares.",
        ),
        (
            "The use of your data is limited, so the shop only stores it.",
            "Brugen af dine oplysninger er begrænset, så butikken opbevarer dem kun.",
        ),
    ),
    _no(
        "retention_ended",
        ("GDPR 5(1)(e)",),
        None,
        ("The period for this use has ended.", "Perioden for denne brug er udløbet."),
        (
            "The time in which the shop may use the data for this has ended.",
            "Den periode, hvor butikken må bruge oplysningerne til dette, er udløbet.",
        ),
    ),
    _no(
        "soft_opt_in_declined",
        ("ePD 13(2)", "MFL 10(2)"),
        _NEW_CONSENT,
        (
            "The customer declined marketing at checkout, or was not offered the chance.",
            "Kunden sagde nej til markedsføring ved købet eller fik ikke muligheden.",
        ),
        (
            "You said no to marketing when you bought something, or were not asked.",
            "Du sagde nej til markedsføring, da du købte noget, eller blev ikke spurgt.",
        ),
    ),
    _no(
        "soft_opt_in_not_own",
        ("ePD 13(2)", "MFL 10(2)"),
        "write about the shop's own products only, or a new confirmed consent",
        (
            "The message is about products that are not the shop's own.",
            "Beskeden handler om produkter, som ikke er butikkens egne.",
        ),
        (
            "The message was about other companies' products, which your purchase does not allow.",
            "Beskeden handlede om andre virksomheders produkter, og det giver dit køb ikke lov til.",
        ),
    ),
    _no(
        "soft_opt_in_not_similar",
        ("ePD 13(2)", "MFL 10(2)"),
        "write about products like those bought, or a new confirmed consent",
        (
            "The message is about products unlike those that the customer bought.",
            "Beskeden handler om produkter, som ikke svarer til dem, kunden har købt.",
        ),
        (
            "The message was about products unlike those you bought, which your purchase does not allow.",
            "Beskeden handlede om produkter, som ikke svarer til dem, du har købt, og det giver dit køb ikke lov til.",
        ),
    ),
    _no(
        "soft_opt_in_stale",
        ("ePD 13(2)", "MFL 10(2)"),
        "a new purchase where marketing is not declined, or a new confirmed consent",
        ("The purchase is too long ago.", "Købet ligger for langt tilbage."),
        (
            "Your purchase is so long ago that the shop no longer writes to you because of it.",
            "Dit køb ligger så langt tilbage, at butikken ikke længere skriver til dig på grund af det.",
        ),
    ),
    _no(
        "tracking_not_consented",
        ("ePD 5(3)", "EDPB 2/2023"),
        "send without tracking, or a consent for tracking",
        (
            "The message tracks its reader, who has not agreed to that.",
            "Beskeden sporer læseren, som ikke har sagt ja til det.",
        ),
        (
            "You have not agreed that the shop sees what you open and click.",
            "Du har ikke sagt ja til, at butikken ser, hvad du åbner og klikker på.",
        ),
    ),
    _no(
        "unknown_channel",
        _DOUBT,
        "a channel that the policy allows for this use",
        ("The policy does not allow this channel for the use.", "Politikken tillader ikke denne kanal til brugen."),
        (
            "The shop has no rule that lets it contact you in this way, so it does not.",
            "Butikken har ingen regel, der lader den kontakte dig på denne måde, så den gør det ikke.",
        ),
    ),
    _no(
        "unknown_subject",
        _DOUBT,
        _NEW_CONSENT,
        ("The ledger holds nothing about this address.", "Loggen indeholder intet om denne adresse."),
        (
            "The shop holds nothing about this address that would let it be used.",
            "Butikken har intet registreret om denne adresse, som giver lov til at bruge den.",
        ),
    ),
    _no(
        "unknown_use",
        ("GDPR 5(1)(b)", "GDPR 6(4)"),
        "a use that the policy declares",
        ("The policy has no such use.", "Politikken kender ikke denne brug."),
        (
            "The shop has not declared this use of your data, so it is not allowed.",
            "Butikken har ikke fastsat denne brug af dine oplysninger, så den er ikke tilladt.",
        ),
    ),
)

REASONS: Final[dict[str, Reason]] = {reason.code: reason for reason in (*_ALLOW, *_DENY)}

BY_RULE: Final[dict[tuple[str, str], Reason]] = {
    ("consent_missing", "only.processor"): _no(
        "consent_missing",
        ("GDPR 28", *_CONSENT),
        "a processor that the policy names, or a consent that names this company as a partner",
        (
            "The policy names no such processor, and there is no consent to give the data to another company.",
            "Politikken nævner ikke denne databehandler, og der er intet samtykke til at give oplysningerne til andre.",
        ),
        ("You have not agreed to this use.", "Du har ikke sagt ja til denne brug."),
    ),
}
"""What explains a reason better where a rule of this id gave it."""
