from datetime import timedelta

import pytest
from sqlalchemy import select

from domain import approvals
from domain.approvals import NOTICE_PAUSE
from domain.correspondence import Links
from domain.models import EmailNotification, Promoter, TicketTier, User
from domain.notifications import send_mail
from domain.one_time_tokens import TokenKeyring
from domain.rules.states import MailStatus, OrderReason, OrderStage, TeamRight
from tests.factories import OrderFactory, TeamMemberFactory, TicketTierFactory, bound_to
from tests.fakes.mailer import FakeMailer

LINKS = Links("https://tickets.example", TokenKeyring({"k1": b"1" * 32}))
BUYERS, TEAMS = "order_awaiting_approval", "orders_await_approval"


@pytest.fixture
def tier(till):
    with till.sessions.begin() as session:
        return TicketTierFactory(session=session, requires_approval=True)


def wait(till, tier, stage=OrderStage.AWAITING_APPROVAL):
    with till.sessions.begin() as session, bound_to(session):
        return OrderFactory(stage=stage, tier=session.get_one(TicketTier, tier.id)).id


def look(till):
    """Let the sweep look; return how many buyers and teams it told."""
    return approvals.tell_buyers(till.sessions), approvals.tell_teams(till.sessions, till.now)


def mails(till, template):
    query = select(EmailNotification).where(EmailNotification.template == template).order_by(EmailNotification.id)
    with till.sessions() as session:
        return session.scalars(query).all()


def post(till, mail):
    mailer = FakeMailer()
    send_mail(till.sessions, mailer, mail.id, till.now, LINKS)
    return mailer.sent[0].rendered.text if mailer.sent else None


def test_the_buyer_is_told_once_that_the_order_waits(till, tier):
    order_id = wait(till, tier)
    wait(till, tier, OrderStage.HELD)
    assert look(till)[0] == 1
    assert look(till)[0] == 0
    (mail,) = mails(till, BUYERS)
    assert (mail.order_id, mail.user_id) == (order_id, till.read(order_id).user_id)
    assert "the organiser decides by" in post(till, mail)


def test_what_was_decided_meanwhile_is_not_told(till, tier):
    order_id = wait(till, tier)
    look(till)
    till.give_up(order_id, OrderReason.APPROVAL_EXPIRED)
    (mail,) = mails(till, BUYERS)
    assert post(till, mail) is None
    assert mails(till, BUYERS)[0].status is MailStatus.FAILED


def test_a_deadline_that_passes_is_told_to_the_buyer(till, tier):
    order_id = wait(till, tier)
    till.advance(hours=2)
    till.expire()
    order = till.read(order_id)
    assert (order.stage, order.reason) == (OrderStage.CLOSED, OrderReason.APPROVAL_EXPIRED)
    (mail,) = mails(till, "order_cancelled")
    assert "did not approve it in time" in post(till, mail)


def test_whoever_sells_is_told_and_nobody_else(till, tier):
    with till.sessions.begin() as session, bound_to(session):
        promoter_id = tier.event.promoter_id
        seller = TeamMemberFactory(promoter_id=promoter_id, rights=[TeamRight.SELL, TeamRight.SCAN]).user
        TeamMemberFactory(promoter_id=promoter_id, rights=[TeamRight.MANAGE])
        TeamMemberFactory(rights=[TeamRight.SELL])
        gone = TeamMemberFactory(promoter_id=promoter_id, rights=[TeamRight.SELL]).user
        gone.is_active = False
        owner = session.get_one(User, session.get_one(Promoter, promoter_id).user_id)
    wait(till, tier)
    wait(till, tier)
    assert look(till) == (2, 1)
    told = mails(till, TEAMS)
    assert sorted(mail.recipient for mail in told) == sorted([seller.email, owner.email])
    assert "2 orders wait for your decision" in post(till, told[0])


def test_a_team_hears_of_an_event_at_most_once_in_a_quarter_of_an_hour_and_of_every_order(till, tier):
    wait(till, tier)
    look(till)
    wait(till, tier)
    till.advance(minutes=14)
    assert look(till) == (1, 0)
    assert len(mails(till, TEAMS)) == 1
    till.now += NOTICE_PAUSE - timedelta(minutes=14)
    assert look(till) == (0, 1)
    assert [mail.context["orders"] for mail in mails(till, TEAMS)] == [1, 2]
    till.advance(hours=1)
    assert look(till) == (0, 0)


def test_when_all_were_decided_before_its_turn_the_team_hears_nothing(till, tier):
    order_id = wait(till, tier)
    approvals.tell_buyers(till.sessions)
    till.give_up(order_id, OrderReason.DECLINED)
    assert approvals.tell_teams(till.sessions, till.now) == 0
    assert mails(till, TEAMS) == []


def test_the_team_of_a_closed_promoter_is_told_nothing(till, tier):
    with till.sessions.begin() as session, bound_to(session):
        promoter_id = tier.event.promoter_id
        TeamMemberFactory(promoter_id=promoter_id, rights=[TeamRight.SELL])
        session.get_one(User, session.get_one(Promoter, promoter_id).user_id).is_active = False
    wait(till, tier)
    look(till)
    assert mails(till, TEAMS) == []
