import pytest
from sqlalchemy import select

from domain.models import AuditLog, AuditPersonalValue, MailSuppression
from domain.rules.states import MailStatus, OrderStage, TeamRight, UserRole
from tests.factories import (
    EmailNotificationFactory,
    EventFactory,
    MailSuppressionFactory,
    OrderFactory,
    TeamMemberFactory,
    TicketTierFactory,
    UserFactory,
)

LOST = "550 5.1.1 The address does not exist"
LIFTING = "/api/v1/admin/mail-suppressions"


@pytest.fixture
def order(rows, promoter):
    order = OrderFactory(tier=TicketTierFactory(event=EventFactory(promoter=promoter)), stage=OrderStage.COMPLETE)
    rows.commit()
    return order


@pytest.fixture
def address(order):
    return f"/api/v1/events/{order.event_id}/mail"


@pytest.fixture
def mails(rows, order):
    about = {"event_id": order.event_id, "template": "order_confirmed"}
    for name in ("a", "b", "c"):
        EmailNotificationFactory(**about, status=MailStatus.BOUNCED, recipient=f"{name}@example.com", error=LOST)
    EmailNotificationFactory(**about, status=MailStatus.DELIVERED)
    EmailNotificationFactory(
        event_id=order.event_id,
        order_id=order.id,
        template="reminder",
        status=MailStatus.SUPPRESSED,
        recipient="d@example.com",
    )
    # Known already, and another event's.
    EmailNotificationFactory(**about, status=MailStatus.SUPPRESSED, recipient="a@example.com")
    EmailNotificationFactory(event_id=EventFactory().id, status=MailStatus.BOUNCED)
    rows.commit()


@pytest.mark.usefixtures("mails")
def test_the_seller_sees_how_the_mails_stand_and_whom_they_did_not_reach(seller, address, order):
    assert seller.get(address).json == {
        "templates": [
            {"template": "order_confirmed", "mails": {"bounced": 3, "delivered": 1, "suppressed": 1}},
            {"template": "reminder", "mails": {"suppressed": 1}},
        ]
    }
    first = seller.get(f"{address}/undeliverable", query_string={"limit": 2}).json
    rest = seller.get(f"{address}/undeliverable", query_string={"limit": 2, "cursor": first["next_cursor"]}).json
    items = first["items"] + rest["items"]
    assert [(item["address"][0], item["status"]) for item in items] == [
        ("a", "bounced"),
        ("b", "bounced"),
        ("c", "bounced"),
        ("d", "suppressed"),
    ]
    assert (items[0]["reason"], items[0]["order_number"], items[3]["order_number"]) == (LOST, None, order.number)
    assert rest["next_cursor"] is None


def test_mails_are_for_those_who_sell(rows, log_in, client, seller, promoter, address):
    members = {right: TeamMemberFactory(promoter_id=promoter.id, rights=[right]).user for right in TeamRight}
    admin, other = UserFactory(role=UserRole.ADMIN), UserFactory(role=UserRole.PROMOTER)
    rows.commit()
    for path in (address, f"{address}/undeliverable"):
        assert client.get(path).status_code == 401
        assert log_in(other).get(path).status_code == 403
        assert {right: log_in(user).get(path).status_code for right, user in members.items()} == {
            TeamRight.MANAGE: 403,
            TeamRight.SELL: 200,
            TeamRight.SCAN: 403,
        }
        assert log_in(admin).get(path).status_code == seller.get(path).status_code == 200


def test_an_admin_lifts_a_suppression_and_nobody_else(rows, log_in, client, seller, sessions):
    admin, owner = UserFactory(role=UserRole.ADMIN), UserFactory(email="Ada@example.com")
    MailSuppressionFactory()
    MailSuppressionFactory(address="ada@example.com", detail=LOST)
    rows.commit()
    office = log_in(admin)
    first = office.get(LIFTING, query_string={"limit": 1}).json
    shown = first["items"][0]
    assert (shown["address"], shown["reason"], shown["detail"]) == ("ada@example.com", "bounced", LOST)
    rest = office.get(LIFTING, query_string={"cursor": first["next_cursor"]}).json
    assert len(rest["items"]) == 1
    one = f"{LIFTING}/{shown['id']}"
    for caller, refusal in ((client, 401), (seller, 403), (log_in(owner), 403)):
        assert caller.get(LIFTING).status_code == caller.delete(one).status_code == refusal
    assert (office.delete(one).status_code, office.delete(one).status_code) == (204, 404)
    with sessions() as session:
        assert session.scalars(select(MailSuppression.address)).all() == [rest["items"][0]["address"]]
        entry = session.scalars(select(AuditLog).where(AuditLog.action == "mail_suppression.lift")).one()
        personal = session.scalars(select(AuditPersonalValue)).one()
    assert (entry.actor_id, entry.old_data) == (admin.id, {"reason": "bounced", "address": "personal"})
    assert (personal.subject_id, personal.old_value) == (owner.id, "ada@example.com")
