"""The load: a few buyers who never rest, a promoter who approves, all of them while things break; and its acts.

An act is one event on sale. When it ends, everybody leaves, and what remains must come to rest by itself.
"""

import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from queue import Empty
from random import Random

from tools.faults import market
from tools.faults.book import Book
from tools.faults.buyer import Buyer
from tools.faults.client import Client
from tools.faults.market import Sale
from tools.faults.world import World
from tools.stack.accounts import PROMOTER

BUYERS = 14
REST_SECONDS = 0.4
LEAVE_SECONDS = 90.0


class LoadError(Exception):
    """The load itself failed; the message says how."""


class Load:
    """Everybody who buys. `begin` puts a new event on sale, `end` sends everybody home."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._seed = seed
        self._stopping = threading.Event()
        password = world.plan.secrets.password
        self.promoter = market.log_in(world.url, PROMOTER.email, password)
        self.buyers = [self._join(number, password) for number in range(BUYERS)]
        self._pool = ThreadPoolExecutor(BUYERS + 1)
        self._under_way: list[Future[None]] = []
        self.acts = 0

    def _join(self, number: int, password: str) -> Buyer:
        email = f"buyer-{number}@rehearsal.example.com"
        clients = (market.register(self._world.url, email, password), Client(self._world.plan.url("stripe")))
        return Buyer(number, email, clients, self._world.plan.secrets.stripe_key, self._stopping)

    def begin(self) -> tuple[Sale, Book]:
        """Open a sale, and let everybody come."""
        self.acts += 1
        self._stopping.clear()
        sale, book = market.open_sale(self.promoter, market.ACT), Book()
        self._under_way = [self._pool.submit(self._buy, buyer, sale, book, self.acts) for buyer in self.buyers]
        self._under_way.append(self._pool.submit(self._approve, book, self.acts))
        return sale, book

    def check(self) -> None:
        """Raise what made a buyer fail."""
        for future in self._under_way:
            if future.done():
                future.result()

    def end(self) -> None:
        """Send everybody home; raise `LoadError` if somebody does not go."""
        self._stopping.set()
        _, staying = wait(self._under_way, LEAVE_SECONDS)
        self.check()
        if staying:
            raise LoadError(f"{len(staying)} buyers have not left {LEAVE_SECONDS:.0f} s after the end")

    def close(self) -> None:
        """Let nobody come any more."""
        self._stopping.set()
        self._pool.shutdown(cancel_futures=True)

    def _buy(self, buyer: Buyer, sale: Sale, book: Book, act: int) -> None:
        random = Random(f"{self._seed} act {act} buyer {buyer.number}")  # noqa: S311 to be repeated, not to be secret
        while not self._stopping.is_set():
            buyer.shop(sale, book, random)
            self._stopping.wait(random.expovariate(1 / REST_SECONDS))

    def _approve(self, book: Book, act: int) -> None:
        """Approve most of what asks for it, decline some, and overlook others, whose time runs out."""
        random = Random(f"{self._seed} act {act} promoter")  # noqa: S311
        while not self._stopping.is_set():
            try:
                order_id = book.asking.get(timeout=1)
                answer = random.choice(("approve", "approve", "approve", "decline", ""))
                book.count(f"approval: {answer or 'overlooked'}")
                if answer:
                    self.promoter.post(f"/api/v1/orders/{order_id}/{answer}")
            except (Empty, *market.TROUBLE):
                continue
