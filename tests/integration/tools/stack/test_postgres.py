import os
import signal
import subprocess
import time
from contextlib import contextmanager

import psycopg
import pytest
from sqlalchemy import make_url

from tools.stack.embedded import EmbeddedServers
from tools.stack.ports import Port
from tools.stack.postgres import OWNER, RUNTIME, SUPERUSER, Postgres, PostgresError, environment, new_passwords


def connect(postgres, role=RUNTIME):
    url = make_url(postgres.url(role)).set(drivername="postgresql")
    return psycopg.connect(url.render_as_string(hide_password=False), autocommit=True)


@pytest.fixture(scope="module")
def server():
    with EmbeddedServers() as servers:
        yield servers.start_postgres()


@pytest.mark.parametrize("extension", ["citext", "pg_trgm", "unaccent", "btree_gist"])
def test_the_owner_may_create_the_extensions_that_migrations_need(server, extension):
    with connect(server, OWNER) as connection:
        connection.execute(f"CREATE EXTENSION IF NOT EXISTS {extension}")


def test_the_runtime_role_may_not_create_tables(server):
    with connect(server) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("CREATE TABLE mine (id int)")


def test_only_the_password_opens_the_door(server):
    stranger = Postgres(server.folder, server.port, new_passwords())
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(stranger)


def test_it_speaks_utf8_and_utc_whatever_the_locale_here(server):
    with connect(server, SUPERUSER) as connection:
        row = connection.execute(
            "SELECT getdatabaseencoding(), current_setting('timezone'), lower('ÅÉ'), current_setting('max_connections')"
        ).fetchone()
    assert row == ("UTF8", "UTC", "åé", "200")


def test_an_odd_locale_does_not_keep_it_from_being_made(tmp_path, monkeypatch):
    monkeypatch.setenv("LC_ALL", "xx_YY.UTF-8")
    tmp_path.chmod(0o711)
    Postgres(tmp_path / "postgres", 0, new_passwords(), durable=False).prepare()
    assert (tmp_path / "postgres" / "PG_VERSION").exists()


def test_a_folder_of_another_version_is_refused_with_a_sentence(tmp_path):
    folder = tmp_path / "postgres"
    folder.mkdir()
    (folder / "PG_VERSION").write_text("9\n")
    with pytest.raises(PostgresError, match="was made by PostgreSQL 9"):
        Postgres(folder, 0, new_passwords()).prepare()


def test_what_was_committed_survives_a_kill(tmp_path):
    tmp_path.chmod(0o711)
    port = Port(0)
    postgres = Postgres(tmp_path / "postgres", port.number, new_passwords())
    postgres.prepare()
    port.release()
    with started(postgres) as process, connect(postgres, OWNER) as connection:
        connection.execute("CREATE TABLE kept (id int)")
        connection.execute("INSERT INTO kept VALUES (1)")
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    postgres.prepare()
    with started(postgres), connect(postgres, OWNER) as connection:
        assert connection.execute("SELECT id FROM kept").fetchall() == [(1,)]


def test_a_pid_file_that_names_a_stranger_does_not_stop_the_start(server, tmp_path):
    postgres = Postgres(tmp_path, 0, new_passwords())
    (tmp_path / "PG_VERSION").write_text(f"{(server.folder / 'PG_VERSION').read_text()}")
    (tmp_path / "postmaster.pid").write_text(f"{os.getpid()}\n{tmp_path}\n")
    postgres.prepare()
    assert not (tmp_path / "postmaster.pid").exists()


def test_the_pid_file_of_a_running_server_is_left_alone(server):
    server.prepare()
    assert (server.folder / "postmaster.pid").exists()


@contextmanager
def started(postgres):
    deadline = time.monotonic() + 20
    process = start(postgres)
    while not postgres.is_ready():
        assert time.monotonic() < deadline
        # A killed server's memory may still be in use for a while.
        if process.poll() is not None:
            process = start(postgres)
        time.sleep(0.1)
    yield process
    if process.poll() is None:
        process.send_signal(postgres.stop_signal)
    process.wait(timeout=20)


def start(postgres):
    return subprocess.Popen(postgres.command(), cwd="/", env=environment(), start_new_session=True)
