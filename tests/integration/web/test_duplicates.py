from datetime import UTC, datetime, timedelta

from sqlalchemy import select

from domain.models import AuditLog, Event, TicketTier
from domain.rules.states import OrderStage
from tests.factories import EventFactory, OrderFactory, TicketTierFactory, UserFactory

EVENTS = "/api/v1/events"
HOUR, WEEK = timedelta(hours=1), timedelta(weeks=1)


def at(text):
    return datetime.fromisoformat(text)


def test_a_duplicate_is_a_draft_with_the_same_tiers_and_nothing_sold(rows, seller, promoter, sessions):
    start = datetime.now(UTC).replace(microsecond=0) + WEEK
    times = {"starts_at": start, "ends_at": start + 3 * HOUR, "doors_at": start - HOUR}
    event = EventFactory(promoter=promoter, **times, tags=["jazz"], is_featured=True, refund_granted_until=start)
    tier = TicketTierFactory(
        event=event, name="Standing", quantity=100, desired_quantity=120, is_paused=True, sale_starts_at=start - WEEK
    )
    OrderFactory(tier=tier, quantity=2, stage=OrderStage.COMPLETE)
    rows.commit()
    answer = seller.post(f"{EVENTS}/{event.id}/duplicate", json={"starts_at": (start + WEEK).isoformat()})
    made = answer.json
    assert (answer.status_code, answer.headers["Location"]) == (201, f"{EVENTS}/{made['id']}")
    assert (made["status"], made["title"], made["tags"], made["is_featured"]) == ("draft", event.title, ["jazz"], False)
    assert made["slug"] != event.slug
    assert made["refund_granted_until"] is None
    assert {name: at(made[name]) for name in times} == {name: value + WEEK for name, value in times.items()}
    (copy,) = seller.get(f"{EVENTS}/{made['id']}/tiers").json["items"]
    assert (copy["name"], copy["price"], copy["quantity"], copy["sold"]) == ("Standing", tier.price, 120, 0)
    assert (at(copy["sale_starts_at"]), copy["sale_ends_at"]) == (start, None)
    with sessions() as session:
        row = session.scalars(select(TicketTier).where(TicketTier.event_id == made["id"])).one()
        assert (row.sold, row.reserved, row.is_paused, row.fairness_position, row.desired_quantity) == (
            0,
            0,
            False,
            0,
            None,
        )
        entry = session.scalars(select(AuditLog)).one()
        assert (entry.action, str(entry.entity_id), entry.actor_id) == ("event.duplicate", made["id"], promoter.user_id)
        assert entry.new_data == {"title": event.title, "duplicate_of": str(event.id), "tiers": 1}


def test_its_title_is_given_or_the_same_and_no_time_moves_by_itself(rows, seller, promoter):
    event = EventFactory(promoter=promoter)
    rows.commit()
    made = seller.post(f"{EVENTS}/{event.id}/duplicate", json={"title": "Second night"}).json
    assert (made["title"], at(made["starts_at"])) == ("Second night", event.starts_at)
    assert (made["ends_at"], made["doors_at"]) == (event.ends_at.isoformat().replace("+00:00", "Z"), None)


def test_who_may(rows, client, seller, log_in, promoter):
    event, other = EventFactory(promoter=promoter), UserFactory()
    rows.commit()
    address = f"{EVENTS}/{event.id}/duplicate"
    assert client.post(address, json={}).status_code == 401
    assert log_in(other).post(address, json={}).status_code == 403
    assert seller.post(f"{EVENTS}/{promoter.id}/duplicate", json={}).status_code == 404


def test_a_move_beyond_all_years_is_refused(rows, seller, promoter, sessions):
    start = datetime.now(UTC) + WEEK
    far = datetime(9999, 12, 31, tzinfo=UTC)
    event = EventFactory(promoter=promoter, starts_at=start, ends_at=far)
    rows.commit()
    answer = seller.post(f"{EVENTS}/{event.id}/duplicate", json={"starts_at": "9000-01-01T00:00:00Z"})
    assert (answer.status_code, answer.json["errors"][0]["pointer"]) == (422, "/starts_at")
    with sessions() as session:
        assert session.scalars(select(Event.id)).all() == [event.id]
