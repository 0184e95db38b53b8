from datetime import timedelta

import pytest
from sqlalchemy import select
from uuid_utils.compat import uuid7

from domain.models import CheckInScan, Ticket
from domain.ports import TicketClaims
from domain.rules.states import ScanResult, TeamRight, TicketStatus, UserRole
from tests.factories import PromoterFactory, TeamMemberFactory, UserFactory
from tests.integration.domain.gates import open_event, tickets_of

API = "/api/v1"
CHECK_INS = f"{API}/check-ins"
SCANNING, MANAGING, READING = {TeamRight.SCAN}, {TeamRight.MANAGE}, {TeamRight.SCAN, TeamRight.SELL}


@pytest.fixture
def event(rows, promoter):
    event = open_event(promoter=promoter, title="Nordic Noise")
    rows.commit()
    return event


@pytest.fixture
def ticket(rows, event):
    (ticket,) = tickets_of(rows, event, name="Standing")
    rows.commit()
    return ticket


@pytest.fixture
def member(rows, event, log_in):
    """Return a client of somebody in the team with these rights."""

    def member(*rights):
        user = TeamMemberFactory(promoter_id=event.promoter_id, rights=list(rights)).user
        rows.commit()
        return log_in(user)

    return member


@pytest.fixture
def gate(member):
    return member(TeamRight.SCAN)


@pytest.fixture
def signed(services):
    def signed(ticket):
        return services.signer.sign(TicketClaims(ticket.event_id, ticket.code, ticket.code_version))

    return signed


def upload(client, event, *scans, gate="North"):
    body = {"event_id": str(event.id), "gate": gate, "scans": [{"nonce": str(uuid7()), **scan} for scan in scans]}
    return client.post(CHECK_INS, json=body)


def results(answer):
    assert answer.status_code == 200, answer.json
    return [(it["result"], it["repeated"]) for it in answer.json["results"]]


class TestCheckingIn:
    def test_a_real_qr_code_lets_in_and_the_next_gate_hears_when_and_where(self, rows, gate, event, ticket, signed):
        first = upload(gate, event, {"payload": signed(ticket)}).json["results"][0]
        assert (first["result"], first["repeated"], first["scan"]["admitted"]) == ("accepted", False, True)
        assert first["scan"]["ticket"]["attendee_name"] == "Ada Lovelace"
        assert first["scan"]["ticket"]["tier_name"] == "Standing"
        second = upload(gate, event, {"code": ticket.code}, gate="South").json["results"][0]
        assert (second["result"], second["scan"]["conflict"]) == ("already_used", False)
        assert second["scan"]["earlier"] == {
            "id": first["scan"]["id"],
            "scanned_at": first["scan"]["scanned_at"],
            "gate": "North",
            "offline": False,
        }
        rows.refresh(ticket)
        assert ticket.status is TicketStatus.USED

    def test_an_upload_that_is_sent_again_is_answered_again(self, gate, event, ticket):
        scans = [{"nonce": "1", "code": ticket.code}, {"nonce": "2", "code": "x"}]
        assert results(upload(gate, event, *scans)) == [("accepted", False), ("unknown", False)]
        assert results(upload(gate, event, *scans)) == [("accepted", True), ("unknown", True)]
        assert results(upload(gate, event, {"nonce": "2", "code": "y"})) == [("nonce_reused", False)]

    def test_an_offline_hour_is_uploaded_in_one_body_larger_than_others_may_be(self, gate, event, clock, ticket, rows):
        at = (clock.now() - timedelta(minutes=30)).isoformat()
        rubbish = "https://example.com/" + "menu/" * 200
        scans = [{"code": ticket.code, "offline": True, "scanned_at": at}]
        scans += [{"payload": rubbish, "offline": True, "scanned_at": at}] * 299
        answer = upload(gate, event, *scans)
        assert results(answer)[:2] == [("accepted", False), ("bad_signature", False)]
        rows.refresh(ticket)
        assert ticket.checked_in_at == clock.now() - timedelta(minutes=30)
        assert len(rows.scalars(select(CheckInScan)).all()) == 300

    @pytest.mark.parametrize(
        ("change", "pointer"),
        [
            ({}, "/scans/0"),
            ({"code": "x", "payload": "y"}, "/scans/0"),
            ({"code": "x", "offline": True}, "/scans/0"),
            ({"code": "x", "nonce": ""}, "/scans/0/nonce"),
            ({"code": "x", "nonce": "n" * 65}, "/scans/0/nonce"),
            ({"code": "x", "scanned_at": "2027-06-05T17:00:00"}, "/scans/0/scanned_at"),
            ({"code": "x", "seat": 1}, "/scans/0/seat"),
        ],
    )
    def test_what_is_no_scan_is_refused(self, gate, event, change, pointer):
        answer = upload(gate, event, change)
        assert (answer.status_code, answer.json["errors"][0]["pointer"]) == (422, pointer)

    def test_an_upload_has_one_to_five_hundred(self, gate, event):
        for count in (0, 501):
            assert upload(gate, event, *[{"code": "x"}] * count).json["errors"][0]["pointer"] == "/scans"
        huge = upload(gate, event, *[{"payload": "x" * 4000}] * 200)
        assert (huge.status_code, huge.json["code"]) == (413, "body-too-large")


class TestUndoing:
    def test_it_lets_the_ticket_in_again_however_often_it_is_asked(self, seller, gate, event, ticket):
        scan_id = upload(gate, event, {"code": ticket.code}).json["results"][0]["scan"]["id"]
        first, again = (seller.post(f"{CHECK_INS}/{scan_id}/undo") for _ in range(2))
        assert first.status_code == again.status_code == 200
        assert first.json == again.json
        assert first.json["undone_at"] is not None
        assert first.json["ticket"]["checked_in_at"] is None
        assert results(upload(gate, event, {"code": ticket.code})) == [("accepted", False)]

    def test_there_must_be_something_to_undo(self, seller, gate, event):
        scan_id = upload(gate, event, {"code": "x"}).json["results"][0]["scan"]["id"]
        answer = seller.post(f"{CHECK_INS}/{scan_id}/undo")
        assert (answer.status_code, answer.json["code"]) == (409, "check-in-not-undoable")
        assert seller.post(f"{CHECK_INS}/{uuid7()}/undo").status_code == 404


class TestTheDoorIsTold:
    def test_a_gate_reads_the_list_and_then_what_changes(self, gate, event, ticket):
        address = f"{API}/events/{event.id}/door-list"
        first = gate.get(address).json
        (listed,) = first["items"]
        assert (listed["result"], listed["code_version"], first["complete"]) == ("accepted", 1, True)
        assert first["tiers"] == [{"id": listed["tier_id"], "name": "Standing"}]
        assert ticket.code not in gate.get(address).get_data(as_text=True)
        upload(gate, event, {"code": ticket.code})
        after = gate.get(address, query_string={"cursor": first["next_cursor"]}).json
        assert [it["result"] for it in after["items"]] == ["already_used"]
        quiet = gate.get(address, query_string={"cursor": after["next_cursor"]}).json
        assert (quiet["items"], quiet["complete"]) == ([], True)

    def test_a_cursor_of_elsewhere_is_refused(self, rows, gate, event):
        other = open_event(promoter=event.promoter)
        rows.commit()
        cursor = gate.get(f"{API}/events/{other.id}/door-list").json["next_cursor"]
        answer = gate.get(f"{API}/events/{event.id}/door-list", query_string={"cursor": cursor})
        assert (answer.status_code, answer.json["code"]) == (409, "door-list-stale")
        nonsense = gate.get(f"{API}/events/{event.id}/door-list", query_string={"cursor": "nonsense"})
        assert (nonsense.status_code, nonsense.json["errors"][0]["pointer"]) == (422, "/cursor")

    def test_figures_are_sent_once_until_they_differ(self, gate, event, ticket):
        address = f"{API}/events/{event.id}/door"
        before = gate.get(address)
        assert before.json["tiers"][0] | {"tier_id": ""} == {
            "tier_id": "",
            "name": "Standing",
            "tickets": 1,
            "inside": 0,
            "left": 1,
        }
        same = gate.get(address, headers={"If-None-Match": before.headers["ETag"]})
        assert (same.status_code, same.data, same.headers["ETag"]) == (304, b"", before.headers["ETag"])
        upload(gate, event, {"code": ticket.code}, {"code": ticket.code})
        after = gate.get(address, headers={"If-None-Match": before.headers["ETag"]})
        assert after.status_code == 200
        assert (after.json["inside"], after.json["refusals"]) == (1, {"already_used": 1})
        assert after.json["gates"] == [{"gate": "North", "inside": 1, "refused": 1, "conflicts": 0}]
        assert [it["inside"] for it in after.json["quarters"]] == [1]

    def test_conflicts_come_page_by_page(self, gate, event, ticket, clock):
        late = {"code": ticket.code, "offline": True, "scanned_at": clock.now().isoformat()}
        upload(gate, event, {"code": ticket.code})
        upload(gate, event, late, late, gate="South")
        address = f"{API}/events/{event.id}/check-in-conflicts"
        first = gate.get(address, query_string={"limit": 1}).json
        rest = gate.get(address, query_string={"limit": 1, "cursor": first["next_cursor"]}).json
        shown = first["items"] + rest["items"]
        assert [(it["gate"], it["earlier"]["gate"], it["conflict"]) for it in shown] == [("South", "North", True)] * 2
        assert rest["next_cursor"] is None


@pytest.fixture
def doors(rows, event, ticket, gate):
    """Return each route by a word, with the rights that let a member in."""
    used = upload(gate, event, {"code": ticket.code}).json["results"][0]["scan"]["id"]
    of_event = f"{API}/events/{event.id}"
    return [
        (lambda client: upload(client, event, {"code": "x"}), SCANNING),
        (lambda client: client.post(f"{CHECK_INS}/{used}/undo"), MANAGING),
        (lambda client: client.get(f"{of_event}/door-list"), SCANNING),
        (lambda client: client.get(f"{of_event}/door"), READING),
        (lambda client: client.get(f"{of_event}/check-in-conflicts"), READING),
    ]


def test_each_is_for_the_promoter_admins_and_the_team_by_right(rows, client, seller, member, log_in, doors, event):
    people = {
        "admin": log_in(UserFactory(role=UserRole.ADMIN)),
        "other": log_in(PromoterFactory().user),
        "holder": log_in(UserFactory()),
        **{right: member(right) for right in TeamRight},
    }
    rows.commit()
    for ask, rights in doors:
        assert ask(client).status_code == 401
        assert ask(people["other"]).status_code == ask(people["holder"]).status_code in {403, 404}
        for right in TeamRight:
            assert ask(people[right]).status_code == (200 if right in rights else 403)
        assert ask(people["admin"]).status_code == ask(seller).status_code == 200
    event.is_private = True
    rows.commit()
    for ask, _ in doors:
        assert ask(people["other"]).status_code == 404


def test_a_scan_of_another_promoters_ticket_tells_nothing_of_it(rows, gate, event):
    (foreign,) = tickets_of(rows, open_event())
    rows.commit()
    (outcome,) = upload(gate, event, {"code": foreign.code}).json["results"]
    assert (outcome["result"], outcome["scan"]["ticket"]) == (ScanResult.WRONG_EVENT, None)
    assert rows.scalars(select(Ticket.status).where(Ticket.id == foreign.id)).one() is TicketStatus.VALID
