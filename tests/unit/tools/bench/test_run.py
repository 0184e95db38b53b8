import pytest

from tools.bench import run
from tools.bench.load import LoadError
from tools.bench.verdicts import WrongSaleError


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (WrongSaleError("tier 1 gave 2 of 1 tickets"), "the system sold wrongly, so no figure counts: tier 1 gave"),
        (LoadError("3 of 5 requests had no answer"), "./dev bench: 3 of 5 requests had no answer"),
    ],
)
def test_a_run_that_went_wrong_ends_with_its_reason_and_no_report(monkeypatch, capsys, tmp_path, error, said):
    def fail(*_):
        raise error

    monkeypatch.setattr(run, "_measure", fail)
    assert run.main(["rush", "--out", str(tmp_path / "report")]) == 1
    assert said in capsys.readouterr().out
    assert not (tmp_path / "report").exists()
