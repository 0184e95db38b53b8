from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from domain.rules.pricing import Terms
from domain.rules.publishing import Draft, PricedTier, find_faults, find_price_fault

NOW = datetime(2027, 5, 1, 12, tzinfo=UTC)
TERMS = Terms(fee_rate_bps=250, fee_fixed=50, absorbs_fees=False, tax_rate_bps=2500)
TIER = PricedTier(price=4500, quantity=100, max_per_order=10, is_active=True, sale_ends_at=None)
FREE = replace(TIER, price=0)
DRAFT = Draft(NOW + timedelta(days=30), 100, "EUR", TERMS, has_verified_promoter=True, can_be_paid=True, tiers=[TIER])


def pointers(draft: Draft) -> list[str]:
    return [fault.pointer for fault in find_faults(draft, NOW)]


def test_a_complete_event_has_no_fault() -> None:
    assert find_faults(DRAFT, NOW) == []


@pytest.mark.parametrize(
    ("draft", "pointer"),
    [
        (replace(DRAFT, starts_at=NOW), "/starts_at"),
        (replace(DRAFT, capacity=99), "/capacity"),
        (replace(DRAFT, tiers=[]), "/tiers"),
        (replace(DRAFT, tiers=[replace(TIER, is_active=False)]), "/tiers"),
        (replace(DRAFT, tiers=[FREE, replace(TIER, quantity=0, price=49)]), "/tiers/1/price"),
        (replace(DRAFT, tiers=[replace(TIER, sale_ends_at=NOW)]), "/tiers/0/sale_ends_at"),
        (replace(DRAFT, has_verified_promoter=False), "/promoter"),
        (replace(DRAFT, can_be_paid=False), "/promoter"),
    ],
)
def test_one_fault_is_pointed_at(draft: Draft, pointer: str) -> None:
    assert pointers(draft) == [pointer]


def test_all_faults_are_named_at_once() -> None:
    draft = replace(DRAFT, starts_at=NOW, capacity=1, tiers=[replace(TIER, price=1)], has_verified_promoter=False)
    assert pointers(draft) == ["/starts_at", "/capacity", "/tiers/0/price", "/promoter"]


def test_free_tickets_need_no_verified_promoter_and_no_account() -> None:
    assert find_faults(replace(DRAFT, has_verified_promoter=False, can_be_paid=False, tiers=[FREE]), NOW) == []


def test_what_is_wrong_with_an_inactive_tier_does_not_matter() -> None:
    sleeping = replace(TIER, price=1, quantity=0, is_active=False)
    draft = replace(DRAFT, has_verified_promoter=False, can_be_paid=False, tiers=[FREE, sleeping])
    assert find_faults(draft, NOW) == []


@pytest.mark.parametrize(
    ("price", "currency", "is_wrong"),
    [
        (0, "EUR", False),
        (49, "EUR", True),
        (50, "EUR", False),
        (249, "DKK", True),
        (250, "DKK", False),
        (5125, "KWD", True),
        (5120, "KWD", False),
        (150, "ISK", True),
        (200, "ISK", False),
    ],
)
def test_a_price_is_nothing_or_what_can_be_charged(price: int, currency: str, is_wrong: bool) -> None:
    assert (find_price_fault(price, 1, currency, TERMS) is not None) is is_wrong


def test_a_price_pays_the_fees_that_it_absorbs() -> None:
    absorbing = Terms(fee_rate_bps=0, fee_fixed=100, absorbs_fees=True, tax_rate_bps=0)
    assert find_price_fault(99, 1, "EUR", absorbing) is not None
    assert find_price_fault(100, 1, "EUR", absorbing) is None


def test_the_largest_order_can_be_charged_at_once() -> None:
    plain = Terms(0, 0, absorbs_fees=False, tax_rate_bps=0)
    assert find_price_fault(9_999_999, 10, "EUR", plain) is None
    assert find_price_fault(10_000_000, 10, "EUR", plain) is not None
    assert find_price_fault(9_999_999, 10, "EUR", TERMS) is not None
