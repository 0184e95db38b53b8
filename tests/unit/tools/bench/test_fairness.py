from tools.bench.fairness import Turn, find_unfair


def turn(sequence, began, answered, *, served=True):
    return Turn(f"order-{sequence}", sequence, began, answered, is_served=served)


def test_the_order_of_arrival_is_fair():
    assert find_unfair([turn(1, 0, 1), turn(2, 2, 3), turn(3, 4, 5, served=False)]) == []


def test_requests_that_overlapped_may_stand_in_any_order():
    assert find_unfair([turn(1, 1, 4, served=False), turn(2, 0, 3), turn(3, 2, 5)]) == []


def test_a_lower_number_than_somebody_who_had_a_202_before_is_unfair():
    assert find_unfair([turn(1, 2, 3), turn(2, 0, 1)]) == [
        "order order-1 began after the 202 of one with a higher number than 1"
    ]


def test_to_be_refused_though_somebody_later_was_served_is_unfair():
    assert find_unfair([turn(1, 0, 1, served=False), turn(2, 2, 3)]) == [
        "order order-1 was refused, and one that began after its 202 was served"
    ]


def test_nobody_is_treated_unfairly_where_nobody_came():
    assert find_unfair([]) == []
