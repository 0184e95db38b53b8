"""deploy/Dockerfile and the probes: the image holds the product and no more, and its health checks can tell."""

import json
import re
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

import celeryconfig
from settings import Settings
from tests.architecture.commands import options_of
from tools.stack.environment import ROOT

DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
KILL_TIMEOUT = int(re.search(r"--workers-kill-timeout (\d+)", DOCKERFILE).group(1))


class Health(BaseHTTPRequestHandler):
    path_that_is_well = ""

    def do_GET(self):
        self.send_response(200 if self.path == self.path_that_is_well else 503)
        self.end_headers()

    def log_message(self, *_):
        pass


def instruction(name):
    return json.loads(re.search(rf"^{name} [^\[]*?(?:\\\n\s+CMD )?(\[.+\])$", DOCKERFILE, re.MULTILINE).group(1))


def probe(command, *arguments):
    """Run a probe with other arguments than its own, and return its exit code."""
    assert command[0] == "python"
    words = [sys.executable, *command[1:], *map(str, arguments)]
    return subprocess.run(words, check=False, stderr=subprocess.DEVNULL).returncode


class TestImage:
    def test_it_passes_the_linter(self):
        program = Path(sys.executable).parent / "hadolint"
        result = subprocess.run([program, "deploy/Dockerfile"], cwd=ROOT, check=False, capture_output=True, text=True)
        assert result.returncode == 0, result.stdout

    def test_it_holds_the_product_without_the_local_stack(self):
        copies = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
        copied = {path.rstrip("/") for line in copies for path in line.split()}
        packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tools"}
        assert copied - packages == {
            "migrations",
            "settings.py",
            "celeryconfig.py",
            "wiring.py",
            "pyproject.toml",
            "requirements.lock",
            "tools/__init__.py",
            "tools/audit.py",
            "tools/cli.py",
            "docs/fairness/check.py",
        }
        assert packages <= copied

    def test_it_holds_what_the_operators_commands_import(self):
        copied = set(re.findall(r"tools/(\w+)\.py", DOCKERFILE))
        sources = [(ROOT / "tools" / f"{name}.py").read_text() for name in copied]
        found = [re.findall(r"^from tools(?:\.| import )(\w+)", source, re.MULTILINE) for source in sources]
        imported = {name for names in found for name in names}
        assert imported
        assert imported <= copied

    def test_the_build_sees_only_what_it_copies(self):
        let_in = re.findall(r"^!(\S+?)/?$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
        copies = " ".join(re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE))
        assert sorted(let_in) == sorted(path.rstrip("/") for path in copies.split())

    def test_it_installs_only_what_the_lock_file_vouches_for(self):
        installs = [
            line for line in DOCKERFILE.replace("\\\n", "").splitlines() if " install " in line and "pip" in line
        ]
        (install,) = [line for line in installs if "requirement" in line]
        assert all(option in install for option in ("--require-hashes", "--only-binary :all:", "--no-deps"))
        assert "requirements-dev" not in DOCKERFILE

    def test_it_runs_as_nobody_in_particular(self):
        assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE) == ["10001:10001"]

    def test_the_operators_commands_have_a_name(self, tmp_path):
        written = re.search(r"^RUN printf ('.+') > /usr/local/bin/vendor", DOCKERFILE, re.MULTILINE).group(1)
        script = tmp_path / "vendor"
        with script.open("wb") as file:
            subprocess.run(["sh", "-c", f"printf {written}"], stdout=file, check=True)
        script.write_text(script.read_text().replace("/srv/vendor", str(ROOT)).replace("python", sys.executable))
        result = subprocess.run(["sh", script, "statement"], cwd=tmp_path, check=False, capture_output=True, text=True)
        assert result.returncode == 2
        assert "vendor statement: error: name the events, or say --all" in result.stderr

    def test_it_starts_the_web_as_the_local_stack_does(self, local_commands):
        local = dict(local_commands)["web"]
        image = instruction("CMD")[-1].removeprefix("exec python -m ").replace("4 * ", "").split()
        theirs, ours = options_of(local), options_of(image)
        assert (image[0], ours.keys()) == (local[0], theirs.keys())
        assert {ours[name] for name in ("--interface", "--factory")} == {"wsgi", theirs["--factory"]}

    def test_the_web_may_end_its_longest_answer(self, services):
        longest = next(
            rule.le for rule in Settings.model_fields["long_poll_limit_seconds"].metadata if hasattr(rule, "le")
        )
        assert longest < KILL_TIMEOUT < int(services["web"]["stop_grace_period"].removesuffix("s"))


class TestProbes:
    @pytest.mark.skipif(sys.platform != "linux", reason="the probe reads Linux's table of sockets, as in a container")
    @pytest.mark.parametrize("service", ["payments", "allocator", "beat"])
    def test_a_held_connection_is_healthy_and_a_lost_one_is_not(self, services, service):
        command = services[service]["healthcheck"]["test"][1:-1]
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            assert probe(command, port) == 1
            with socket.create_connection(("127.0.0.1", port)) as client:
                served, _ = server.accept()
                assert probe(command, port) == 0
                served.close()
                assert client.recv(1) == b""
            assert probe(command, port) == 1

    def test_workers_watch_the_broker_and_allocators_the_database(self, services):
        tests = {
            name: service["healthcheck"].get("test") for name, service in services.items() if "healthcheck" in service
        }
        assert {tests[queue.name][-1] for queue in celeryconfig.task_queues} | {tests["beat"][-1]} == {"6379"}
        assert tests["allocator"][-1] == "5432"

    @pytest.mark.parametrize("service", ["web", "flower"])
    def test_an_answer_is_healthy_and_a_refusal_is_not(self, services, service):
        own = {
            "web": lambda: instruction("HEALTHCHECK"),
            "flower": lambda: services["flower"]["healthcheck"]["test"][1:],
        }
        *command, _, path = own[service]()
        Health.path_that_is_well = path
        with HTTPServer(("127.0.0.1", 0), Health) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            assert probe(command, server.server_port, path) == 0
            assert probe(command, server.server_port, "/elsewhere") == 1
            server.shutdown()
        assert probe(command, server.server_port, path) == 1

    def test_the_probes_ask_where_their_servers_listen(self, services):
        assert instruction("HEALTHCHECK")[-2:] == ["8000", "/healthz"]
        assert "--port 8000" in DOCKERFILE
        assert services["web"]["ports"][0].endswith(":8000")
        assert services["flower"]["healthcheck"]["test"][-2:] == ["5555", "/healthcheck"]
        assert "--port=5555" in services["flower"]["command"]
