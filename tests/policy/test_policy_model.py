from __future__ import annotations

import copy
import pickle
from datetime import date
from hashlib import sha256
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from consentlib import codec
from consentlib.errors import FormatError, PolicyError
from consentlib.policy import Policy, parse_policy
from consentlib.policy.model import FrozenMap


def test_canonical_bytes_give_the_policy_back(policy: Policy) -> None:
    """The bytes in the log are enough to judge by, and their SHA-256 is the policy's hash."""
    again = Policy.from_canonical(policy.canonical())
    assert again == policy
    assert again.canonical() == policy.canonical()
    assert again.hash == policy.hash == sha256(policy.canonical()).hexdigest()
    assert dict(again.uses) == dict(policy.uses)
    assert dict(again.texts) == dict(policy.texts)
    assert (again.parameters, again.profile) == (policy.parameters, policy.profile)


def test_the_hash_does_not_depend_on_spelling(small: str) -> None:
    """Comments, order, and defaults written out leave the hash alone; a changed value does not."""
    same = "# a comment\n" + small.replace('channels = ["any"]', 'channels = ["any"]\nmarketing = false')
    same += "[parameters]\nproof_days = 730\n"
    assert parse_policy(same).hash == parse_policy(small).hash
    assert parse_policy(small + "[parameters]\nproof_days = 731\n").hash != parse_policy(small).hash


def test_the_order_of_grounds_is_part_of_the_hash(small: str) -> None:
    """The first ground that holds carries the use, so order is content; the order of a set is not."""
    one = small.replace('grounds = ["consent"]', 'grounds = ["consent", "soft_opt_in"]')
    other = small.replace('grounds = ["consent"]', 'grounds = ["soft_opt_in", "consent"]')
    assert parse_policy(one) != parse_policy(other)
    one, other = (small.replace('channels = ["any"]', f"channels = {names}") for names in ('["sms","post"]', '["post","sms"]'))
    assert parse_policy(one) == parse_policy(other)


@pytest.mark.parametrize("data", [b"[]", b"{}", b"", b"\xff", b'{"policy": {}}'])
def test_other_bytes_are_no_policy(data: bytes) -> None:
    """Bytes that are not canonical, or not a policy, are refused."""
    with pytest.raises((FormatError, PolicyError)):
        Policy.from_canonical(data)


def test_canonical_bytes_without_a_default_are_refused(policy: Policy) -> None:
    """A default left out would let the meaning of logged bytes change with the library."""
    table = policy.plain()
    del table["parameters"]["proof_days"]
    with pytest.raises(PolicyError, match="every default"):
        Policy.from_canonical(codec.encode(table))


def test_a_policy_of_a_later_format_is_refused(policy: Policy) -> None:
    """The format's version is in the bytes."""
    table = policy.plain() | {"format": "consentlib-policy/v2"}
    with pytest.raises(PolicyError, match="expected `consentlib-policy/v1`"):
        Policy.from_canonical(codec.encode(table))


def test_a_policy_survives_pickling_and_copying(policy: Policy) -> None:
    """So do its uses, texts and mappings by themselves."""
    assert pickle.loads(pickle.dumps(policy)) == policy == copy.deepcopy(policy)
    for part in (policy.use("delivery"), policy.texts["nl-1"], policy.profile, policy.uses):
        assert pickle.loads(pickle.dumps(part)) == part
    assert hash(pickle.loads(pickle.dumps(policy))) == hash(policy)


def test_a_policy_can_not_be_changed(policy: Policy) -> None:
    """Neither its attributes nor its mappings, nor through `plain`."""
    frozen: Any = policy
    with pytest.raises(AttributeError):
        frozen.version = "4"
    with pytest.raises(TypeError):
        frozen.uses["delivery"] = None
    with pytest.raises(AttributeError):
        frozen.uses["delivery"].data = frozenset()
    policy.plain()["parameters"]["proof_days"] = 1
    assert policy.plain()["parameters"]["proof_days"] == 730


def test_a_frozen_map_does_not_follow_its_source() -> None:
    """Changing the dict it was made from changes nothing."""
    source = {"a": 1}
    made = FrozenMap(source)
    source["a"] = 2
    assert made == {"a": 1}
    assert hash(made) == hash(FrozenMap({"a": 1}))


def test_a_use_is_found_by_name_or_alias(policy: Policy) -> None:
    """Anything else is None: no guess at a near name decides about data."""
    assert policy.use("marketing") is policy.use("marketing_newsletter") is policy.uses["marketing_newsletter"]
    assert policy.use("marketing_newsleter") is None


def test_a_use_permits_its_channels_and_none(policy: Policy) -> None:
    """`any` covers all, and `none` (nothing is sent) is always permitted."""
    newsletter, delivery = policy.uses["marketing_newsletter"], policy.uses["delivery"]
    assert (newsletter.permits("sms"), newsletter.permits("none"), newsletter.permits("device")) == (True, True, False)
    assert delivery.permits("post")


def test_an_overlay_sets_profile_and_parameters(policy: Policy) -> None:
    """The original stays as it is."""
    other = policy.overlay("DE", {"soft_opt_in_channels": ["email"], "consent_max_age_days": 90})
    assert other.profile is other.profiles["DE"]
    assert other.parameters.soft_opt_in_channels == ("email",)
    assert other.parameters.consent_max_age_days == 90
    assert (policy.profile.name, policy.parameters.soft_opt_in_channels) == ("DK", ())
    assert other.overlay("DK", {"soft_opt_in_channels": [], "consent_max_age_days": None}) == policy
    assert policy.overlay() == policy


@pytest.mark.parametrize(("name", "ground"), [("follow_up", "legitimate_interest"), ("survey", "legitimate_interest")])
def test_a_ground_follows_its_parameter(policy: Policy, name: str, ground: str) -> None:
    """The use's ground is the parameter's value, also after a round trip through the log, and has its condition."""
    other = Policy.from_canonical(policy.canonical()).overlay(parameters={f"{name}_ground": ground})
    assert other.uses[name].grounds == (ground,)
    assert other.uses[name].conditions[ground] == "order_delivered_recently"
    assert policy.uses[name].grounds != (ground,)


@pytest.mark.parametrize(
    ("profile", "parameters", "said"),
    [
        ("DX", {}, "`policy.profile`: expected a profile, found `DX`; did you mean `DK`?"),
        (None, {"survey_grond": "consent"}, "did you mean `survey_ground`?"),
        (None, {"survey_days": None}, "expected a whole number, found `NoneType`"),
        (None, {"follow_up_ground": "consent"}, "expected one of `contract`, `legitimate_interest`"),
    ],
)
def test_an_overlay_refuses_unknown_names_and_values(
    policy: Policy, profile: str | None, parameters: dict[str, object], said: str
) -> None:
    """A mistyped override in a case file must not pass for the default."""
    with pytest.raises(PolicyError) as caught:
        policy.overlay(profile, parameters)
    assert said in str(caught.value)


def test_the_age_of_consent_is_that_of_the_day(policy: Policy) -> None:
    """Denmark moved from 13 to 15 with the year 2024; the day itself has the new age."""
    days = [date(1, 1, 1), date(2023, 12, 31), date(2024, 1, 1), date(2026, 9, 1)]
    assert [policy.profile.child_age_on(day) for day in days] == [13, 13, 15, 15]


def test_a_profile_knows_its_zone(policy: Policy) -> None:
    """As a name in the file, as a zone in use."""
    assert policy.profile.tzinfo == ZoneInfo("Europe/Copenhagen")


def test_a_text_hashes_its_wording(policy: Policy) -> None:
    """The canonical JSON of the wording, in all languages, and nothing else."""
    text = policy.texts["nl-1"]
    assert text.hash == sha256(codec.encode(dict(text.wording))).hexdigest()
    assert len({text.hash for text in policy.texts.values()}) == len(policy.texts)


def test_a_repr_is_short(policy: Policy) -> None:
    """Id, version and hash name a policy; its texts do not belong into a log line."""
    assert repr(policy) == f"Policy(id='littlesteps', version='3', hash='{policy.hash[:12]}')"
