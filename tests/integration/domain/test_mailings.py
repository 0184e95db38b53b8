import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy import select, update

from domain import announcements, mailings
from domain.models import Mailing, Ticket, TicketTier, TimelineEntry
from domain.notifications import queue_mail
from domain.rules.states import EventStatus, MailingKind, MailingStatus
from tests.factories import MailingFactory, UserFactory, bound_to
from tests.integration.domain.mail_world import MailWorld

EVERYBODY = ["friend@example.com", "pair@example.com", "single@example.com"]


@pytest.fixture
def world(sessions, announced):
    return MailWorld(sessions, announced, datetime.now(UTC) + timedelta(seconds=5))


@pytest.fixture
def announcement(world):
    return world.add(MailingFactory, event_id=world.event.id, due_at=world.now)


class TestRounds:
    def test_each_holder_gets_one_mail_however_small_the_rounds(self, world, announcement):
        world.hand_on(world.pair)
        for round_number in (1, 2):
            world.sweep(budget=1)
            found = world.read(announcement)
            assert (found.status, found.people, found.written) == (MailingStatus.SENDING, 3, round_number)
        for _ in range(4):
            world.sweep(budget=1)
        found = world.read(announcement)
        assert (found.status, found.written, found.finished_at) == (MailingStatus.SENT, 3, world.now)
        assert world.written() == EVERYBODY
        world.send()
        assert len(world.mailer.sent) == 3
        # It is no step of the order, whose version stays.
        with world.sessions() as session:
            assert "mail_sent" not in session.scalars(select(TimelineEntry.kind)).all()

    def test_a_round_that_was_lost_after_its_mails_is_repeated_without_doubling_them(self, world, announcement):
        world.sweep()
        with world.sessions.begin() as session:
            session.execute(update(Mailing).values(status=MailingStatus.SENDING, finished_at=None, last_ticket_id=None))
        world.sweep()
        assert world.written() == ["pair@example.com", "single@example.com"]
        assert world.read(announcement).status is MailingStatus.SENT

    def test_mailings_share_a_round_and_the_one_that_waited_longest_is_first(self, world, announcement):
        other = world.add(MailingFactory, event_id=world.event.id, due_at=world.now)
        world.sweep(budget=2)
        assert [world.read(mailing).written for mailing in (announcement, other)] == [1, 1]
        late = world.add(MailingFactory, event_id=world.event.id, due_at=world.now + timedelta(hours=1))
        world.sweep()
        assert world.read(late).status is MailingStatus.WAITING

    def test_two_processes_write_a_round_once(self, world, announcement, engine):
        both = threading.Barrier(2)

        def meet(_connection, _cursor, statement, *_rest):
            if "FROM mailings" in statement and "SKIP LOCKED" in statement:
                both.wait(10)

        sqlalchemy_event.listen(engine, "before_cursor_execute", meet)
        sweepers = [threading.Thread(target=mailings.carry_on, args=(world.sessions, world.now, 1)) for _ in range(2)]
        for sweeper in sweepers:
            sweeper.start()
        for sweeper in sweepers:
            sweeper.join(20)
        sqlalchemy_event.remove(engine, "before_cursor_execute", meet)
        # Whoever comes second finds it locked, or does the next round: either way each mail is written once.
        assert world.read(announcement).written == len(world.written())

    def test_only_the_tiers_and_states_that_were_asked_for(self, world):
        chosen = {"event_id": world.event.id, "due_at": world.now}
        used = world.add(MailingFactory, **chosen, ticket_statuses=["used"])
        tier = world.add(MailingFactory, **chosen, tier_ids=[world.tier.id])
        world.sweep()
        assert [(world.read(mailing).people, world.read(mailing).written) for mailing in (used, tier)] == [
            (0, 0),
            (2, 2),
        ]

    def test_whoever_bought_after_it_was_due_is_not_written_to(self, world, announcement):
        with world.sessions.begin() as session, bound_to(session):
            tier = session.get_one(TicketTier, world.tier.id)
            order = world.add_order(UserFactory(email="late@example.com"), 1, tier)
            late = update(Ticket).where(Ticket.order_id == order.id)
            session.execute(late.values(created_at=world.now + timedelta(seconds=1)))
        world.sweep()
        assert "late@example.com" not in world.written()


class TestAnnouncements:
    def test_whoever_unsubscribed_gets_no_announcement_but_mails_about_their_orders(self, world, announcement):
        world.unsubscribe(world.pair)
        world.sweep()
        assert world.written() == ["single@example.com"]
        # Between the writing and the sending, too.
        world.unsubscribe(world.single)
        world.send()
        assert world.mailer.sent == []
        reminder = {"kind": MailingKind.REMINDER, "event_starts_at": world.event.starts_at}
        world.add(MailingFactory, event_id=world.event.id, due_at=world.now, **reminder)
        world.sweep()
        world.send()
        assert sorted(sent.letter.recipient for sent in world.mailer.sent) == ["pair@example.com", "single@example.com"]

    def test_cancelling_stops_the_rounds_and_the_mails_that_have_not_left(self, world, announcement):
        world.sweep(budget=1)
        with world.sessions.begin() as session:
            announcements.cancel(session, world.promoter, world.event.id, announcement, world.now)
        world.sweep()
        world.send()
        assert (len(world.written()), world.mailer.sent) == (1, [])

    def test_the_mail_says_how_to_unsubscribe_with_one_click(self, world, announcement):
        world.sweep()
        world.send()
        letter = world.mailer.sent[0].letter
        link = letter.context["unsubscribe_link"]
        assert link.startswith(f"https://tickets.example/unsubscribe/{letter.reference}?token=")
        assert letter.headers == {
            "List-Unsubscribe": f"<{link}>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        }


class TestReminders:
    def test_a_near_event_reminds_each_holder_once(self, world):
        world.hand_on(world.single, all_of_them=True)
        world.advance(days=28)
        world.sweep()
        assert world.mailings() == []
        world.advance(days=1, minutes=1)
        for _ in range(3):
            world.sweep()
        assert world.written("reminder") == ["friend@example.com", "pair@example.com"]
        world.send()
        letters = {sent.letter.recipient: sent.letter.context for sent in world.mailer.sent}
        # The order's page is its buyer's.
        assert letters["friend@example.com"]["order_link"] is None
        assert f"/orders/{world.order.id}?" in letters["pair@example.com"]["order_link"]

    @pytest.mark.parametrize(
        "values", [{"reminder_hours": None}, {"status": EventStatus.CANCELLED, "cancelled_at": datetime.now(UTC)}]
    )
    def test_where_none_is_wanted_or_nothing_takes_place_none_is_written(self, world, values):
        world.change(**values)
        world.advance(days=29, hours=2)
        world.sweep()
        assert world.written() == []

    def test_an_event_that_is_moved_far_away_reminds_again_and_one_that_is_moved_a_little_does_not(self, world):
        world.advance(days=29, hours=2)
        world.sweep()
        world.change(starts_at=world.event.starts_at + timedelta(hours=3), ends_at=world.now + timedelta(days=99))
        world.advance(hours=1)
        world.sweep()
        assert len(world.mailings()) == 1
        world.change(starts_at=world.event.starts_at + timedelta(days=7))
        world.advance(days=6, hours=23)
        world.sweep()
        assert world.written("reminder") == ["pair@example.com"] * 2 + ["single@example.com"] * 2

    def test_what_has_not_left_when_the_event_is_called_off_stays_here(self, world):
        world.advance(days=29, hours=2)
        world.sweep()
        world.change(status=EventStatus.CANCELLED, cancelled_at=world.now)
        world.send()
        assert world.mailer.sent == []


def test_a_mail_about_an_order_is_about_its_event(world):
    with world.sessions.begin() as session:
        mail = queue_mail(
            session,
            template="order_cancelled",
            purpose="x",
            recipient="ada@example.com",
            recipient_name="Ada",
            order_id=world.order.id,
        )
        assert mail.event_id == world.event.id
