"""The whole system with web and workers behind PgBouncer's transaction pooling, and the allocators past it."""

import os
import pwd
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import create_engine, make_url, text

from adapters.database import SESSION
from tests.fixtures.stack import Stack
from tools.stack.embedded import EmbeddedServers
from tools.stack.environment import ROOT
from tools.stack.leash import tether
from tools.stack.ports import HOST, Port, is_open
from tools.stack.postgres import OWNER, SUPERUSER

pytestmark = pytest.mark.timeout(240)

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
SERVER_SESSIONS = 4
BUYERS = 12
SESSIONS = """
    SELECT split_part(application_name, ' ', 1) AS name, count(*) FROM pg_stat_activity
    WHERE usename = 'vendor_app' AND pid <> pg_backend_pid() GROUP BY name
"""


@pytest.fixture(scope="module")
def postgres():
    """Return a PostgreSQL whose runtime role brings by itself what a pooler lets nobody ask for."""
    if PROGRAM is None:
        pytest.skip("PgBouncer is not installed: there is no pgbouncer (Debian's package is pgbouncer)")
    with EmbeddedServers() as servers:
        server = servers.start_postgres()
        role = make_url(server.url()).username
        engine = create_engine(server.url(SUPERUSER))
        with engine.begin() as connection:
            for name, value in SESSION.items():
                connection.execute(text(f"ALTER ROLE {role} SET {name} = '{value}'"))
        engine.dispose()
        yield server


@pytest.fixture(scope="module")
def pooled_url(postgres, tmp_path_factory):
    """Return the runtime role's address through PgBouncer, which has a few sessions for everybody."""
    folder, port = tmp_path_factory.mktemp("pgbouncer"), Port(0)
    url = make_url(postgres.url())
    (folder / "users").write_text(f'"{url.username}" "{url.password}"\n')
    configuration = folder / "pgbouncer.ini"
    configuration.write_text(
        f"""
        [databases]
        {url.database} = host={HOST} port={postgres.port}
        [pgbouncer]
        listen_addr = {HOST}
        listen_port = {port.number}
        unix_socket_dir =
        auth_type = plain
        auth_file = {folder}/users
        pool_mode = transaction
        default_pool_size = {SERVER_SESSIONS}
        max_client_conn = 500
        """
    )
    disguise = []
    if os.geteuid() == 0:
        # It refuses to be root, and reads its files as whoever it has become.
        nobody = pwd.getpwnam("nobody")
        disguise = ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
        disguise += ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    port.release()
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            [*disguise, *tether([PROGRAM, str(configuration)])], stdout=output, stderr=subprocess.STDOUT
        )
    deadline = time.monotonic() + 10
    while not is_open(port.number):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            pytest.fail(f"PgBouncer did not come up:\n{(folder / 'output').read_text()}", pytrace=False)
        time.sleep(0.05)
    yield url.set(port=port.number).render_as_string(hide_password=False)
    process.terminate()
    process.wait(10)


@pytest.fixture(scope="module")
def stack(postgres, pooled_url, tmp_path_factory):
    direct = {"FENCE_DATABASE_URL": postgres.url(), "MIGRATION_DATABASE_URL": postgres.url(OWNER)}
    running = Stack(tmp_path_factory.mktemp("behind-pgbouncer"), DATABASE_URL=pooled_url, **direct)
    running.engine.dispose()
    running.engine = create_engine(postgres.url())
    variables = {**running.environment, "DEMO_PASSWORD": running.password}
    subprocess.run([sys.executable, "-m", "tools.stack.accounts"], cwd=ROOT, env=variables, check=True)
    yield running
    running.stop()


def test_a_crowd_buys_through_fewer_sessions_than_it_has_threads(stack):
    buyers = stack.people(BUYERS)
    tier = stack.tier(quantity=BUYERS)
    with ThreadPoolExecutor(BUYERS) as pool:
        orders = list(pool.map(lambda buyer: buyer.buy(tier), buyers))
    assert [order["status"] for order in orders] == ["confirmed"] * BUYERS
    assert buyers[0].order(tier).json()["code"] == "sold-out"
    sessions = dict(stack.rows(SESSIONS))
    assert sessions.pop("allocator") == 2
    assert sum(sessions.values()) <= SERVER_SESSIONS


def test_what_the_pooler_cannot_be_asked_for_is_the_roles(stack, pooled_url):
    engine = create_engine(pooled_url, connect_args={"prepare_threshold": None})
    with engine.connect() as connection:
        found = connection.execute(
            text("SELECT name, setting FROM pg_settings WHERE lower(name) = ANY(:names)"), {"names": list(SESSION)}
        )
        assert {name.lower(): setting for name, setting in found} == {
            name: str(value) for name, value in SESSION.items()
        }
    engine.dispose()
