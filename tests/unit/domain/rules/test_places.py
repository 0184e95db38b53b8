import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.rules.places import STILL_SECONDS, Outlook, eta_seconds, outlook, worst

counts = st.integers(0, 100_000)


class TestETA:
    @pytest.mark.parametrize(("ahead", "rate", "seconds"), [(0, 5000, 1), (4, 5, 1), (5, 5, 2), (9999, 500, 20)])
    def test_is_in_whole_seconds_rounded_up_and_counts_the_order_itself(self, ahead, rate, seconds):
        assert eta_seconds(ahead, rate, is_paused=False) == seconds

    @pytest.mark.parametrize("rate", [None, 0.0])
    def test_nobody_knows_it_before_somebody_was_served(self, rate):
        assert eta_seconds(3, rate, is_paused=False) is None

    def test_nobody_knows_it_while_the_tier_is_paused(self):
        assert eta_seconds(3, 100, is_paused=True) is None

    def test_nobody_knows_it_while_the_tier_stands_still(self):
        assert eta_seconds(3, 100, is_paused=False, still_seconds=STILL_SECONDS) == 1
        assert eta_seconds(3, 100, is_paused=False, still_seconds=STILL_SECONDS + 1) is None


class TestOutlook:
    @pytest.mark.parametrize(
        ("quantity", "free", "unsold", "wanted_ahead", "expected"),
        [
            (2, 10, 10, 8, Outlook.COVERED),
            (2, 10, 10, 9, Outlook.UNLIKELY),
            (2, 0, 2, 0, Outlook.UNLIKELY),
            (2, 0, 1, 0, Outlook.NO),
            (2, 0, 1, 100, Outlook.NO),
        ],
    )
    def test_follows_from_the_stock_and_those_ahead(self, quantity, free, unsold, wanted_ahead, expected):
        assert outlook(quantity, free=free, unsold=unsold, wanted_ahead=wanted_ahead) is expected

    @given(st.integers(1, 100), counts, counts, counts, counts)
    def test_more_ahead_make_it_no_better(self, quantity, free, reserved, ahead, more):
        def seen(wanted):
            return outlook(quantity, free=free, unsold=free + reserved, wanted_ahead=wanted)

        assert worst([seen(ahead), seen(ahead + more)]) is seen(ahead + more)

    def test_the_worst_of_several_counts(self):
        assert worst([Outlook.COVERED, Outlook.NO, Outlook.UNLIKELY]) is Outlook.NO
        assert worst([Outlook.COVERED, Outlook.UNLIKELY]) is Outlook.UNLIKELY
        assert worst([Outlook.COVERED]) is Outlook.COVERED
