import pytest

from tools.faults.rehearsal import Record
from tools.faults.report import lines
from tools.faults.run import main


@pytest.mark.parametrize("wrong", [["--minutes", "0"], ["--minutes", "-1"], ["--seed", "often"], ["harder"]])
def test_what_makes_no_sense_is_refused(wrong, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(wrong)
    assert exit_.value.code == 2
    assert "./dev faults" in capsys.readouterr().err


def test_a_persons_own_servers_are_never_broken(monkeypatch, capsys):
    monkeypatch.setattr("tools.faults.run.given_values", lambda: {"DATABASE_URL": "postgresql://mine/tickets"})
    assert main([]) == 1
    assert "take DATABASE_URL out" in capsys.readouterr().out


def test_the_report_names_what_broke_and_the_seed_that_replays_it():
    said = "\n".join(lines(Record(4711, broken=["order 1 was charged 2 times"]), 3.0))
    assert "BROKEN, 1 times (--seed 4711)" in said
    assert "order 1 was charged 2 times" in said
    assert "nothing broke" not in said


def test_the_report_says_when_nothing_did():
    assert "nothing broke" in "\n".join(lines(Record(4711), 3.0))
