"""The audit report as one HTML page: figures in, escaped text out. No script, nothing loaded from anywhere."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from html import escape
from typing import Any, Final, NamedTuple

from consentlib.audit.chart import stacked, step_for, top_names
from consentlib.audit.survey import BURST, EVIDENCE, Listing, Months, Survey
from consentlib.audit.words import LANGUAGES, WORDS
from consentlib.codec import show_time
from consentlib.errors import FormatError, InputError, VerificationError
from consentlib.log import Meaning, Report
from consentlib.log.leaf import base64
from consentlib.log.tally import OTHER, Tally
from consentlib.reasons import REASONS

_STYLE: Final = """
:root { color-scheme: light }
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff }
body { max-width: 52rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .5rem }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .4rem; padding-top: .5rem; border-top: 1px solid #bbb }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem }
p { margin: .4rem 0 } .small { color: #555; font-size: .86rem }
.verdict { border: 2px solid; border-left-width: .7rem; padding: .6rem 1rem; margin: 1rem 0 }
.verdict strong { font-size: 1.25rem } .good { border-color: #2e7d32 } .warn { border-color: #b26a00 }
.bad { border-color: #b00020; color: #b00020; background: #fdf0f1 }
table { border-collapse: collapse; width: 100%; margin: .5rem 0; font-size: .9rem }
th, td { text-align: left; vertical-align: top; padding: .25rem .6rem .25rem 0; border-bottom: 1px solid #ddd }
th { font-weight: 600 } .t { white-space: nowrap } .h { overflow-wrap: anywhere; min-width: 14rem }
.n + td:not(.n), .n + th:not(.n) { padding-left: 1rem }
.n { text-align: right; font-variant-numeric: tabular-nums } td.no { color: #b26a00 } .yes, .no { white-space: nowrap }
code { font: .82rem ui-monospace, monospace; overflow-wrap: anywhere }
figure { margin: .6rem 0 } svg { width: 100%; height: auto; display: block }
svg text { font: 11px system-ui, sans-serif; fill: #444 }
.keys { list-style: none; display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; margin: .2rem 0; padding: 0; font-size: .85rem }
.keys li { display: flex; align-items: center; gap: .35rem } .key { width: .8rem; height: .8rem }
blockquote { margin: .3rem 0 .6rem; padding: .1rem .9rem; border-left: 3px solid #bbb }
@page { size: A4; margin: 16mm 15mm 18mm; @bottom-right { content: counter(page) " / " counter(pages); font: 8pt sans-serif } }
@media print {
  body { font-size: 10.5pt; max-width: none; margin: 0; padding: 0 }
  body { print-color-adjust: exact; -webkit-print-color-adjust: exact }
  h2, h3, h2 + p, h3 + p { break-after: avoid } tr, figure, .verdict, .text { break-inside: avoid }
  thead { display: table-header-group } tbody tr:last-child { break-before: avoid }
}
"""
_LEVELS: Final = ("chain", "content", "signature", "history", "meaning")
_GROUPS: Final = ("grants", "stops", "sends", "contracts", "ledger", "other")


#: How cells under a heading look: times on one line, hashes broken anywhere.
_LOOKS: Final = {"recorded": "t", "said": "t", "from": "t", "minute": "t", "hash": "h"}


class Source(NamedTuple):
    """The file that was read, when (milliseconds since the epoch), and the keys that the check was given."""

    size: int
    sha256: str
    time: int
    keys: Sequence[str]


class Page:
    """Writes a report in one language."""

    def __init__(self, source: Source, language: str) -> None:
        if language not in LANGUAGES:
            raise InputError("expected the language `en` or `da`, found another")
        self._source = source
        self._language = language
        self._column = LANGUAGES.index(language)

    def failed(self, error: VerificationError | FormatError) -> str:
        """The page that says what did not verify, and no more."""
        level, index = getattr(error, "level", None), getattr(error, "index", None)
        rows = [
            (self._say("failed_entry"), self._say("none") if index is None else str(index)),
            (self._say("failed_why"), str(error)),
        ]
        body = f"<strong>{self._word('failed')}</strong><p>{self._word('failed_at', level=self._level(level))}</p>"
        return self._page(_box("bad", body) + _pairs(rows) + self._about())

    def verified(self, report: Report, survey: Survey) -> str:
        """The page of a log that verified."""
        sections = (
            self._verdict(report),
            self._about(),
            self._checked(report, survey),
            self._entries(report, survey),
            self._consents(survey),
            self._withdrawals(survey),
            self._sending(survey),
            self._meaning(report.meaning),
            self._late(survey),
            self._policies(survey),
            self._erasures(survey),
            self._exports(survey),
            f'<p class="small">{self._word("limits" if report.meaning is None else "limits_replayed")}</p>',
        )
        return self._page("\n".join(sections))

    def _say(self, key: str, **values: Any) -> str:
        shown = {name: self._number(value) if type(value) is int else value for name, value in values.items()}
        return WORDS[key][self._column].format(**shown)

    def _word(self, key: str, **values: Any) -> str:
        return escape(self._say(key, **values))

    def _number(self, number: int) -> str:
        return f"{number:,}" if self._language == "en" else f"{number:,}".replace(",", ".")

    def _share(self, count: int, total: int) -> str:
        share = f"{100 * count / total:.1f}"
        return f"{share}%" if self._language == "en" else f"{share.replace('.', ',')}\N{NO-BREAK SPACE}%"

    def _page(self, body: str) -> str:
        digest = b64encode(sha256(_STYLE.encode()).digest()).decode()
        policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
        title = self._word("title")
        return (
            f'<!DOCTYPE html>\n<html lang="{self._language}">\n<head>\n<meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
            '<meta name="viewport" content="width=device-width">\n<meta name="referrer" content="no-referrer">\n'
            f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n{body}\n</body>\n</html>\n"
        )

    def _about(self) -> str:
        made = self._word("made", time=_time(self._source.time), bytes=self._source.size)
        return (
            f'<p class="small">{made} <code>{self._source.sha256}</code>. {self._word("times")}</p>'
            f'<p class="small">{self._word("discreet")}</p>'
        )

    def _verdict(self, report: Report) -> str:
        said = "intact" if report.level == "content" else "verified"
        body = f"<strong>{self._word(said, level=self._level(report.level))}</strong>"
        if report.partial:
            body += f"<p><b>{self._word('partial', n=report.withheld)}</b></p>"
        if report.level == "content":
            body += f"<p>{self._word('unsigned')}</p>"
        elif report.level == "signature":
            body += f"<p>{self._word('no_held')}</p>"
        if report.meaning is not None and report.meaning.unlawful:
            return _box("bad", f"{body}<p><b>{self._word('unlawful', n=report.meaning.unlawful)}</b></p>")
        return _box("good" if report.level in ("history", "meaning") and not report.partial else "warn", body)

    def _checked(self, report: Report, survey: Survey) -> str:
        reached = _LEVELS.index(report.level)
        states = ["yes" if place <= reached else "no" for place in range(len(_LEVELS))]
        if report.meaning is not None and report.meaning.unlawful:
            states[-1] = "broken"
        levels = [
            f'<tr><td>{self._word(level)}</td><td class="{"yes" if state == "yes" else "no"}">{self._word(state)}</td></tr>'
            for level, state in zip(_LEVELS, states, strict=True)
        ]
        none = self._say("none")
        times = (report.first_time, report.last_time)
        rows = [
            (self._say("origin"), report.origin or none),
            (self._say("size"), self._number(report.size)),
            (self._say("root"), base64(report.root).decode()),
            (self._say("span"), none if None in times else " – ".join(_time(one) for one in times if one is not None)),
            (self._say("erased"), self._number(report.erased)),
            (self._say("withheld"), self._number(report.withheld)),
            (self._say("keys"), ", ".join(self._source.keys) or none),
            (self._say("signed_size"), none if report.signed_size is None else self._number(report.signed_size)),
            (self._say("held_size"), none if report.held_size is None else self._number(report.held_size)),
        ]
        gaps = "".join(f"<li>{self._gap(one)}</li>" for one in report.not_checked)
        facts = {"erased": survey.facts_erased, "withheld": survey.facts_withheld, "strange": survey.unreadable.total}
        unread = f"<p>{self._word('unread', **facts)}</p>" if any(facts.values()) else ""
        return (
            f"{self._head('what')}<table><tbody>{''.join(levels)}</tbody></table>{_pairs(rows)}"
            f"<h3>{self._word('gaps')}</h3><ul>{gaps}</ul>{unread}"
        )

    def _level(self, level: str | None) -> str:
        """The name of a level in the reader's language; without one the form of the file was wrong."""
        return self._say(level).partition(":")[0].lower() if level in _LEVELS else self._say("form_level")

    def _gap(self, text: str) -> str:
        """A gap in the reader's language; as the verifier says it where the language has no word for it."""
        key = f"gap_{text.partition(':')[0]}"
        key = "gap_replayed" if key == "gap_meaning" and "no rule was replayed" not in text else key
        return self._word(key) if self._language != "en" and key in WORDS else escape(text)

    def _entries(self, report: Report, survey: Survey) -> str:
        labels = {name: self._say(name) for name in _GROUPS}
        rows = sorted(report.entries_by_kind, key=lambda one: (-one[1], one[0]))[:100]
        cells = [(kind, self._number(count), self._share(count, report.size)) for kind, count in rows]
        table = self._table(("kind", "number", "share"), cells, numbers=(1, 2))
        return self._head("entries") + self._chart(survey.months, _GROUPS, labels, "entries") + table

    def _consents(self, survey: Survey) -> str:
        heads = ("form", "total", *EVIDENCE, "no_evidence", "gone", "faults")
        keys = ("all", *EVIDENCE, "none", "gone", "faults")
        ranked = sorted(survey.forms.items(), key=lambda one: (-one[1]["all"], one[0]))
        rows = [(self._form(name), *(self._number(row[key]) for key in keys)) for name, row in ranked]
        if len(rows) > 1:
            rows.append((self._say("total"), *(self._number(sum(row[key] for _, row in ranked)) for key in keys)))
        unproven = [(str(entry), _time(time), self._form(form)) for entry, time, form in survey.unproven.rows]
        bursts = [(_time(time)[:-3], self._number(count)) for time, count in survey.bursts.rows]
        return (
            self._head("consents")
            + f"<p>{self._word('consents_say', n=survey.grants, unproven=survey.unproven.total)}</p>"
            + self._table(heads, rows, numbers=range(1, len(heads)))
            + f"<h3>{self._word('unproven')}</h3>"
            + self._list(survey.unproven, ("entry", "recorded", "form"), unproven)
            + f"<h3>{self._word('bursts', n=BURST)}</h3>"
            + self._list(survey.bursts, ("minute", "number"), bursts, numbers=(1,), more="more_largest")
        )

    def _form(self, name: str) -> str:
        return {"": self._say("form_none"), "*": self._say("form_stated")}.get(name, name)

    def _withdrawals(self, survey: Survey) -> str:
        names = ("consent.withdrawn", "objection.raised", "consent.refused")
        labels = {name: self._say(name) for name in names}
        total = sum(survey.delays)
        rows = [
            (self._say(f"delay_{place}"), self._number(count), self._share(count, total))
            for place, count in enumerate(survey.delays)
            if total
        ]
        slowest = ""
        if survey.slowest is not None:
            slowest = f"<p>{self._word('slowest', time=_span(survey.slowest[0]), entry=str(survey.slowest[1]))}</p>"
        after = [
            (str(one.entry), _time(one.time), one.id, one.use, str(one.stop.entry), _span(one.time - one.stop.time))
            for one in survey.after_stop.rows
        ]
        return (
            self._head("withdrawals")
            + self._chart(survey.stops, names, labels, "withdrawals")
            + self._table(("delay", "number", "share"), rows, numbers=(1, 2))
            + slowest
            + f"<h3>{self._word('after')}: {self._number(survey.after_stop.total)}</h3><p>{self._word('after_say')}</p>"
            + self._list(survey.after_stop, ("entry", "recorded", "address", "use", "stop_entry", "since_stop"), after)
        )

    def _sending(self, survey: Survey) -> str:
        totals = Tally()
        for counts in survey.sends.values():
            totals.update(counts)
        rows = [(use, self._number(count)) for use, count in sorted(totals.items(), key=lambda one: (-one[1], one[0]))]
        said = self._word(
            "sending_say",
            entries=survey.send_entries,
            n=totals.total(),
            back=survey.taken_back,
            sized=survey.sends_with_size,
            unsized=survey.send_entries - survey.sends_with_size,
            beyond=survey.sends_beyond.total,
        )
        beyond = ", ".join(str(index) for index in survey.sends_beyond.rows)
        labels = {OTHER: self._say("other")}
        return (
            f"{self._head('sending')}<p>{said}{f' ({beyond})' if beyond else ''}</p>"
            + self._chart(survey.sends, top_names(totals, OTHER), labels, "sending")
            + self._table(("use", "number"), rows, numbers=(1,))
        )

    def _meaning(self, sends: Meaning | None) -> str:
        """Sends against decisions; nothing where the rules were not replayed."""
        if sends is None:
            return ""
        said = self._word(
            "replayed_say",
            judged=sends.judged,
            ground=sends.ground_only,
            unlawful=sends.unlawful,
            let=sends.let_through,
            unjudged=sends.unjudged,
            back=sends.taken_back,
        )
        reasons = [(*self._reason(reason), self._number(count)) for reason, count in sends.reasons]
        rows = [
            (
                str(one.index),
                *self._reason(one.reason),
                self._number(one.addresses),
                self._say("by_mode" if one.let_through else "unexplained"),
            )
            for one in sends.findings
        ]
        return (
            f"{self._head('replayed')}<p>{said}</p>"
            + self._table(("reason", "means", "number"), reasons, numbers=(2,))
            + (f"<h3>{self._word('unlawful_entries', n=len(rows))}</h3>" if rows else "")
            + (self._table(("entry", "reason", "means", "number", "let_through"), rows, numbers=(3,)) if rows else "")
        )

    def _reason(self, code: str) -> tuple[str, str]:
        """A reason code and its sentence."""
        known = REASONS.get(code)
        return code, self._say(code) if code in WORDS else known.shop[self._language] if known is not None else ""

    def _late(self, survey: Survey) -> str:
        rows = [(str(one.entry), one.kind, _time(one.said), _time(one.time)) for one in survey.late_after_send.rows]
        kinds = ", ".join(f"{kind} {self._number(count)}" for kind, count in survey.late.most_common(12))
        said = f'<p>{self._word("late_say", n=survey.late.total())}</p><p class="small">{escape(kinds)}</p>'
        return f"{self._head('late')}{said}" + self._list(survey.late_after_send, ("entry", "kind", "said", "recorded"), rows)

    def _policies(self, survey: Survey) -> str:
        rows = [(str(one.entry), one.id, one.version, _time(one.time), one.hash) for one in survey.policies.rows]
        used, texts = survey.texts_used, []
        for (version, digest), text in survey.texts.items():
            words = "".join(
                f'<p class="small">{escape(language)}</p><blockquote lang="{escape(language)}">{escape(wording)}</blockquote>'
                for language, wording in sorted(text.words.items())
            )
            said = self._word("texts_say", entry=str(text.entry), n=used[f"{version} {digest}"])
            texts.append(
                f'<div class="text"><h3>{escape(version)}</h3><p>{said}<br><code>{escape(digest)}</code></p>{words}</div>'
            )
        known = {f"{version} {digest}" for version, digest in survey.texts}
        lost = sum(count for name, count in used.items() if name not in known)
        note = f"<p>{self._word('text_lost', n=lost)}</p>" if lost else ""
        heads = ("entry", "policy", "version", "from", "hash")
        return (
            self._head("policies")
            + self._list(survey.policies, heads, rows)
            + f"{self._head('texts')}{note}{''.join(texts) or self._nothing()}"
        )

    def _erasures(self, survey: Survey) -> str:
        rows = [(str(one.entry), _time(one.time), self._number(one.parts), one.reason) for one in survey.erasures.rows]
        return self._head("erasures") + self._list(
            survey.erasures, ("entry", "recorded", "parts", "reason"), rows, numbers=(2,)
        )

    def _exports(self, survey: Survey) -> str:
        names = {scope: self._say(f"scope_{scope}") for scope in ("whole", "person")}
        rows = [(str(one.entry), _time(one.time), names.get(one.scope, one.scope), one.by) for one in survey.exports.rows]
        return f"{self._head('exports')}<p>{self._word('exports_say')}</p>" + self._list(
            survey.exports, ("entry", "recorded", "scope", "by"), rows
        )

    def _head(self, key: str) -> str:
        return f"<h2>{self._word(key)}</h2>"

    def _nothing(self) -> str:
        return f"<p>{self._word('nothing')}</p>"

    def _chart(self, data: Months, names: Sequence[str], labels: Mapping[str, str], title: str) -> str:
        if not data:
            return self._nothing()
        used = [name for name in names if any(name in counts for counts in data.values())]
        step = step_for(list(data))
        said = "month" if step == 1 else "period"
        title = f"{self._say(title)}, {self._say(f'per_{said}', n=step)}"
        caption = self._say(f"column_{said}", n=step)
        return stacked(data, used, labels, title=title, caption=caption, number=self._number)

    def _table(self, heads: Iterable[str], rows: Iterable[Sequence[str]], *, numbers: Iterable[int] = ()) -> str:
        right, keys = frozenset(numbers), tuple(heads)
        looks = ["n" if place in right else _LOOKS.get(key, "") for place, key in enumerate(keys)]
        body = "".join(f"<tr>{_cells('td', row, looks)}</tr>" for row in rows)
        if not body:
            return self._nothing()
        head = _cells("th", [self._say(key) for key in keys], looks)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def _list(
        self,
        listing: Listing,
        heads: Iterable[str],
        rows: Sequence[Sequence[str]],
        *,
        numbers: Iterable[int] = (),
        more: str = "more",
    ) -> str:
        note = f'<p class="small">{self._word(more, shown=len(rows), n=listing.total)}</p>' if listing.total > len(rows) else ""
        return note + self._table(heads, rows, numbers=numbers)


def _cells(tag: str, texts: Iterable[str], looks: Iterable[str]) -> str:
    return "".join(
        f'<{tag} class="{look}">{escape(text)}</{tag}>' if look else f"<{tag}>{escape(text)}</{tag}>"
        for text, look in zip(texts, looks, strict=True)
    )


def _box(mood: str, body: str) -> str:
    return f'<div class="verdict {mood}">{body}</div>'


def _pairs(rows: Iterable[tuple[str, str]]) -> str:
    body = "".join(f"<tr><th>{escape(name)}</th><td><code>{escape(value)}</code></td></tr>" for name, value in rows)
    return f"<table><tbody>{body}</tbody></table>"


def _time(millis: int) -> str:
    """To the second, as a reader writes it."""
    return show_time(millis - millis % 1000).replace("T", " ").removesuffix("Z")


def _span(millis: int) -> str:
    """A span in its two largest units."""
    seconds = millis // 1000
    days, hours, minutes = seconds // 86_400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds % 60} s"
