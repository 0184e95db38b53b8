import pytest
from sqlalchemy import select, update
from uuid_utils.compat import uuid7

from domain.models import AuditLog, EmailNotification, User
from domain.rules.states import EventStatus, OrderStage, TeamRight, UserRole
from tests.factories import (
    EventFactory,
    OrderFactory,
    PromoterFactory,
    TeamMemberFactory,
    TicketTierFactory,
    UserFactory,
)

TEAM = "/api/v1/promoters/me/team"
MANAGE, SELL, SCAN = TeamRight.MANAGE, TeamRight.SELL, TeamRight.SCAN

BODIES = {
    "event": {
        "title": "Jazz",
        "starts_at": "2030-06-05T17:00:00Z",
        "ends_at": "2030-06-05T21:00:00Z",
        "timezone": "Europe/Copenhagen",
        "capacity": 500,
        "currency": "EUR",
    },
    "tier": {"name": "Standing", "price": 4500, "quantity": 10},
    "nothing": {},
}


def told(answer):
    return answer.status_code, answer.json.get("code") if answer.json else None


@pytest.fixture
def person(rows):
    person = UserFactory(email="Door@example.com")
    rows.commit()
    return person


@pytest.fixture
def join(rows, promoter, log_in):
    """Return a function that takes somebody new into the promoter's team, and returns their client."""

    def join(*rights):
        member = TeamMemberFactory(promoter_id=promoter.id, rights=list(rights))
        rows.commit()
        return log_in(member.user)

    return join


class TestTeam:
    def test_a_person_is_taken_in_told_changed_and_removed(self, seller, person, log_in, promoter, sessions):
        answer = seller.post(TEAM, json={"email": "door@EXAMPLE.com", "rights": ["scan", "scan"]})
        member = answer.json
        assert (answer.status_code, answer.headers["Location"]) == (201, f"{TEAM}/{member['id']}")
        assert (member["email"], member["name"], member["rights"]) == (person.email, person.full_name, ["scan"])
        assert seller.get(TEAM).json == {"items": [member], "next_cursor": None}
        changed = seller.patch(answer.headers["Location"], json={"rights": ["sell", "manage"]})
        assert (changed.status_code, changed.json["rights"]) == (200, ["manage", "sell"])
        (team,) = log_in(person).get("/api/v1/teams").json["items"]
        assert (team["member_id"], team["promoter_id"]) == (member["id"], str(promoter.id))
        assert (team["promoter_name"], team["rights"]) == (promoter.company_name, ["manage", "sell"])
        assert seller.delete(answer.headers["Location"]).status_code == 204
        assert seller.get(TEAM).json["items"] == log_in(person).get("/api/v1/teams").json["items"] == []
        with sessions() as session:
            (mail,) = session.scalars(select(EmailNotification))
            assert (mail.template, mail.recipient, mail.user_id) == ("team_joined", person.email, person.id)
            actions = session.scalars(select(AuditLog.action).order_by(AuditLog.id)).all()
            assert actions == ["team.add", "team.change", "team.remove"]

    def test_a_member_leaves_by_themselves(self, rows, promoter, log_in, seller):
        member = TeamMemberFactory(promoter_id=promoter.id)
        other = TeamMemberFactory(promoter_id=promoter.id, rights=[MANAGE])
        rows.commit()
        assert told(log_in(member.user).delete(f"{TEAM}/{other.id}")) == (403, "forbidden")
        assert log_in(member.user).delete(f"{TEAM}/{member.id}").status_code == 204
        assert [item["id"] for item in seller.get(TEAM).json["items"]] == [str(other.id)]

    def test_who_cannot_be_taken_in(self, rows, seller, promoter, person):
        unproved = UserFactory(email_verified=False)
        closed = UserFactory(is_active=False)
        rows.commit()
        for email in ("nobody@example.com", unproved.email, closed.email):
            answer = seller.post(TEAM, json={"email": email, "rights": ["scan"]})
            assert told(answer) == (409, "no-verified-account")
            assert answer.json["errors"][0]["pointer"] == "/email"
        assert seller.post(TEAM, json={"email": person.email, "rights": ["scan"]}).status_code == 201
        for email in (person.email, promoter.user.email):
            assert told(seller.post(TEAM, json={"email": email, "rights": ["sell"]})) == (409, "already-in-team")
        for wrong in ({"rights": []}, {"rights": ["own"]}, {"email": "nobody", "rights": ["scan"]}):
            assert told(seller.post(TEAM, json={"email": person.email, **wrong})) == (422, "validation-failed")

    def test_pages_follow_their_cursor(self, seller, join):
        for right in TeamRight:
            join(right)
        first = seller.get(TEAM, query_string={"limit": 2}).json
        rest = seller.get(TEAM, query_string={"limit": 2, "cursor": first["next_cursor"]}).json
        assert [item["rights"] for item in first["items"] + rest["items"]] == [["manage"], ["sell"], ["scan"]]
        assert rest["next_cursor"] is None

    def test_whose_business_a_team_is(self, rows, client, log_in, promoter, seller, join):
        member = TeamMemberFactory(promoter_id=promoter.id)
        stranger, other, admin = UserFactory(), PromoterFactory().user, UserFactory(role=UserRole.ADMIN)
        rows.commit()
        one, of = f"{TEAM}/{member.id}", {"promoter_id": promoter.id}
        body = {"email": stranger.email, "rights": ["scan"]}

        def ask(who):
            return [
                answer.status_code
                for answer in (
                    who.get(TEAM, query_string=of),
                    who.post(TEAM, query_string=of, json=body),
                    who.patch(one, json={"rights": ["sell"]}),
                    who.delete(f"{TEAM}/{uuid7()}"),
                )
            ]

        assert [*ask(client), client.get("/api/v1/teams").status_code] == [401] * 5
        assert ask(log_in(stranger)) == ask(log_in(other)) == [404] * 4
        assert ask(join(MANAGE, SELL, SCAN)) == [403, 403, 403, 404]
        assert ask(log_in(admin)) == [200, 201, 200, 404]
        assert ask(seller) == [200, 409, 200, 404]
        assert told(log_in(admin).get(TEAM)) == (404, "not-found")


class TestWhatMembersMay:
    """Each line is an act with the right that it takes: the others of the team, who see the event, may not."""

    MATRIX = (
        ("put", "/events/{draft}", "event", MANAGE),
        ("delete", "/events/{draft}", None, MANAGE),
        ("post", "/events/{draft}/publish", None, MANAGE),
        ("post", "/events/{draft}/duplicate", "nothing", MANAGE),
        ("post", "/events/{draft}/tiers", "tier", MANAGE),
        ("put", "/tiers/{tier}", "tier", MANAGE),
        ("post", "/tiers/{tier}/pause", None, MANAGE),
        ("post", "/tiers/{tier}/drain", None, MANAGE),
        ("post", "/tiers/{tier}/resume", None, MANAGE),
        ("delete", "/tiers/{tier}", None, MANAGE),
        ("get", "/events/{draft}/disputes", None, SELL),
        ("get", "/events/{draft}/statement", None, SELL),
        ("post", "/events/{event}/cancel", None, None),
    )

    @pytest.mark.parametrize(("method", "path", "body", "right"), MATRIX)
    def test_a_right_is_needed_and_suffices(self, rows, promoter, join, method, path, body, right):
        draft = EventFactory(promoter=promoter, status=EventStatus.DRAFT, capacity=500)
        event, tier = EventFactory(promoter=promoter), TicketTierFactory(event=draft, quantity=100)
        rows.commit()
        address = "/api/v1" + path.format(draft=draft.id, event=event.id, tier=tier.id)

        def ask(*rights):
            return join(*rights).open(address, method=method.upper(), json=BODIES.get(body)).status_code

        assert ask(*(set(TeamRight) - {right})) == 403
        if right is not None:
            assert ask(right) in {200, 201, 202, 204}

    @pytest.mark.parametrize("what", ["approve", "decline"])
    def test_sellers_decide_on_orders_and_others_do_not_know_of_them(self, rows, promoter, join, what):
        tier = TicketTierFactory(event=EventFactory(promoter=promoter), requires_approval=True)
        order = OrderFactory(tier=tier, stage=OrderStage.AWAITING_APPROVAL)
        rows.commit()
        address = f"/api/v1/orders/{order.id}"
        assert told(join(MANAGE, SCAN).post(f"{address}/{what}")) == (404, "not-found")
        member = join(SELL)
        assert [member.post(f"{address}/{what}").status_code, member.get(address).status_code] == [202, 200]

    def test_a_member_finds_the_teams_events_among_their_own(self, rows, promoter, join, client):
        hidden = EventFactory(promoter=promoter, is_private=True)
        tier = TicketTierFactory(event=hidden)
        EventFactory(is_private=True)
        rows.commit()
        member = join(SCAN)
        found = member.get("/api/v1/events", query_string={"mine": "true"}).json["items"]
        assert [item["id"] for item in found] == [str(hidden.id)]
        availability = f"/api/v1/tiers/{tier.id}/availability"
        assert (member.get(availability).status_code, client.get(availability).status_code) == (200, 404)

    def test_a_team_may_no_more_than_its_promoter(self, rows, promoter, join, seller):
        draft = EventFactory(promoter=promoter, status=EventStatus.DRAFT)
        member = join(MANAGE)
        address = f"/api/v1/events/{draft.id}"
        assert member.get(address).status_code == 200
        rows.execute(update(User).where(User.id == promoter.user_id).values(role=UserRole.USER))
        rows.commit()
        assert [told(who.get(address)) for who in (member, seller)] == [(404, "not-found")] * 2
