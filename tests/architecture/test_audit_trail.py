"""Every act of a person, and every move of money, reaches the audit log: read from the source, not from a list.

A route that changes something must lead, through the functions that it names, to `audit.record`.
"""

import ast
from functools import cache

import pytest

from tools.stack.environment import ROOT

RECORD = ("domain.audit", "record")

UNRECORDED = {
    "POST /api/v1/orders": "the order is its own record: who, when, what, by which request (docs/adr/0026)",
    "POST /webhooks/stripe": "Stripe reports; what comes of it is recorded as a move of money",
    "POST /webhooks/sendgrid": "SendGrid reports",
}
"""What is not in the audit log, and why."""


@cache
def functions():
    """Every function, and every constant that names some, by module and name, with the functions that it names."""
    found = {}
    for path in [*ROOT.glob("domain/**/*.py"), *ROOT.glob("web/**/*.py")]:
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        tree = ast.parse(path.read_text())
        names = imported(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                found[module, node.name] = set(references(node, module, names))
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                found.setdefault((module, node.targets[0].id), set(references(node.value, module, names)))
    return found


def imported(tree):
    """What the names of a module stand for: a module, or a module's function."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                names[alias.asname or alias.name] = (node.module, alias.name)
    return names


def references(function, module, names):
    for node in ast.walk(function):
        match node:
            case ast.Name(id=name):
                yield names.get(name, (module, name))
            case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name in names:
                yield ".".join(names[name]), attribute


def reaches_record(start):
    seen, ahead = set(), [start]
    while ahead:
        function = ahead.pop()
        if function == RECORD:
            return True
        if function not in seen:
            seen.add(function)
            ahead += functions().get(function, ())
    return False


@pytest.fixture(scope="module")
def changing(bare_app):
    return {
        f"{method} {rule.rule}": bare_app.view_functions[rule.endpoint]
        for rule in bare_app.url_map.iter_rules()
        for method in rule.methods - {"GET", "HEAD", "OPTIONS"}
    }


def test_every_route_that_changes_something_is_recorded(changing):
    silent = {route for route, view in changing.items() if not reaches_record((view.__module__, view.__name__))}
    assert silent == set(UNRECORDED)


def test_every_function_that_an_actor_changes_something_by_is_recorded():
    silent = {f"{module}.{name}" for module, name in acts() if not reaches_record((module, name))}
    assert silent == {
        # It asks for a look at what is there.
        "domain.payments.statements.consult",
        # It writes what follows from an edit, which is recorded.
        "domain.event_changes.tell_of_changes",
    }


def acts():
    """The domain's public functions that take whoever acts, and are named for changing something."""
    asking = ("find", "list", "read", "may", "rights", "require", "lock", "let", "actor", "is", "count")
    for path in ROOT.glob("domain/**/*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith(("_", *asking)):
                arguments = [*node.args.args, *node.args.kwonlyargs]
                if any(isinstance(one.annotation, ast.Name) and one.annotation.id == "Actor" for one in arguments):
                    yield module, node.name


def test_money_moves_in_one_place_and_there_it_is_recorded():
    booking = {
        str(path.relative_to(ROOT))
        for path in ROOT.glob("domain/**/*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "LedgerEntry"
    }
    assert booking == {"domain/payments/ledger.py"}
    assert reaches_record(("domain.payments.ledger", "book"))
