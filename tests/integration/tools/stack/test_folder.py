import subprocess
import sys
import time

import pytest

from tools.stack.environment import ROOT, Secrets, forget, tell, told
from tools.stack.folder import FolderError, claim, is_claimed


def test_a_folder_with_foreign_files_is_refused_and_left_as_it_is(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    (tmp_path / "secrets.json").write_text("{}")
    with pytest.raises(FolderError, match=r"not ours \(thesis.tex\)"):
        claim(tmp_path, fresh=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secrets.json", "thesis.tex"]


def test_a_second_run_on_one_folder_is_refused_and_names_the_first(tmp_path):
    program = (
        "import sys, pathlib; from tools.stack.folder import claim; l = claim(pathlib.Path(sys.argv[1]), fresh=False)"
    )
    waiting = "; print('mine', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", program + waiting, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout.readline() == "mine\n"
        began = time.monotonic()
        with pytest.raises(FolderError, match=rf"process {first.pid}\b"):
            claim(tmp_path, fresh=False)
        assert time.monotonic() - began < 1
        first.kill()
    claim(tmp_path, fresh=False).close()


def test_fresh_removes_what_earlier_runs_kept_and_nothing_else(tmp_path):
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("18")
    (tmp_path / "secrets.json").write_text("{}")
    (tmp_path / "setup.lock").touch()
    claim(tmp_path, fresh=True).close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock", "setup.lock"]


def test_secrets_are_made_once_and_readable_by_their_owner_alone(tmp_path):
    known = Secrets.kept_in(tmp_path)
    assert Secrets.kept_in(tmp_path) == known
    assert Secrets.generate() != known
    assert (tmp_path / "secrets.json").stat().st_mode & 0o777 == 0o600


def test_a_folder_is_claimed_for_as_long_as_its_run_lasts(tmp_path):
    assert not is_claimed(tmp_path)
    with claim(tmp_path, fresh=False):
        assert is_claimed(tmp_path)
    assert not is_claimed(tmp_path)


def test_the_environment_of_a_run_is_told_to_its_owner_alone_and_forgotten(tmp_path):
    assert told(tmp_path) is None
    tell(tmp_path, {"DATABASE_URL": "postgresql://…"})
    assert told(tmp_path) == {"DATABASE_URL": "postgresql://…"}
    assert (tmp_path / "environment.json").stat().st_mode & 0o777 == 0o600
    claim(tmp_path, fresh=False).close()
    forget(tmp_path)
    forget(tmp_path)
    assert told(tmp_path) is None
