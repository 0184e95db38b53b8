import pytest

from domain.redaction import without_secrets


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"client_secret": "pi_1_secret_2"}, {"client_secret": "(hidden)"}),
        (
            {"token_id": 7, "password_hash": "$2b$", "Signature": {"v1": "x"}},
            dict.fromkeys(("token_id", "password_hash", "Signature"), "(hidden)"),
        ),
        ({"client_secret": None}, {"client_secret": None}),
        ({"deep": [{"access_token": "x"}, "plain"]}, {"deep": [{"access_token": "(hidden)"}, "plain"]}),
        ("https://a.example/?client_secret=x&step=1", "https://a.example/?client_secret=(hidden)&step=1"),
        ("https://a.example/?step=1&token=x#end", "https://a.example/?step=1&token=(hidden)#end"),
        ("no secret = here", "no secret = here"),
        (3.5, 3.5),
    ],
)
def test_secrets_are_hidden_by_name_and_in_links(value, shown):
    assert without_secrets(value) == shown
