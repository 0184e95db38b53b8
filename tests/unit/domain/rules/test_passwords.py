import pytest

from domain.rules.passwords import weakness


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery staple",
        "Tr0ub4dor&3",
        "tickets-0a1b2c3d",
        "tickets-01234567",
        "пароль не скажу",
        "naïve café olé!",
    ],
)
def test_good_ones_pass(password):
    assert weakness(password, "ada@example.com") is None


@pytest.mark.parametrize(
    "password",
    [
        "aaaaaaaaaaaaaa",
        "abababababab",
        "1234567890",
        "0987654321",
        "12345678901234567890",
        "qwertyuiop",
        "Password123",
        "PASSWORD2345",
        "abcdefghijkl",
        "asdfghjkl123",
        "lovelace-at-home",
        "HOME of LOVELACE",
    ],
)
def test_what_everybody_tries_first_does_not(password):
    assert weakness(password, "lovelace@example.com")


def test_a_short_address_forbids_nothing():
    assert weakness("ada likes nine elephants", "ada@example.com") is None
