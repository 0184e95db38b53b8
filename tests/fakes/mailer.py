"""A mailer that keeps what it sends. It renders each letter with the real templates, so that a wrong context fails."""

from dataclasses import dataclass

from adapters.letters import Letters, RenderedLetter
from domain.errors import UnknownOutcomeError, VendorError
from domain.ports import Letter, Receipt


@dataclass(frozen=True)
class SentLetter:
    letter: Letter
    rendered: RenderedLetter
    message_id: str


class FakeMailer:
    def __init__(self) -> None:
        self.sent: list[SentLetter] = []
        self._failures: list[VendorError] = []
        self._letters = Letters()

    def fail_next(self, *errors: VendorError) -> None:
        """Let the next sends raise these, one each. After an `UnknownOutcomeError` the letter has gone out."""
        self._failures += errors

    def send(self, letter: Letter) -> Receipt:
        rendered = self._letters.render(letter)
        failure = self._failures.pop(0) if self._failures else None
        if failure is None or isinstance(failure, UnknownOutcomeError):
            self.sent.append(SentLetter(letter, rendered, f"fake-message-{len(self.sent) + 1}"))
        if failure is not None:
            raise failure
        return Receipt(message_id=self.sent[-1].message_id, subject=rendered.subject)

    def to(self, recipient: str) -> list[SentLetter]:
        return [sent for sent in self.sent if sent.letter.recipient == recipient]
