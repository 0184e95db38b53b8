from datetime import UTC, datetime

import pytest
from sqlalchemy import update
from uuid_utils.compat import uuid7

from domain.audit import Actor
from domain.errors import ForbiddenError, NotFoundError
from domain.listings import EventFilter, find_own_events
from domain.models import User
from domain.ownership import find_event, lock_event, may_see, rights_in
from domain.rules.states import EventStatus, TeamRight, UserRole
from tests.factories import EventFactory, PromoterFactory, TeamMemberFactory, UserFactory, bound_to

NOW = datetime.now(UTC)


@pytest.fixture
def event(session):
    with bound_to(session):
        yield EventFactory()


def actor_of(user):
    return Actor(user_id=user.id, role=user.role)


def member(event, *rights):
    return actor_of(TeamMemberFactory(promoter_id=event.promoter_id, rights=list(rights)).user)


def test_the_promoter_and_admins_may_do_everything(session, event):
    for actor in (actor_of(event.promoter.user), Actor(user_id=uuid7(), role=UserRole.ADMIN)):
        assert rights_in(session, event, actor) == frozenset(TeamRight)


def test_a_member_may_do_what_their_rights_say(session, event):
    scanner = member(event, TeamRight.SCAN)
    assert find_event(session, scanner, event.id, TeamRight.SCAN) is event
    with pytest.raises(ForbiddenError):
        find_event(session, scanner, event.id, TeamRight.SELL)
    with pytest.raises(ForbiddenError):
        lock_event(session, scanner, event.id)


def test_rights_end_at_the_promoters_own_events(session, event):
    other = EventFactory(promoter=PromoterFactory())
    assert rights_in(session, other, member(event, *TeamRight)) == frozenset()


@pytest.mark.parametrize(
    "end", [{"is_active": False}, {"deleted_at": NOW}, {"role": UserRole.USER}], ids=["closed", "deleted", "demoted"]
)
def test_nobody_has_rights_whose_promoter_has_gone(session, event, end):
    promoter, seller = event.promoter.user, member(event, TeamRight.SELL)
    actors = [actor_of(promoter), seller]
    session.execute(update(User).where(User.id == promoter.id).values(**end))
    assert [rights_in(session, event, actor) for actor in actors] == [frozenset()] * 2
    assert [find_own_events(session, actor.user_id, EventFilter(), limit=5) for actor in actors] == [[], []]
    with pytest.raises(ForbiddenError):
        find_event(session, seller, event.id, TeamRight.SELL)


def test_only_the_team_sees_a_draft(session, event):
    event.status = EventStatus.DRAFT
    assert may_see(session, event, member(event, TeamRight.SCAN))
    stranger = actor_of(UserFactory())
    assert not may_see(session, event, stranger)
    with pytest.raises(NotFoundError):
        find_event(session, stranger, event.id, TeamRight.SCAN)
    assert rights_in(session, event, Actor()) == frozenset()
