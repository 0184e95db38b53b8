"""What has grown too long to be read in one go: files, functions, and the bodies of tasks."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILE_LINES, FUNCTION_LINES, TASK_LINES = 300, 40, 10

EXCEPTIONS: dict[str, str] = {}
"""What may be longer, each with its reason. It may only shrink: what keeps its limit again must leave."""


def product():
    """Return every Python file but the migrations and the tests."""
    folders = [path.parent for path in ROOT.glob("*/__init__.py")]
    return [*ROOT.glob("*.py"), ROOT / "dev", *(path for folder in folders for path in folder.rglob("*.py"))]


def too_long(name, source):
    """Yield each limit that a file breaks, as `file: lines` or `file:function: lines`."""
    if (lines := len(source.splitlines())) > FILE_LINES:
        yield name, lines
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if (lines := node.end_lineno - node.lineno + 1) > FUNCTION_LINES:
                yield f"{name}:{node.name}", lines
            elif is_task(node) and (lines := body_lines(node)) > TASK_LINES:
                yield f"{name}:{node.name} (task)", lines


def is_task(function):
    return any(ast.unparse(decorator).startswith("app.task") for decorator in function.decorator_list)


def body_lines(function):
    """Count the lines of a function's body without its docstring."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def written(lines):
    return "\n".join(["    pass"] * lines)


def test_nothing_is_longer_than_agreed():
    found = {
        place: lines
        for path in product()
        for place, lines in too_long(path.relative_to(ROOT).as_posix(), path.read_text())
    }
    assert {place: lines for place, lines in found.items() if place not in EXCEPTIONS} == {}
    assert [place for place in EXCEPTIONS if place not in found] == []


def test_the_limits_are_the_last_lengths_that_pass():
    assert list(too_long("a.py", "\n" * FILE_LINES)) == []
    assert list(too_long("a.py", "\n" * (FILE_LINES + 1))) == [("a.py", FILE_LINES + 1)]
    assert list(too_long("a.py", f"def f():\n{written(FUNCTION_LINES - 1)}")) == []
    assert list(too_long("a.py", f"def f():\n{written(FUNCTION_LINES)}")) == [("a.py:f", FUNCTION_LINES + 1)]
    task = '@app.task(name="a.b")\ndef f():\n    """Say."""\n'
    assert list(too_long("a.py", task + written(TASK_LINES))) == []
    assert list(too_long("a.py", task + written(TASK_LINES + 1))) == [("a.py:f (task)", TASK_LINES + 1)]


def test_the_tasks_are_found():
    tasks = [node for path in (ROOT / "workers").glob("*.py") for node in ast.walk(ast.parse(path.read_text()))]
    assert len([node for node in tasks if isinstance(node, ast.FunctionDef) and is_task(node)]) >= 15


def test_every_exception_has_its_reason():
    assert [place for place, reason in EXCEPTIONS.items() if len(reason.split()) < 4] == []
