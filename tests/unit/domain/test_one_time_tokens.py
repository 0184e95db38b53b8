import re
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from domain.one_time_tokens import TokenKeyring, hash_token, reference, with_link

OLD, NEW = "an old secret", "a new secret"


@given(st.uuids(), st.uuids())
def test_a_token_belongs_to_one_row(first, second):
    keyring = TokenKeyring.derived_from({"a": OLD})
    assert (keyring.token(first, "a") == keyring.token(second, "a")) is (first == second)


def test_a_token_has_256_bits_and_fits_a_link():
    token = TokenKeyring.derived_from({"a": OLD}).token(uuid7(), "a")
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", token)
    assert re.fullmatch(r"[0-9a-f]{64}", hash_token(token))


def test_another_key_makes_another_token():
    keyring = TokenKeyring.derived_from({"a": OLD, "b": NEW})
    assert keyring.current == "a"
    assert keyring.token(UUID(int=1), "a") != keyring.token(UUID(int=1), "b")


def test_the_keys_are_not_the_secrets_that_they_come_from():
    assert TokenKeyring.derived_from({"a": OLD}).keys["a"] != OLD.encode()


def test_a_link_begun_before_a_rotation_is_finished_after_it():
    before, after = TokenKeyring.derived_from({"a": OLD}), TokenKeyring.derived_from({"b": NEW, "a": OLD})
    kept = reference(before, UUID(int=1))
    link = with_link("verify_email", {"first_name": "Ada", **kept}, after, "https://shop.example/")["link"]
    assert link == f"https://shop.example/verify-email?token={before.token(UUID(int=1), 'a')}"


def test_without_its_key_there_is_no_link():
    kept = reference(TokenKeyring.derived_from({"a": OLD}), UUID(int=1))
    with pytest.raises(KeyError):
        with_link("password_reset", kept, TokenKeyring.derived_from({"b": NEW}), "https://shop.example")


def test_what_is_kept_tells_no_token():
    keyring = TokenKeyring.derived_from({"a": OLD})
    kept = reference(keyring, UUID(int=1))
    assert keyring.token(UUID(int=1), "a") not in str(kept)


def test_the_link_replaces_what_it_was_made_from():
    keyring = TokenKeyring.derived_from({"a": OLD})
    context = {"first_name": "Ada", "expires_minutes": 30, **reference(keyring, UUID(int=1))}
    letter = with_link("password_reset", context, keyring, "https://shop.example")
    assert letter.keys() == {"first_name", "expires_minutes", "link"}
    assert letter["link"].startswith("https://shop.example/reset-password?token=")


@pytest.mark.parametrize(("template", "context"), [("order_held", {"token_id": "x"}), ("verify_email", {"link": "y"})])
def test_other_letters_stay_as_they_are(template, context):
    assert with_link(template, context, TokenKeyring.derived_from({"a": OLD}), "https://shop.example") == context


class TestPurposes:
    AFTER = TokenKeyring.derived_from({"b": NEW, "a": OLD})
    ROW = UUID(int=1)

    def test_rows_keys_and_purposes_all_have_tokens_of_their_own(self):
        rows, purposes = (self.ROW, UUID(int=2)), (b"", b"read", b"answer")
        tokens = {self.AFTER.token(row, kid, purpose) for row in rows for kid in "ab" for purpose in purposes}
        assert len(tokens) == 12

    def test_a_token_of_any_key_of_the_ring_is_recognised(self):
        before = TokenKeyring.derived_from({"a": OLD})
        assert self.AFTER.is_token(before.token(self.ROW, "a", b"read"), self.ROW, b"read")
        assert self.AFTER.is_token(self.AFTER.token(self.ROW, "b", b"read"), self.ROW, b"read")
        assert not before.is_token(self.AFTER.token(self.ROW, "b", b"read"), self.ROW, b"read")

    @pytest.mark.parametrize(
        "token",
        [
            AFTER.token(UUID(int=2), "b", b"read"),
            AFTER.token(ROW, "b", b"answer"),
            AFTER.token(ROW, "b"),
            AFTER.token(ROW, "b", b"read")[:-1],
            "",
            "\N{SNOWMAN}",
        ],
    )
    def test_any_other_text_is_not(self, token):
        assert not self.AFTER.is_token(token, self.ROW, b"read")
