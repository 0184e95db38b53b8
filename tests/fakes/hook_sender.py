"""A way to endpoints that keeps what it is given, and answers as it is told."""

from domain.errors import VendorError
from domain.ports import HookPost


class FakeHookSender:
    def __init__(self) -> None:
        self.posts: list[HookPost] = []
        self.answer: int | VendorError = 204
        """What comes of each post, until it is set anew."""

    def send(self, post: HookPost) -> int:
        self.posts.append(post)
        if isinstance(self.answer, VendorError):
            raise self.answer
        return self.answer
