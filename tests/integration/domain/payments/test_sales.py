from datetime import UTC, datetime

from domain.payments.sales import read_sales
from domain.rules.states import OrderStage
from tests.factories import CodeFactory, OrderFactory, TicketTierFactory, bound_to


def test_the_tickets_of_a_discounted_line_are_together_worth_what_is_left_of_it(session):
    with bound_to(session):
        tier = TicketTierFactory(price=1999)
        code = CodeFactory(event_id=tier.event_id, discount_bps=1500)
        order = OrderFactory(tier=tier, quantity=4, code=code, stage=OrderStage.COMPLETE)
    # 15 % of 79.96 is 11.994: what is left, 67.97, is no multiple of four.
    assert order.subtotal == 6797
    [sale] = read_sales(session, tier.event_id, datetime.now(UTC))
    assert (sale.seats.bought, sale.seats.issued, sale.seats.valid) == (6797, 6797, 6797)
