from sqlalchemy import text

from domain.models import TimelineEntry
from tests.factories import OrderFactory, bound_to


def test_whoever_refers_to_an_order_and_whoever_changes_it_do_not_wait_for_each_other(sessions):
    with sessions.begin() as session, bound_to(session):
        order_id = OrderFactory().id
    with sessions() as telling, sessions() as changing:
        telling.add(TimelineEntry(order_id=order_id, kind="mail_sent"))
        telling.flush()
        changing.execute(text("SET lock_timeout = '500ms'"))
        changing.execute(text("UPDATE orders SET hold_limit_at = now() WHERE id = :id"), {"id": order_id})
        changing.commit()
