"""The house is what design and pyproject.toml say: its packages, what each may import, and what no file may name."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"domain", "adapters", "web", "workers", "tools"}
DOMAIN_MAY_IMPORT = {"sqlalchemy", "pydantic", "uuid_utils"}
PASSES_THE_ENVIRONMENT_ON = "tools/"
"""The local stack starts other programs, so it must hand their environment on; so does ./dev, which is no module."""

LOCK_FILES = {"requirements.lock", "requirements-dev.lock"}
REGISTRY = re.compile(
    r"https?://[\w.-]*(?:pypi|pythonhosted|npmjs|yarnpkg|docker\.io|ghcr|quay|gcr\.io|crates\.io|jsdelivr|unpkg|cdnjs)",
    re.IGNORECASE,
)
MACHINE_PATH = re.compile(r"(?<![\w./:~-])/(?:home|Users|root|work|workspace|builds)/[\w.-]+")


def modules(*folders):
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def relative(path):
    return path.relative_to(ROOT).as_posix()


def imported_names(source):
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module


def outside(path):
    """Return the packages that a module imports, other than ours and Python's own."""
    tops = {name.partition(".")[0] for name in imported_names(path.read_text())}
    return tops - PACKAGES - sys.stdlib_module_names


def reads_environment(source):
    """Tell whether a module takes something out of the environment; putting something in is no reading."""
    nodes = list(ast.walk(ast.parse(source)))
    written = {id(node.value) for node in nodes if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store)}
    for node in nodes:
        if isinstance(node, ast.Attribute) and id(node) not in written and ast.unparse(node.value) == "os":
            names = {node.attr}
        elif isinstance(node, ast.ImportFrom) and node.module == "os":
            names = {alias.name for alias in node.names}
        else:
            continue
        if names & {"environ", "environb", "getenv", "getenvb"}:
            return True
    return False


def repository_files():
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    paths = [ROOT / name for name in listing.stdout.split("\0") if name and name not in LOCK_FILES]
    return [path for path in paths if path.is_file()]


def lines_that_name(pattern, paths):
    for path in paths:
        for number, line in enumerate(path.read_text(errors="ignore").splitlines(), 1):
            if pattern.search(line):
                yield f"{relative(path)}:{number}: {line.strip()[:100]}"


@pytest.fixture(scope="module")
def contracts():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]


class TestPackages:
    def test_the_contracts_cover_every_package(self, contracts):
        there = {path.parent.name for path in ROOT.glob("*/__init__.py")}
        assert there == set(contracts["root_packages"]) == PACKAGES

    def test_no_folder_of_modules_is_invisible_to_the_contracts(self):
        folders = {path.parent for path in modules(*PACKAGES)}
        assert [relative(folder) for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []

    def test_no_module_lies_beside_the_packages_unnoticed(self):
        assert {path.name for path in ROOT.glob("*.py")} == {"settings.py", "celeryconfig.py", "wiring.py"}

    def test_no_module_has_a_name_that_says_nothing(self):
        vague = re.compile(r"(^|_)(utils?|helpers?|common|managers?|misc)$")
        assert [relative(path) for path in modules(*PACKAGES) if vague.search(path.stem)] == []

    def test_every_module_says_what_lives_in_it(self):
        silent = [
            relative(path)
            for path in modules(*PACKAGES)
            if path.stat().st_size and ast.get_docstring(ast.parse(path.read_text())) is None
        ]
        assert silent == []


class TestImports:
    def test_the_contracts_are_kept(self):
        program = Path(sys.executable).parent / "lint-imports"
        result = subprocess.run([program, "--no-cache"], cwd=ROOT, check=False, capture_output=True, text=True)
        assert result.returncode == 0, result.stdout

    def test_the_layers_are_those_of_the_design(self, contracts):
        layers = contracts["contracts"][0]
        assert layers["type"] == "layers"
        assert layers["layers"] == ["tools", "web | workers", "adapters", "domain"]

    def test_no_contract_is_loosened_by_exceptions(self, contracts):
        assert [contract["name"] for contract in contracts["contracts"] if contract.get("ignore_imports")] == []

    def test_the_domain_imports_its_allow_list_and_nothing_else(self):
        found = {path: outside(path) for path in modules("domain")}
        assert {
            relative(path): names - DOMAIN_MAY_IMPORT for path, names in found.items() if names - DOMAIN_MAY_IMPORT
        } == {}

    def test_the_rules_import_nothing_but_python(self):
        assert {relative(path): outside(path) for path in modules("domain/rules") if outside(path)} == {}

    def test_web_and_workers_do_not_know_each_other(self):
        def floors(folder):
            return {name.partition(".")[0] for path in modules(folder) for name in imported_names(path.read_text())}

        assert "workers" not in floors("web")
        assert "web" not in floors("workers")


class TestEnvironment:
    def test_only_the_settings_read_it(self):
        product = [*modules(*PACKAGES, "migrations"), ROOT / "celeryconfig.py"]
        readers = [relative(path) for path in product if reads_environment(path.read_text())]
        assert [path for path in readers if not path.startswith(PASSES_THE_ENVIRONMENT_ON)] == []

    def test_only_the_settings_declare_settings(self):
        users = [relative(path) for path in modules(*PACKAGES, "migrations") if "pydantic_settings" in outside(path)]
        assert users == []
        assert "pydantic_settings" in outside(ROOT / "settings.py")

    @pytest.mark.parametrize(
        ("source", "reads"),
        [
            ("import os\nx = os.environ['A']", True),
            ("import os\nx = os.environ.get('A')", True),
            ("import os\nx = os.getenv('A')", True),
            ("from os import environ", True),
            ("import os\nos.environ['A'] = 'b'", False),
            ("import os\nx = os.getpid()", False),
        ],
    )
    def test_reading_is_recognised(self, source, reads):
        assert reads_environment(source) is reads


class TestFiles:
    def test_none_names_the_address_of_a_registry(self):
        assert list(lines_that_name(REGISTRY, repository_files())) == []

    def test_none_names_a_path_of_somebodys_machine(self):
        assert list(lines_that_name(MACHINE_PATH, repository_files())) == []

    def test_what_must_not_be_named_is_recognised(self, tmp_path):
        host, folder = "files.python" + "hosted.org", "/ho" + "me/ann/vendor"
        page = tmp_path / "page.md"
        page.write_text(f"see https://{host}/x\nkept in {folder}\nhttps://example.com{folder}\n")
        text = page.read_text().splitlines()
        assert [bool(REGISTRY.search(line)) for line in text] == [True, False, False]
        assert [bool(MACHINE_PATH.search(line)) for line in text] == [False, True, False]
