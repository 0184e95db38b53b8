import pytest
from sqlalchemy import func, select, text

from domain.models import Event, User
from tests.factories import EventFactory, UserFactory


def found(session, words):
    query = func.websearch_to_tsquery("simple", words)
    matches = select(Event.title).where(Event.search_vector.bool_op("@@")(query))
    return session.scalars(matches.order_by(func.ts_rank(Event.search_vector, query).desc())).all()


@pytest.mark.parametrize("words", ["nightjar", "NIGHTJAR", "columbiahalle", "leipzig", "jazz", "quartet", "saxophone"])
def test_an_event_is_found_by_title_venue_city_category_tags_and_description(session, words):
    EventFactory(
        title="Nightjar",
        venue_name="Columbiahalle",
        city="Leipzig",
        category="jazz",
        tags=["quartet", "late"],
        description="With a saxophone.",
    )
    EventFactory(title="Another", venue_name="Elsewhere", category="folk", tags=[])
    assert found(session, words) == ["Nightjar"]


def test_a_title_outranks_a_description(session):
    EventFactory(title="Mentions it", description="A night with Nightjar.")
    EventFactory(title="Nightjar", description=None)
    assert found(session, "nightjar") == ["Nightjar", "Mentions it"]


def test_the_index_follows_an_edit(session):
    event = EventFactory(title="Before")
    event.title = "After"
    session.flush()
    assert found(session, "before") == []
    assert found(session, "after") == ["After"]


def test_events_are_found_by_tag(session):
    EventFactory(title="Tagged", tags=["indie", "open air"])
    EventFactory(title="Other", tags=["indie"])
    assert session.scalars(select(Event.title).where(Event.tags.contains(["open air"]))).all() == ["Tagged"]


def test_a_misspelt_title_is_found_by_its_trigrams(session):
    EventFactory(title="Philharmonic Evening")
    similar = select(Event.title).where(Event.title.bool_op("%>")("filharmonic"))
    assert session.scalars(similar).all() == ["Philharmonic Evening"]


def test_people_are_found_by_a_part_of_name_or_address(session):
    UserFactory(first_name="Grace", last_name="Hopper", email="navy@example.com")
    person = "(((first_name || ' ') || last_name) || ' ') || email"
    for part in ("%race hop%", "%navy@%"):
        assert session.scalars(select(User.last_name).where(text(f"{person} ILIKE :part")), {"part": part}).all() == [
            "Hopper"
        ]
