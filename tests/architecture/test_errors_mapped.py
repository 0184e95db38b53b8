"""Every code that the business or the web can refuse with has a status and a title in web/problems.py."""

import ast
import re
from pathlib import Path

import pytest

from domain import errors
from domain.errors import DomainError
from web.problems import PROBLEMS

ROOT = Path(__file__).parents[2]
CODE = re.compile(r"[a-z]+(-[a-z]+)*")
VENDORS = {"RetryableVendorError", "PermanentVendorError", "UnknownOutcomeError", "VendorError"}
"""Their codes are the providers'; no client meets them."""


def refusals():
    """Yield every call in domain/ and web/ that names an error or a problem, with the code that it is given."""
    for folder in ("domain", "web"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and (code := code_of(node)) is not None:
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", code


def code_of(call):
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name == "Problem" and call.args:
        return constant(call.args[0])
    if name.endswith("Error") and name not in VENDORS:
        return next((constant(keyword.value) for keyword in call.keywords if keyword.arg == "code"), None)
    return None


def constant(node):
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def every_refusal(error=DomainError):
    yield error
    for child in error.__subclasses__():
        yield from every_refusal(child)


def test_codes_of_the_error_tree_are_mapped():
    assert {error.default_code for error in every_refusal()} <= PROBLEMS.keys()


def test_codes_that_are_raised_are_mapped():
    unmapped = [(place, code) for place, code in refusals() if code not in PROBLEMS]
    assert unmapped == []


def test_the_search_finds_what_is_raised():
    found = {code for _, code in refusals()}
    assert {"invalid-credentials", "malformed-json", "link-spent"} <= found


def test_every_error_class_is_drawn_in_the_tree():
    drawn = set(re.findall(r"\w+Error", errors.__doc__))
    classes = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert classes == drawn


@pytest.mark.parametrize("code", PROBLEMS)
def test_codes_are_words_and_titles_are_short(code):
    kind = PROBLEMS[code]
    assert CODE.fullmatch(code)
    assert 400 <= kind.status < 600
    assert kind.title[0].isupper()
    assert len(kind.title) <= 60
    assert not kind.title.endswith(".")
