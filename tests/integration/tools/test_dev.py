import ast
import importlib.util
import subprocess
import sys
from importlib.machinery import SourceFileLoader

import pytest

from tools.stack.environment import ROOT

DEV = ROOT / "dev"


@pytest.fixture(scope="module")
def dev():
    loader = SourceFileLoader("dev", str(DEV))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("dev", loader))
    loader.exec_module(module)
    return module


def run(*arguments, cwd=ROOT):
    return subprocess.run([DEV, *arguments], cwd=cwd, capture_output=True, text=True, check=False)


def test_it_needs_the_standard_library_alone():
    imported = {
        name.partition(".")[0]
        for node in ast.walk(ast.parse(DEV.read_text()))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported <= sys.stdlib_module_names


def test_an_older_python_can_read_it_far_enough_to_refuse():
    ast.parse(DEV.read_text(), feature_version=(3, 7))


def test_without_a_command_it_explains_itself_from_anywhere(tmp_path):
    answer = run(cwd=tmp_path)
    assert answer.returncode == 0
    assert answer.stdout == run("help").stdout
    named = ("run", "vendor", "test", "check", "bench", "faults", "lock", "help")
    assert all(f"./dev {command}" in answer.stdout for command in named)


def test_an_unknown_command_is_refused_by_name():
    answer = run("fly")
    assert answer.returncode == 2
    assert "no command 'fly'" in answer.stderr


def test_the_operators_commands_need_a_stack_that_is_up(tmp_path):
    answer = run("vendor", "--data", str(tmp_path), "statement", "--all")
    assert answer.returncode == 1
    assert f"nothing is up in {tmp_path}" in answer.stderr


def test_an_older_python_without_a_newer_one_is_told_what_is_needed(dev, monkeypatch, capsys):
    monkeypatch.setattr(dev.sys, "version_info", (3, 10, 4))
    monkeypatch.setattr(dev.shutil, "which", lambda _: None)
    with pytest.raises(SystemExit):
        dev.require_python()
    assert "needs Python 3.11 or newer" in capsys.readouterr().err


def test_without_venv_the_exact_package_is_named(dev, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    with pytest.raises(SystemExit):
        dev.create_venv(None)
    assert f"sudo apt install python3.{sys.version_info.minor}-venv" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["-n", "4"], ["-n4"], ["--numprocesses=1"], ["-p", "no:xdist"], ["-pno:xdist"], ["--pdb"], ["--co"]]
)
def test_a_person_may_choose_how_many_processes_test(dev, arguments):
    assert dev.chooses_workers(arguments)


@pytest.mark.parametrize("arguments", [[], ["-k", "name"], ["tests/unit"], ["--no-header"], ["-x", "--lf"]])
def test_otherwise_two_processes_test(dev, arguments):
    assert not dev.chooses_workers(arguments)


def test_the_data_folder_is_where_the_person_stands(dev, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert dev.absolute(["--data", "here", "--fresh"], "--data") == ["--data", str(tmp_path / "here"), "--fresh"]
    assert dev.absolute(["--data=here"], "--data") == [f"--data={tmp_path / 'here'}"]


class TestSettingUp:
    @pytest.fixture
    def work(self, dev, monkeypatch, tmp_path):
        (tmp_path / "requirements-dev.lock").write_text("")
        for name, path in {
            "ROOT": ".",
            "VENV": ".venv",
            "PYTHON": ".venv/bin/python",
            "LOCK": "requirements-dev.lock",
            "STAMP": ".venv/.installed",
            "STATE": ".local",
            "UNFINISHED": ".local/installing",
        }.items():
            monkeypatch.setattr(dev, name, tmp_path / path)
        monkeypatch.setattr(dev.shutil, "which", lambda _: None)
        return tmp_path

    def test_it_is_done_once_again_for_another_lock_file_and_from_scratch_if_it_was_interrupted(
        self, dev, work, capsys
    ):
        dev.set_up()
        assert "Set up in" in capsys.readouterr().out
        dev.set_up()
        assert capsys.readouterr().out == ""
        dev.LOCK.write_text("# newer\n")
        dev.UNFINISHED.touch()
        (dev.VENV / "half-a-package").touch()
        dev.set_up()
        assert dev.is_installed()
        assert not (dev.VENV / "half-a-package").exists()

    def test_a_failed_install_is_not_taken_for_a_finished_one(self, dev, work, capfd):
        dev.LOCK.write_text("no-hash==1.0\n")
        with pytest.raises(SystemExit):
            dev.set_up()
        assert not dev.is_installed()
        assert dev.UNFINISHED.exists()
        assert "run ./dev again" in capfd.readouterr().err
