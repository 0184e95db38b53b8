import pkgutil
from importlib import import_module

from psycopg import _queries
from sqlalchemy import TextClause
from sqlalchemy.dialects.postgresql import psycopg

import domain
from adapters.statements import spell


def test_psycopg_remembers_what_it_found_in_each_statement():
    """Longer ones are taken apart at each use, which is a good part of what a lone accept costs a web process."""
    modules = [import_module(module.name) for module in pkgutil.walk_packages(domain.__path__, "domain.")]
    statements = {
        f"{module.__name__}.{name}": len(spell(value, psycopg.dialect()).encode())
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, TextClause)
    }
    assert len(statements) > 20
    assert {name for name, length in statements.items() if length > _queries.MAX_CACHED_STATEMENT_LENGTH} == set()
