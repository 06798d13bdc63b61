from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consentlib.errors import PolicyError
from consentlib.policy import Policy, load_policy, parse_policy, starter
from consentlib.policy.read import read_policy


def refused(text: str) -> PolicyError:
    with pytest.raises(PolicyError) as caught:
        parse_policy(text, "shop.toml")
    assert str(caught.value).isprintable()
    return caught.value


def test_a_file_and_its_text_give_the_same_policy(tmp_path: Path, small: str) -> None:
    """`load_policy` is `parse_policy` of the file's UTF-8."""
    path = tmp_path / "shop.toml"
    path.write_text(small, encoding="utf-8")
    assert load_policy(path) == load_policy(str(path)) == parse_policy(small)


def test_a_missing_file_is_a_policy_error(tmp_path: Path) -> None:
    """The error names the file and why it can't be read."""
    with pytest.raises(PolicyError, match=r"nowhere\.toml: expected a readable policy file, found: no such file"):
        load_policy(tmp_path / "nowhere.toml")


def test_other_bytes_than_utf8_are_a_policy_error(tmp_path: Path) -> None:
    """Latin-1 is not guessed."""
    path = tmp_path / "shop.toml"
    path.write_bytes("å".encode("latin-1"))
    with pytest.raises(PolicyError, match="expected UTF-8"):
        load_policy(path)


def test_broken_toml_is_a_policy_error_with_the_place() -> None:
    """The TOML reader's line and column are kept."""
    assert "line 2" in str(refused("a = 1\nb = c\n"))


def test_a_number_too_long_to_read_is_a_policy_error() -> None:
    """Python reads no number of thousands of digits."""
    assert "expected TOML, found an error: exceeds the limit" in str(refused(f"a = {'9' * 5_000}"))


@pytest.mark.parametrize(
    ("old", "new", "key", "said"),
    [
        ('retention = "proof_days"', 'retension = "proof_days"', "uses.news.retension", "did you mean `retention`?"),
        (
            "[uses.news]",
            "[parameters]\nfolow_up_days = 3\n[uses.news]",
            "parameters.folow_up_days",
            "`follow_up_days`?",
        ),
        ("[texts.t1]", "[text.t1]", "text", "did you mean `texts`?"),
        ('id = "small"', 'ident = "small"', "policy.ident", "found `ident`; did you mean `id`?"),
        ('profile = "DK"', 'profile = "DKK"', "policy.profile", "did you mean `DK`?"),
        ('controller = "shop"', 'controller = "shopp"', "policy.controller", "did you mean `shop`?"),
        ('marketing_use = "news"', 'marketing_use = "new"', "policy.marketing_use", "did you mean `news`?"),
        (
            'marketing_use = "news"',
            'marketing_use = "news"\ntracking_use = "new"',
            "policy.tracking_use",
            "did you mean `news`?",
        ),
        ('uses = ["news"]', 'uses = ["newz"]', "texts.t1.uses", "did you mean `news`?"),
        ('controllers = ["shop"]', 'controllers = ["chop"]', "texts.t1.controllers", "did you mean `shop`?"),
        ('text = "t1"', 'text = "t2"', "forms.footer.text", "did you mean `t1`?"),
        ('grounds = ["consent"]', 'grounds = ["concent"]', "uses.news.grounds.0", "did you mean `consent`?"),
        (
            '"order_delivered_recently"',
            '"order_delivered"',
            "uses.follow_up.condition",
            "did you mean `order_delivered_re",
        ),
        (
            'window = "follow_up_days"',
            'window = "folow_up_days"',
            "uses.follow_up.window",
            "did you mean `follow_up_days`",
        ),
        ('data = ["email"]', 'data = ["e-mail"]', "uses.news.data", "did you mean `email`?"),
        ('retention = "proof_days"', 'retention = "prof_days"', "uses.news.retention", "did you mean `proof_days`?"),
        ('channels = ["any"]', 'channels = ["mail"]', "uses.follow_up.channels.0", "did you mean `email`?"),
        (
            '["include_unsubscribe"]',
            '["unsubscribe"]',
            "uses.news.obligations.0",
            "did you mean `include_unsubscribe`?",
        ),
        ('["direct_marketing"]', '["marketing"]', "uses.news.objections.0", "did you mean `direct_marketing`?"),
    ],
)
def test_a_mistyped_name_is_refused_with_the_near_one(small: str, old: str, new: str, key: str, said: str) -> None:
    """Unknown keys and names that lead nowhere are refused with file, dotted key and the nearest name."""
    assert old in small
    error = refused(small.replace(old, new, 1) if "uses = " in old else small.replace(old, new))
    assert (error.file, error.key) == ("shop.toml", key)
    assert str(error).startswith(f"shop.toml: `{key}`: expected ")
    assert said in str(error)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('grounds = ["consent"]\n', "", "`uses.news`: expected the key `grounds`"),
        ('grounds = ["consent"]', "grounds = []", "`uses.news.grounds`: expected at least one element"),
        ('data = ["email"]\nmarketing', "marketing", "`uses.news`: expected the key `data`"),
        ('data = ["email"]\nmarketing', "data = []\nmarketing", "`uses.news.data`: expected at least one element"),
        ('retention = "proof_days"\n', "", "`uses.news`: expected the key `retention`"),
        ('condition = "order_delivered_recently"\nwindow = "follow_up_days"\n', "", "expected a `condition` for the"),
        ('window = "follow_up_days"\n', "", "`uses.follow_up.window`: expected a `window` exactly where"),
        ('grounds = ["consent"]', 'grounds = ["consent"]\nwindow = "proof_days"', "expected a `window` exactly where"),
        ('grounds = ["consent"]', 'grounds = ["consent"]\ncondition = {contract = "always"}', "a ground of this use"),
        ('["consent"]', '["contract", "follow_up_ground"]\ncondition = "always"', "each ground once"),
        ('aliases = ["marketing"]', 'aliases = ["follow_up"]', "expected a name no other use has"),
        ('aliases = ["marketing"]', 'aliases = ["a", "a"]', "expected each element once"),
        ('channels = ["email"]\nactive', 'channels = ["sms"]\nactive', "a channel that the form's text names"),
        (
            'uses = ["news"]\nchannels = ["email"]\nactive',
            'uses = ["follow_up"]\nchannels = ["email"]\nactive',
            "a use that",
        ),
        ("prechecked = false\n", "", "`forms.footer`: expected the key `prechecked`"),
        ("prechecked = false", 'prechecked = "false"', "expected true or false, found `str`"),
        ("prechecked = false", "prechecked = 0", "expected true or false, found `int`"),
        ("active = true", 'active = true\npicture = "ABC"', "64 lower-case hex digits"),
        ('version = "1"', "version = 1", "`policy.version`: expected text, found `int`"),
        ('name = "Shop ApS"', 'name = " "', "expected text, found blank text"),
        ('name = "Shop ApS"', 'name = "A\u030arhus"', "expected text in Unicode NFC"),
        ('zone = "Europe/Copenhagen"', 'zone = "Europe/Kopenhagen"', "expected a time zone"),
        ('zone = "Europe/Copenhagen"', 'zone = "../etc/passwd"', "expected a time zone"),
        ('["0001-01-01", 13]', '["2018-05-25", 13]', "expected ages that start at `0001-01-01`"),
        ('["2024-01-01", 15]', '["2024-02-30", 15]', "expected a date such as"),
        ('["2024-01-01", 15]', '["0001-01-01", 15]', "expected dates in rising order"),
        ('["2024-01-01", 15]', '[["2024-01-01"], 15]', "expected text, found `list`"),
        ('["2024-01-01", 15]', '["2024-01-01", 15.0]', "expected a whole number, found `float`"),
        ("[uses.news]", "[parameters]\nproof_days = 730.0\n[uses.news]", "expected a whole number, found `float`"),
        ("[uses.news]", "[parameters]\nproof_days = -1\n[uses.news]", "expected a whole number from 0 to"),
        ("[uses.news]", "[parameters]\nproof_days = true\n[uses.news]", "expected a whole number, found `bool`"),
        ("[uses.news]", "[parameters]\nproof_days = 99999999\n[uses.news]", "expected a whole number from 0 to"),
        (
            "[uses.news]",
            "[parameters]\nsurvey_ground = 'contract'\n[uses.news]",
            "one of `consent`, `legitimate_interest`",
        ),
        ("[uses.news]", "[parameters]\nsoft_opt_in_channels = ['post']\n[uses.news]", "expected an electronic channel"),
        ("[uses.news]", "[retentions]\nx = {en = '{prof_days} days'}\n[uses.news]", "expected a period"),
        ("[uses.news]", "[retentions]\nx = {en = '{proof_days days'}\n[uses.news]", "braces"),
        ("[uses.news]", "[retentions]\nx = {en = '{proof_days.real}'}\n[uses.news]", "expected a period"),
        ("[forms.footer]", "published = 2026-01-01T00:00:00\n[forms.footer]", "expected an RFC 3339 time with zone"),
        ("[forms.footer]", "supersedes = 't1'\n[forms.footer]", "expected another text"),
        ("[forms.footer]", '[forms."foo\\nter"]\n[forms.footer]', "expected a name of ASCII letters"),
    ],
)
def test_what_can_not_be_judged_by_is_refused(small: str, old: str, new: str, said: str) -> None:
    """Missing parts, wrong types and contradictions are refused in one line."""
    assert old in small
    assert said in str(refused(small.replace(old, new, 1)))


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (
            ("processors", "mailchimp", "uses"),
            ["surveys"],
            "`processors.mailchimp.uses`: expected a use, found `sur",
        ),
        (("processors", "mailchimp", "country"), "USA", "expected a country of ISO 3166-1"),
        (("processors", "mailchimp", "purpose"), {"English": "mail"}, "expected a language tag such as `en`"),
        (
            ("policy", "channels"),
            ["email", "sms", "phone", "post", "device", "none"],
            "expected a channel of this policy",
        ),
        (
            ("policy", "channels"),
            ["email", "any", "none", "device", "phone", "sms"],
            "`texts.nl-1.channels`",
        ),
        (("uses", "marketing_segmentation", "carried_by"), ["marketing_segmentation"], "expected another use"),
        (("uses", "delivery", "subjects"), ["customer"], "did you mean `customers`?"),
        (("uses", "delivery", "recipients"), ["carriers"], "did you mean `carrier`?"),
    ],
)
def test_names_in_the_parts_of_a_whole_policy_lead_somewhere(change: Any, path: tuple[str, ...], value: Any, said: str) -> None:
    """What the small policy has no room for: processors, channels, and words for the notice."""
    with pytest.raises(PolicyError) as caught:
        change((path, value))
    assert said in str(caught.value)


def test_a_use_may_only_go_where_the_policy_goes(small: str) -> None:
    """A channel that the policy does not know is unknown to its uses too."""
    said = refused(small.replace("[controllers.shop]", 'channels = ["email"]\n[controllers.shop]'))
    assert said.key == "uses.follow_up.channels"


def test_published_is_read_from_text_and_from_a_toml_time(small: str) -> None:
    """Both spellings are the same milliseconds, and the same policy."""
    both = [
        parse_policy(small.replace("[forms.footer]", f"published = {time}\n[forms.footer]"))
        for time in ("2026-01-01T01:00:00+01:00", '"2026-01-01T00:00:00Z"')
    ]
    assert both[0] == both[1]
    assert both[0].texts["t1"].published == 1767225600000


def test_policy_errors_survive_pickling(small: str) -> None:
    """Message, file and key arrive on the other side."""
    error = refused(small.replace('profile = "DK"', 'profile = "DE"'))
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.file, again.key) == (str(error), error.file, error.key)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict | list) and value:
        rows = value.items() if isinstance(value, dict) else enumerate(value)
        return [path, *(leaf for key, item in rows for leaf in leaves(item, (*path, key)))]
    return [path]


SHOP = parse_policy(starter()).plain()
ODD: st.SearchStrategy[Any] = st.sampled_from(
    [None, 1.5, -1, 2**60, True, "", "\ud800", "no such name", [], [[]], {}, {"en": 1}, {1: 2}, [{}], b""]
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(leaves(SHOP)[1:]), ODD)
def test_an_odd_value_anywhere_is_a_policy_or_a_policy_error(path: tuple[Any, ...], odd: Any) -> None:
    """Whatever stands at any place of the file, the answer is a whole policy or `PolicyError` in one line."""
    table = copy.deepcopy(SHOP)
    place = table
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = odd
    try:
        found = read_policy(table, "odd")
    except PolicyError as error:
        found = None
        said = str(error)
    assert said.isprintable() if found is None else Policy.from_canonical(found.canonical()) == found
