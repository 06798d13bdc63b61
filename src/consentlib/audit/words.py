"""The words of the audit report, in English and Danish."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

LANGUAGES: Final = ("en", "da")

WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "title": ("Audit report on a consent log", "Revisionsrapport om en samtykkelog"),
    "made": (
        "Report made {time} from a file of {bytes} bytes with SHA-256",
        "Rapport lavet {time} af en fil på {bytes} byte med SHA-256",
    ),
    "times": (
        "All times are UTC. Months are those in which an entry was recorded.",
        "Alle tider er UTC. Måneder er dem, hvor en post blev registreret.",
    ),
    "discreet": (
        "This report names no person: addresses appear as the first characters of random ids, other matters "
        "by the index of their entry.",
        "Rapporten nævner ingen personer: adresser ses som de første tegn af tilfældige id'er, alt andet som postens indeks.",
    ),
    "failed": ("NOT VERIFIED", "IKKE VERIFICERET"),
    "failed_at": (
        "The check at level {level} failed. Nothing that this file says may be relied upon, so the report ends here.",
        "Kontrollen på niveau {level} fejlede. Intet i filen kan lægges til grund, så rapporten slutter her.",
    ),
    "failed_entry": ("Entry (index)", "Post (indeks)"),
    "failed_why": ("What was found", "Hvad der blev fundet"),
    "form_level": ("file format", "filformat"),
    "verified": ("Verified at level: {level}", "Verificeret på niveau: {level}"),
    "intact": (
        "Intact, but not shown to be signed. Verified at level: {level}",
        "Intakt, men ikke vist at være underskrevet. Verificeret på niveau: {level}",
    ),
    "unsigned": (
        "No signature was checked. Nothing here shows who wrote this log, or that it was not written anew.",
        "Ingen underskrift er kontrolleret. Intet her viser, hvem der skrev loggen, eller at den ikke er skrevet om.",
    ),
    "no_held": (
        "No checkpoint kept by somebody else was compared. Who holds the signing key could have written the log anew.",
        "Intet kontrolpunkt fra andre er sammenlignet. Den, der har underskriftsnøglen, kan have skrevet loggen om.",
    ),
    "partial": (
        "PARTIAL: parts withheld in this file, which could not be checked: {n}.",
        "UFULDSTÆNDIG: dele tilbageholdt i filen, som ikke kunne kontrolleres: {n}.",
    ),
    "what": ("What was verified, and what was not", "Hvad der er verificeret, og hvad der ikke er"),
    "chain": (
        "Chain: every entry is linked to the one before it, in order, and recorded times never fall",
        "Kæde: hver post er bundet til den forrige, i rækkefølge, og tiderne falder aldrig",
    ),
    "content": (
        "Content: every part shown is what was committed to; what is gone was erased on record",
        "Indhold: hver vist del er den, loggen forpligter sig på; det, der mangler, er slettet med registrering",
    ),
    "signature": (
        "Signature: a checkpoint signed under the key given covers the whole log",
        "Underskrift: et kontrolpunkt under den givne nøgle dækker hele loggen",
    ),
    "history": (
        "History: the log begins with what each checkpoint held by somebody else covers",
        "Historik: loggen begynder med det, som hvert kontrolpunkt hos andre dækker",
    ),
    "meaning": (
        "Meaning: each send had a valid ground at its time",
        "Betydning: hver afsendelse havde et gyldigt grundlag, da den skete",
    ),
    "yes": ("verified", "verificeret"),
    "no": ("not checked", "ikke kontrolleret"),
    "broken": ("does not hold", "holder ikke"),
    "origin": ("Log", "Log"),
    "size": ("Entries", "Poster"),
    "root": ("Root of the tree (hex)", "Træets rod (hex)"),
    "span": ("Recorded from, to", "Registreret fra, til"),
    "erased": ("Parts erased, each on record", "Dele slettet, hver sletning registreret"),
    "withheld": ("Parts withheld", "Dele tilbageholdt"),
    "keys": ("Key given to the check", "Nøgle givet til kontrollen"),
    "signed_size": ("Entries covered by the newest checkpoint", "Poster dækket af nyeste kontrolpunkt"),
    "held_size": ("Entries covered by a checkpoint held elsewhere", "Poster dækket af et kontrolpunkt hos andre"),
    "none": ("none", "ingen"),
    "gaps": ("Not checked", "Ikke kontrolleret"),
    "gap_content": (
        "content: withheld parts were not compared with their commitments",
        "indhold: tilbageholdte dele er ikke sammenlignet med deres forpligtelser",
    ),
    "gap_head": ("head: entries may be missing from the end", "slutning: poster kan mangle i enden"),
    "gap_signature": (
        "signature: no signed checkpoint was compared with the root",
        "underskrift: intet underskrevet kontrolpunkt er sammenlignet med roden",
    ),
    "gap_history": (
        "history: the log was not compared as a whole with a checkpoint that somebody else kept",
        "historik: loggen er ikke sammenlignet i sin helhed med et kontrolpunkt, som andre har gemt",
    ),
    "gap_meaning": (
        "meaning: no rule was replayed, so a recorded send may have been unlawful",
        "betydning: ingen regel er afspillet, så en registreret afsendelse kan have været ulovlig",
    ),
    "gap_replayed": (
        "meaning: not every recorded send could be judged",
        "betydning: ikke alle registrerede afsendelser kunne bedømmes fuldt ud",
    ),
    "unread": (
        "Entries whose facts are erased: {erased}; withheld: {withheld}; in a form this report can't read: "
        "{strange}. They are counted by month and kind, and missing from all that follows.",
        "Poster, hvis fakta er slettet: {erased}; tilbageholdt: {withheld}; i en form, som rapporten ikke kan"
        " læse: {strange}. De er talt med efter måned og art og mangler i alt det følgende.",
    ),
    "entries": ("Entries over time", "Poster over tid"),
    "grants": ("consents", "samtykker"),
    "stops": ("stops", "stop"),
    "sends": ("sends", "afsendelser"),
    "contracts": ("orders and inquiries", "ordrer og henvendelser"),
    "ledger": ("policies, erasures, exports", "politikker, sletninger, eksporter"),
    "other": ("other", "andet"),
    "kind": ("Kind", "Art"),
    "number": ("Number", "Antal"),
    "share": ("Share", "Andel"),
    "consents": ("Consents and the evidence for them", "Samtykker og bevis for dem"),
    "consents_say": (
        "Consents: {n}; without evidence: {unproven}. “Erased” counts those whose evidence was named and has "
        "been erased since.",
        "Samtykker: {n}; uden bevis: {unproven}. “Slettet” tæller dem, hvis bevis var nævnt og siden er slettet.",
    ),
    "form": ("Form", "Formular"),
    "form_none": ("no form named", "ingen formular nævnt"),
    "form_stated": ("form described in the entry", "formular beskrevet i posten"),
    "faults": ("Faulty form", "Fejl i formular"),
    "ip": ("IP address", "IP-adresse"),
    "user_agent": ("Browser", "Browser"),
    "url": ("Page", "Side"),
    "session": ("Session", "Session"),
    "reference": ("Reference", "Reference"),
    "attachments": ("Attachment", "Bilag"),
    "gone": ("Erased", "Slettet"),
    "no_evidence": ("None", "Intet"),
    "unproven": ("Consents without evidence", "Samtykker uden bevis"),
    "bursts": ("Bursts: minutes with {n} consents or more", "Bølger: minutter med {n} samtykker eller flere"),
    "minute": ("Minute", "Minut"),
    "withdrawals": ("Withdrawals and objections", "Tilbagetrækninger og indsigelser"),
    "consent.withdrawn": ("withdrawn", "trukket tilbage"),
    "consent.refused": ("refused", "afslået"),
    "objection.raised": ("objections", "indsigelser"),
    "delay": ("From said to recorded", "Fra sagt til registreret"),
    "delay_0": ("within a minute", "inden for et minut"),
    "delay_1": ("within an hour", "inden for en time"),
    "delay_2": ("within a day", "inden for et døgn"),
    "delay_3": ("within 7 days", "inden for 7 dage"),
    "delay_4": ("within 30 days", "inden for 30 dage"),
    "delay_5": ("later", "senere"),
    "slowest": ("The slowest took {time}: entry {entry}.", "Det langsomste tog {time}: post {entry}."),
    "after": ("Sends after a stop was on record", "Afsendelser efter at et stop var registreret"),
    "after_say": (
        "Sends to an address whose withdrawal, refusal or objection of that scope was on record, with no new "
        "consent recorded in between. Each is worth a question, and none is a finding by itself: another "
        "ground may have carried it, and it may have been taken back. Stops that reached another address of "
        "the same person are not followed here.",
        "Afsendelser til en adresse, hvis tilbagetrækning, afslag eller indsigelse af det omfang var "
        "registreret, uden et nyt samtykke imellem. Hver er et spørgsmål værd, og ingen er i sig selv en "
        "overtrædelse: et andet grundlag kan have båret den, og den kan være taget tilbage. Stop ved en anden"
        " adresse for samme person følges ikke her.",
    ),
    "use": ("Use", "Brug"),
    "address": ("Address id", "Adresse-id"),
    "stop_entry": ("Stop in entry", "Stop i post"),
    "since_stop": ("Time since", "Tid siden"),
    "sending": ("Sends and decisions", "Afsendelser og afgørelser"),
    "sending_say": (
        "Entries with sends: {entries}; addresses sent to: {n}; taken back as not handed over: {back}. "
        "Entries that name the size of the log that the decision read: {sized}; that do not: {unsized}; that "
        "name a size beyond themselves, which no honest decision can have read: {beyond}.",
        "Poster med afsendelser: {entries}; adresser sendt til: {n}; taget tilbage som ikke afleveret: "
        "{back}. Poster, der nævner den logstørrelse, som afgørelsen læste: {sized}; som ikke gør: {unsized};"
        " som nævner en størrelse ud over sig selv, som ingen ærlig afgørelse kan have læst: {beyond}.",
    ),
    "replayed": ("Sends against decisions", "Afsendelser mod afgørelser"),
    "replayed_say": (
        "The rules were replayed over each recorded send, as of the state of the log and the policy that its decision read. "
        "Addresses judged: {judged}, of which for the ground only, as no permit recorded what was asked: {ground}. Without a "
        "valid ground: {unlawful}, of which a mode that does not enforce let through: {let}. Not judged, as facts they rest on "
        "are not there: {unjudged}. Taken back as not handed over, and not counted: {back}.",
        "Reglerne er afspillet for hver registreret afsendelse, med den tilstand af loggen og den politik, som afgørelsen "
        "læste. Adresser bedømt: {judged}, heraf kun på grundlaget, fordi ingen tilladelse registrerede, hvad der blev spurgt "
        "om: {ground}. Uden gyldigt grundlag: {unlawful}, heraf sluppet igennem af en tilstand, der ikke håndhæver: {let}. "
        "Ikke bedømt, fordi fakta mangler: {unjudged}. Taget tilbage som ikke afleveret og ikke talt med: {back}.",
    ),
    "unlawful": (
        "Recorded sends without a valid ground: {n}. The log itself holds; what the shop did does not.",
        "Registrerede afsendelser uden gyldigt grundlag: {n}. Selve loggen holder; det gør butikkens handlinger ikke.",
    ),
    "unlawful_entries": (
        "The first entries with sends without a ground: {n}",
        "De første poster med afsendelser uden grundlag: {n}",
    ),
    "means": ("Meaning", "Betydning"),
    "let_through": ("Let through", "Sluppet igennem"),
    "by_mode": ("by a mode", "af en tilstand"),
    "unexplained": ("no", "nej"),
    "wrong_log_size": (
        "The entry names a state of the log that was not the newest.",
        "Posten nævner en tilstand af loggen, som ikke var den nyeste.",
    ),
    "late": ("Late entries", "Sene poster"),
    "late_say": (
        "Entries recorded an hour or more after what they say happened: {n}. Those whose address was sent to "
        "in between are listed: a consent that turns up after the send must be explained.",
        "Poster registreret en time eller mere efter det, de siger, skete: {n}. Dem, hvis adresse fik en "
        "afsendelse imellem, er på listen: et samtykke, der dukker op efter afsendelsen, skal forklares.",
    ),
    "said": ("Said", "Sagt"),
    "recorded": ("Recorded", "Registreret"),
    "policies": ("Policies in force", "Gældende politikker"),
    "policy": ("Policy", "Politik"),
    "version": ("Version", "Version"),
    "hash": ("SHA-256", "SHA-256"),
    "from": ("In force from", "Gælder fra"),
    "texts": ("Consent texts in their exact words", "Samtykketekster i deres præcise ordlyd"),
    "texts_say": (
        "First in the policy of entry {entry}; consents given on it: {n}.",
        "Først i politikken i post {entry}; samtykker givet på den: {n}.",
    ),
    "text_lost": (
        "Consents that name no text whose wording is in this log: {n}.",
        "Samtykker, der ikke nævner en tekst, hvis ordlyd er i loggen: {n}.",
    ),
    "erasures": ("Erasures on record", "Registrerede sletninger"),
    "exports": ("Exports on record", "Registrerede eksporter"),
    "exports_say": (
        "Each export puts itself on record before it is written. Of one person's data there is one entry for each address.",
        "Hver eksport registrerer sig selv, før den skrives. Af en persons data er der en post for hver adresse.",
    ),
    "scope": ("Of what", "Af hvad"),
    "scope_whole": ("the whole log", "hele loggen"),
    "scope_person": ("one person's entries", "en persons poster"),
    "by": ("By", "Af hvem"),
    "parts": ("Parts", "Dele"),
    "reason": ("Reason", "Grund"),
    "entry": ("Entry", "Post"),
    "more_largest": ("The {shown} largest of {n} are listed.", "De {shown} største af {n} er på listen."),
    "more": ("The first {shown} of {n} are listed.", "De første {shown} af {n} er på listen."),
    "nothing": ("None on record.", "Ingen registreret."),
    "total": ("All", "Alle"),
    "per_month": ("by month", "pr. måned"),
    "per_period": ("by {n} months", "pr. {n} måneder"),
    "column_month": ("Each column is a month.", "Hver søjle er en måned."),
    "column_period": (
        "Each column is {n} months, under the name of the first.",
        "Hver søjle er {n} måneder, under navnet på den første.",
    ),
    "limits_replayed": (
        "This report counts what the log says, and what the rules of its policies say of that. Whether those rules are the "
        "law's is for you. What was never recorded is not in it.",
        "Rapporten tæller, hvad loggen siger, og hvad politikkernes regler siger om det. Om de regler er lovens, afgør du. "
        "Hvad der aldrig blev registreret, står her ikke.",
    ),
    "limits": (
        "This report counts what the log says. It does not judge: whether a send was lawful is for the rules "
        "and for you. What was never recorded is not in it.",
        "Rapporten tæller, hvad loggen siger. Den dømmer ikke: om en afsendelse var lovlig, afgør reglerne og"
        " du. Hvad der aldrig blev registreret, står her ikke.",
    ),
}
