from threading import Thread

import pytest
from sqlalchemy import text
from uuid_utils.compat import uuid7

from domain import idempotency
from domain.errors import KeyReusedError
from tests.factories import UserFactory
from tests.integration.market import until

FINGERPRINT = "a" * 64


@pytest.fixture
def user_id(sessions):
    with sessions.begin() as session:
        return UserFactory(session=session).id


def find(session, user_id, key="k-1", fingerprint=FINGERPRINT):
    return idempotency.find_answer(session, user_id, key, fingerprint)


def keep(session, user_id, subject):
    idempotency.keep_answer(session, user_id, "k-1", FINGERPRINT, status=202, subject=subject)


def test_the_first_request_finds_nothing_and_the_next_what_it_kept(sessions, user_id):
    subject = uuid7()
    with sessions.begin() as session:
        assert find(session, user_id) is None
        keep(session, user_id, subject)
    with sessions.begin() as session:
        kept = find(session, user_id)
        assert (kept.response_status, kept.response_body) == (202, {"id": str(subject)})
        assert find(session, user_id, key="k-2") is None
        assert find(session, UserFactory(session=session).id) is None


def test_a_key_stands_for_one_request(sessions, user_id):
    with sessions.begin() as session:
        keep(session, user_id, uuid7())
    with sessions.begin() as session, pytest.raises(KeyReusedError) as refusal:
        find(session, user_id, fingerprint="b" * 64)
    assert refusal.value.code == "idempotency-key-reused"


@pytest.mark.parametrize("succeeds", [True, False])
def test_whoever_comes_meanwhile_waits_for_the_first_to_end(sessions, engine, user_id, succeeds):
    found = []

    def come():
        with sessions.begin() as session:
            found.append(find(session, user_id))

    def is_waiting():
        with engine.connect() as connection:
            count = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            return connection.scalar(text(count)) == 1

    with sessions() as first:
        assert find(first, user_id) is None
        thread = Thread(target=come)
        thread.start()
        until(is_waiting)
        assert found == []
        keep(first, user_id, uuid7())
        if succeeds:
            first.commit()
        else:
            first.rollback()
    thread.join(10)
    assert [kept is not None for kept in found] == [succeeds]
