import pytest
from sqlalchemy import select
from uuid_utils.compat import uuid7

from domain.mail_links import order_path, unsubscribe_path
from domain.models import AuditLog, Unsubscription
from domain.rules.states import OrderStage
from tests.factories import EmailNotificationFactory, MailingFactory, OrderFactory, PromoterFactory, bound_to

ONE_CLICK = {"List-Unsubscribe": "One-Click"}


@pytest.fixture
def mail(sessions):
    """Return an announcement that somebody got."""
    with sessions.begin() as session, bound_to(session):
        order = OrderFactory(stage=OrderStage.COMPLETE)
        order.event.promoter = PromoterFactory(company_name="Harbour <Concerts>")
        mailing = MailingFactory(event_id=order.event_id)
        return EmailNotificationFactory(
            template="announcement",
            user_id=order.user_id,
            order_id=order.id,
            event_id=order.event_id,
            mailing_id=mailing.id,
        )


@pytest.fixture
def link(services, mail):
    return unsubscribe_path(services.tokens, mail.id)


def unsubscribed(sessions):
    with sessions() as session:
        return session.scalars(select(Unsubscription.user_id)).all()


def test_opening_the_page_asks_and_changes_nothing(client, link, sessions):
    page = client.get(link)
    assert page.status_code == 200
    assert "Harbour &lt;Concerts&gt;" in page.text
    assert unsubscribed(sessions) == []


def test_the_buttons_unsubscribe_and_take_it_back_once_each(client, link, mail, sessions):
    path, _, token = link.partition("?token=")
    for _ in range(2):
        answer = client.post(path, data={"token": token, "answer": "unsubscribe"})
        assert (answer.status_code, answer.headers["Location"]) == (303, link)
    assert unsubscribed(sessions) == [mail.user_id]
    assert "no more announcements" in client.get(link).text
    client.post(path, data={"token": token, "answer": "resubscribe"})
    assert unsubscribed(sessions) == []
    with sessions() as session:
        acts = session.scalars(select(AuditLog).order_by(AuditLog.id)).all()
    assert [(act.action, act.actor_id) for act in acts] == [
        ("user.unsubscribe", mail.user_id),
        ("user.resubscribe", mail.user_id),
    ]


def test_a_mail_programs_one_click_needs_no_page(client, link, mail, sessions):
    assert client.post(link, data=ONE_CLICK).status_code == 200
    assert unsubscribed(sessions) == [mail.user_id]


def test_without_the_mails_own_token_there_is_nothing(client, link, mail, services, sessions):
    path, _, token = link.partition("?token=")
    other = order_path(services.tokens, mail.id).partition("?token=")[2]
    for wrong in ("", "x", other):
        assert client.get(f"{path}?token={wrong}").status_code == 404
        assert client.post(f"{path}?token={wrong}", data=ONE_CLICK).status_code == 404
        assert client.post(path, data={"token": wrong, "answer": "unsubscribe"}).status_code == 404
    assert client.get(f"/unsubscribe/{uuid7()}?token={token}").status_code == 404
    assert client.post(path, data={"token": token, "answer": "perhaps"}).status_code == 422
    assert unsubscribed(sessions) == []
