from datetime import UTC, datetime, timedelta

import pytest

from domain.listings import EventFilter, find_events, find_own_events
from domain.rules.states import EventStatus
from tests.factories import EventFactory, PromoterFactory, bound_to

NOW = datetime(2027, 5, 1, 12, tzinfo=UTC)
ANY = EventFilter()


@pytest.fixture
def rows(session):
    with bound_to(session):
        yield session


def on_day(day, **values):
    return EventFactory(starts_at=NOW + timedelta(days=day), **values)


def titles(session, **wanted):
    return [event.title for event in find_events(session, EventFilter(**wanted), NOW, limit=100)]


class TestPublicList:
    def test_it_shows_what_comes_in_the_order_of_its_start(self, session, rows):
        for day in (3, 1, 2):
            on_day(day, title=f"Day {day}")
        assert titles(session) == ["Day 1", "Day 2", "Day 3"]

    def test_it_shows_nothing_that_is_hidden(self, session, rows):
        for status in (EventStatus.DRAFT, EventStatus.CANCELLED, EventStatus.COMPLETED):
            on_day(1, status=status)
        on_day(1, is_private=True)
        on_day(1, deleted_at=NOW)
        assert titles(session) == []

    def test_it_shows_what_is_running_and_not_what_has_ended(self, session, rows):
        EventFactory(title="Running", starts_at=NOW - timedelta(hours=1), ends_at=NOW + timedelta(hours=1))
        EventFactory(title="Over", starts_at=NOW - timedelta(hours=2), ends_at=NOW)
        assert titles(session) == ["Running"]
        assert titles(session, starts_from=NOW - timedelta(days=1)) == ["Over", "Running"]

    @pytest.mark.parametrize(
        ("wanted", "found"),
        [
            ({"category": "MUSIC"}, ["A"]),
            ({"city": "københavn"}, ["B"]),
            ({"tag": "Outdoor"}, ["A"]),
            ({"is_featured": True}, ["B"]),
            ({"is_featured": False}, ["A"]),
            ({"starts_from": NOW + timedelta(days=2)}, ["B"]),
            ({"starts_before": NOW + timedelta(days=2)}, ["A"]),
            ({"category": "music", "city": "København"}, []),
        ],
    )
    def test_filters_narrow_it(self, session, rows, wanted, found):
        on_day(1, title="A", category="Music", city="Berlin", tags=["outdoor"])
        on_day(2, title="B", category="Theatre", city="København", is_featured=True)
        assert titles(session, **wanted) == found


class TestSearch:
    @pytest.fixture(autouse=True)
    def events(self, rows):
        on_day(1, title="Copenhagen Jazz Night", description="Brass and strings", tags=["live"])
        on_day(2, title="Rock in the Park", venue_name="Jazzhouse", city="Aarhus", tags=["open air"])

    @pytest.mark.parametrize(
        ("words", "found"),
        [
            ("copenhagen", [1]),
            ("COPENHAGEN jazz", [1]),
            ("cope", [1]),
            ("jazz", [1, 2]),
            ("jazz nig", [1]),
            ("nig jazz", []),
            ('"jazz night"', [1]),
            ('"night jazz"', []),
            ("jazz -park", [1]),
            ("brass or park", [1, 2]),
            ("strings", [1]),
            ("aarhus", [2]),
            ("live", [1]),
            ("air", [2]),
            ("opera", []),
        ],
    )
    def test_words_are_found_wherever_they_stand(self, session, words, found):
        numbers = {"Copenhagen Jazz Night": 1, "Rock in the Park": 2}
        assert [numbers[title] for title in titles(session, words=words)] == found

    @pytest.mark.parametrize(
        "words", ["'", '"', '-"a b"', "!", "a' | b", "\\", "():*&|!<->", "-", "or", ":*", "%", "''", "a:*", "🎷"]
    )
    def test_no_text_breaks_the_search(self, session, words):
        assert titles(session, words=words) is not None


class TestPages:
    def test_pages_follow_each_other_without_gap_or_repetition(self, session, rows):
        events = [on_day(1 + number // 3) for number in range(8)]
        seen, after = [], None
        while page := find_events(session, ANY, NOW, limit=2, after=after):
            assert len(page) <= 3
            seen += page[:2]
            after = (page[:2][-1].starts_at, page[:2][-1].id)
        assert seen == sorted(events, key=lambda event: (event.starts_at, event.id))

    def test_an_own_list_shows_all_that_is_ones_own(self, session, rows):
        promoter = PromoterFactory()
        draft = EventFactory(promoter=promoter, status=EventStatus.DRAFT, starts_at=NOW - timedelta(days=9))
        hidden = EventFactory(promoter=promoter, is_private=True, starts_at=NOW)
        EventFactory(promoter=promoter, deleted_at=NOW)
        EventFactory()
        assert find_own_events(session, promoter.user_id, ANY, limit=10) == [draft, hidden]
