import base64

import pytest
from uuid_utils.compat import uuid7

from domain.hook_secrets import SecretKeyring, sign, written

SECRET = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
"""Of the specification's example, as are the id, time and body; the library `standardwebhooks` signs it so, too."""
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_specifications_example_is_signed_as_there():
    signed = sign([SECRET], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed == SIGNATURE


def test_each_secret_signs_and_any_change_shows():
    body = b'{"test": 2432232314}'
    first, second = sign([SECRET, bytes(32)], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body).split(" ")
    assert (first, second.startswith("v1,"), second != first) == (SIGNATURE, True, True)
    for other in (("msg_2", 1614265330, body), ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265331, body)):
        assert sign([SECRET], *other) != SIGNATURE


def test_a_secret_is_made_anew_from_its_id_and_key():
    keyring, other = SecretKeyring({"w2": b"2" * 32, "w1": b"1" * 32}), SecretKeyring({"w1": b"1" * 32})
    first, second = uuid7(), uuid7()
    assert keyring.current == "w2"
    assert keyring.secret(first, "w1") == other.secret(first, "w1")
    assert len({keyring.secret(first, "w1"), keyring.secret(first, "w2"), keyring.secret(second, "w1")}) == 3
    with pytest.raises(KeyError):
        other.secret(first, "w2")


def test_it_is_written_as_libraries_read_it():
    assert written(SECRET) == "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    assert 24 <= len(SecretKeyring({"w1": b"1" * 32}).secret(uuid7(), "w1")) <= 64
