import json

import pytest

from tools.bench.comparison import ComparisonError, compare
from tools.bench.report import goal_lines, write_report
from tools.bench.results import LOAD_SHARE, Measure, Round, gather

TITLES = {"rush": "A rush.", "floor": "The floor.", "poll": "Polls."}


def results(scale=1.0, **scenarios):
    options = {"scale": scale, "rounds": 2, "seed": 7, "seconds": 12.3}
    return {"facts": {"cores": "2"}, "options": options, "scenarios": scenarios}


def measured(name, *values, unit="orders/s", better="more"):
    return gather([Round({name: Measure(value, unit, better)}) for value in values])


def rush(*rates):
    return measured("decided per second", *rates)


class TestGathering:
    def test_rounds_become_medians_with_their_spread(self):
        found = rush(300.0, 100.0, 150.0)["measures"]["decided per second"]
        assert (found["median"], found["lowest"], found["highest"]) == (150.0, 100.0, 300.0)
        assert found["values"] == [300.0, 100.0, 150.0]

    def test_the_last_round_is_drawn(self):
        rounds = [Round({}, {"Orders waiting": {"waiting": [(0.0, height)]}}) for height in (1.0, 2.0)]
        assert gather(rounds)["curves"] == {"Orders waiting": {"waiting": [(0.0, 2.0)]}}


class TestGoals:
    def test_what_was_not_measured_has_no_verdict(self):
        assert goal_lines(results(rush=rush(100.0))) == []

    def test_a_rush_is_judged_by_the_floor(self):
        floor = measured("row locks, 32 clients", 200.0)
        assert goal_lines(results(rush=rush(150.0), floor=floor)) == [
            ("rush, decided ÷ floor", "0.75 x", "at least 0.5 x now: met; 1 x next: missed")
        ]

    @pytest.mark.parametrize(("value", "verdict"), [(250.0, "met"), (251.0, "missed")])
    def test_an_upper_bound_may_be_reached(self, value, verdict):
        found = results(rush=measured("accept p99", value, unit="ms", better="less"))
        assert goal_lines(found) == [("accept p99 at saturation", f"{value:.0f} ms", f"at most 250 ms now: {verdict}")]


class TestWriting:
    def test_a_report_is_a_page_its_plots_and_the_raw_values(self, tmp_path):
        curves = {"Rate over time": {"decided": [(0.0, 1.0), (1.0, 2.0)]}}
        bars = {"CPU per decided order (ms)": {"web": 3.0}}
        one = Round({"decided per second": Measure(100.0, "orders/s", "more")}, curves, bars)
        found = results(rush=gather([one]))
        (tmp_path / "rush-of-another-run.svg").touch()
        page = write_report(found, tmp_path, TITLES).read_text()
        assert "| decided per second | 100 | 100 to 100 | orders/s |" in page
        assert "seed 7" in page
        assert "goals do not count" not in page
        plots = {path.name for path in tmp_path.glob("*.svg")}
        assert plots == {"rush-rate-over-time.svg", "rush-cpu-per-decided-order.svg"}
        assert all(f"({name})" in page for name in plots)
        assert json.loads((tmp_path / "report.json").read_text()) == json.loads(json.dumps(found))

    def test_a_reduced_load_is_no_verdict_on_the_goals(self, tmp_path):
        page = write_report(results(scale=0.1, rush=rush(1.0)), tmp_path, TITLES).read_text()
        assert "goals do not count" in page

    @pytest.mark.parametrize(("share", "warns"), [(79.0, False), (97.0, True)])
    def test_a_busy_load_generator_is_told(self, tmp_path, share, warns):
        poll = measured(LOAD_SHARE, share, unit="%", better="")
        page = write_report(results(poll=poll), tmp_path, TITLES).read_text()
        assert ("The load generator was busy" in page) is warns


class TestComparing:
    def test_ratios_are_those_of_the_medians(self):
        _, line = compare(results(rush=rush(100.0, 110.0)), results(rush=rush(210.0, 215.0)))
        assert line.split() == ["rush", "decided", "per", "second", "2.02", "105", "→", "212", "orders/s", "better"]

    def test_rounds_that_overlap_prove_nothing(self):
        assert compare(results(rush=rush(100.0, 120.0)), results(rush=rush(119.0, 130.0)))[1].endswith(
            "(the rounds overlap)"
        )

    def test_less_is_better_where_the_measure_says_so(self):
        old, new = (results(rush=measured("p99", value, unit="ms", better="less")) for value in (10.0, 20.0))
        assert compare(old, new)[1].endswith("worse")
        assert compare(new, old)[1].endswith("better")

    def test_another_scale_is_told(self):
        assert "scale 0.5 then, and 1.0 now" in compare(results(0.5, rush=rush(1.0)), results(rush=rush(1.0)))[1]

    @pytest.mark.parametrize("other", [results(floor=rush(1.0)), {"some": "json"}])
    def test_reports_with_nothing_in_common_are_refused(self, other):
        with pytest.raises(ComparisonError, match="no measure in common"):
            compare(other, results(rush=rush(1.0)))
