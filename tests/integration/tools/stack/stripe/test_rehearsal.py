import re
from pathlib import Path

from tests.fixtures.stripe_standin import ask

ROOT = Path(__file__).resolve().parents[5]


def test_every_control_is_told_of_in_the_document_and_on_the_page(standin):
    page = ask(standin, "GET", "/")[1]
    document = (ROOT / "docs/rehearsal.md").read_text()
    rules = {rule.rule for rule in standin.application.url_map.iter_rules() if rule.rule.startswith("/_standin/")}
    assert len(rules) >= 8
    for rule in rules:
        assert re.sub("<event_id>", "{event_id}", re.sub("<identifier>", "{id}", rule)) in document
        assert re.sub("<event_id>", "{event id}", re.sub("<identifier>", "{id}", rule)) in page
