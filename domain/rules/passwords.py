"""Which passwords are too easy to guess: plain rules, no secret ever stored or shown."""

LENGTH_MIN = 10
LENGTH_MAX = 128
_DISTINCT_MIN = 5
_PART_MIN = 4
_RUNS = ("01234567890", "abcdefghijklmnopqrstuvwxyz", "qwertyuiop", "asdfghjkl", "zxcvbnm", "password")
_REST_MIN = 5


def weakness(password: str, email: str) -> str | None:
    """Say what is wrong with a password, or None; length is its schema's business (NIST SP 800-63B section 3.1.1.2)."""
    plain = password.casefold()
    name = email.partition("@")[0].casefold()
    if len(set(plain)) < _DISTINCT_MIN:
        return "Use more different characters."
    if len(name) >= _PART_MIN and name in plain:
        return "Do not use your e-mail address in it."
    rest = plain
    for run in _RUNS:
        for part in (run, run[::-1]):
            rest = rest.replace(part, "")
    if len(_without_sequences(rest)) < _REST_MIN:
        return "Do not use a row of keys or a word that everybody tries first."
    return None


def _without_sequences(text: str) -> str:
    """Return the letters that do not just count on from, or repeat, the letter before (`12345`, `aaaa`)."""
    return "".join(
        letter for before, letter in zip(" " + text, text, strict=False) if ord(letter) - ord(before) not in {-1, 0, 1}
    )
