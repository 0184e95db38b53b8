import pytest
from sqlalchemy import select
from uuid_utils.compat import uuid7

from domain import mailings
from domain.models import AuditLog
from domain.rules.states import OrderStage, TeamRight, UserRole
from tests.factories import EventFactory, OrderFactory, TeamMemberFactory, TicketTierFactory, UserFactory

WORDS = {"subject": "Before you come", "body": "Bring <something> warm.\n\nhttps://example.com/ferries"}


@pytest.fixture
def tier(rows, promoter):
    tier = TicketTierFactory(event=EventFactory(promoter=promoter, title="Nordic Noise"))
    for quantity in (2, 1):
        OrderFactory(tier=tier, quantity=quantity, stage=OrderStage.COMPLETE)
    rows.commit()
    return tier


@pytest.fixture
def address(tier):
    return f"/api/v1/events/{tier.event_id}/announcements"


@pytest.fixture
def sweep(sessions, clock):
    def sweep(budget=100):
        clock.advance(seconds=5)
        mailings.carry_on(sessions, clock.now(), budget)

    return sweep


def test_an_announcement_is_drafted_looked_at_sent_and_followed(seller, address, sweep, sessions, clock):
    clock.advance(seconds=5)
    made = seller.post(address, json=WORDS)
    assert made.status_code == 201
    here = made.headers["Location"]
    assert here == f"{address}/{made.json['id']}"
    assert made.json["audience"] == {"tier_ids": [], "ticket_statuses": ["valid", "used"]}
    preview = seller.get(f"{here}/preview").json
    assert preview["subject"] == "Before you come"
    assert "Bring &lt;something&gt; warm." in preview["html"]
    assert 'href="https://example.com/ferries"' in preview["html"]
    sweep()
    draft = seller.get(here).json
    assert (draft["status"], draft["people"], draft["written"], draft["sent_at"]) == ("draft", 2, 0, None)
    for _ in range(2):
        sent = seller.post(f"{here}/send")
        assert (sent.status_code, sent.json["status"]) == (202, "waiting")
    sweep(budget=1)
    going = seller.get(here).json
    assert (going["status"], going["people"], going["written"], going["mails"]) == ("sending", 2, 1, {"pending": 1})
    for _ in range(2):
        assert seller.post(f"{here}/cancel").json["status"] == "cancelled"
    assert seller.post(f"{here}/send").json["code"] == "announcement-cancelled"
    with sessions() as session:
        acts = session.scalars(select(AuditLog.action).where(AuditLog.entity_type == "Mailing").order_by(AuditLog.id))
        assert acts.all() == ["announcement.create", "announcement.send", "announcement.cancel"]


def test_what_has_gone_out_cannot_be_called_off(seller, address, sweep):
    here = seller.post(address, json=WORDS).headers["Location"]
    assert seller.post(f"{here}/send").status_code == 202
    sweep()
    assert seller.get(here).json["status"] == "sent"
    assert seller.post(f"{here}/cancel").json["code"] == "announcement-sent"


def test_the_list_is_paged_newest_first(seller, address):
    ids = [seller.post(address, json=WORDS | {"subject": str(number)}).json["id"] for number in range(3)]
    first = seller.get(address, query_string={"limit": 2}).json
    rest = seller.get(address, query_string={"limit": 2, "cursor": first["next_cursor"]}).json
    assert [item["id"] for item in first["items"] + rest["items"]] == ids[::-1]
    assert rest["next_cursor"] is None


@pytest.mark.parametrize(
    ("values", "pointer"),
    [
        ({"subject": " "}, "/subject"),
        ({"body": ""}, "/body"),
        ({"audience": {"ticket_statuses": []}}, "/audience/ticket_statuses"),
        ({"audience": {"tier_ids": [str(uuid7())]}}, "/audience/tier_ids/0"),
    ],
)
def test_what_is_not_right_is_refused_and_named(seller, address, values, pointer):
    refused = seller.post(address, json=WORDS | values)
    assert (refused.status_code, refused.json["errors"][0]["pointer"]) == (422, pointer)


def test_announcements_are_for_those_who_manage_the_event(rows, log_in, client, seller, promoter, address):
    here = seller.post(address, json=WORDS).headers["Location"]
    members = {right: TeamMemberFactory(promoter_id=promoter.id, rights=[right]).user for right in TeamRight}
    admin, other = UserFactory(role=UserRole.ADMIN), UserFactory(role=UserRole.PROMOTER)
    rows.commit()
    calls = [
        ("post", address),
        ("get", address),
        ("get", here),
        ("get", f"{here}/preview"),
        ("post", f"{here}/send"),
        ("post", f"{here}/cancel"),
    ]

    def statuses(caller):
        return {
            caller.open(path, method=method, json=WORDS if path == address and method == "post" else None).status_code
            for method, path in calls
        }

    assert statuses(client) == {401}
    assert statuses(log_in(other)) == {403}
    assert statuses(log_in(members[TeamRight.SELL])) == statuses(log_in(members[TeamRight.SCAN])) == {403}
    assert statuses(log_in(members[TeamRight.MANAGE])) == {200, 201, 202}
    assert log_in(admin).get(here).json["status"] == "cancelled"
    assert seller.get(f"{address}/{uuid7()}").status_code == 404
