import pytest

from optagent.codec import decode, encode
from optagent.domain.monitoring import Monitoring, Window
from optagent.errors import InvalidRequest


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"accuracy_drop_threshold": 0}, "accuracy_drop_threshold must be between 0 and 1, got 0"),
        ({"drift_score_threshold": 1.5}, "drift_score_threshold must be between 0 and 1, got 1.5"),
        ({"confidence_threshold": float("nan")}, "confidence_threshold must be between 0 and 1, got nan"),
        ({"performance_window_hours": 0}, "performance_window_hours must be above 0, got 0"),
        ({"performance_window_rows": 0}, "performance_window_rows must be at least 1, got 0"),
        ({"alert_cooldown_minutes": -1}, "alert_cooldown_minutes must not be negative, got -1"),
        ({"false_alarm_every": "1h"}, "false_alarm_every must be at least performance_window_hours (24 h), got '1h'"),
        ({"false_alarm_every": "soon"}, "'soon' is not a duration"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(fields, message):
    with pytest.raises(InvalidRequest) as refused:
        Monitoring(**fields)
    assert message in str(refused.value)


def test_it_survives_json():
    monitoring = Monitoring(performance_window_rows=500, slices=("region",), business={"profit": "stake - fee"})
    assert decode(Monitoring, encode(monitoring)) == monitoring


def test_a_window_has_an_end_after_its_start_and_one_before_it():
    assert Window(10, 20).before == Window(0, 10)
    for start, end in ((1, 1), (2, 1), (0, float("inf")), (float("nan"), 1)):
        with pytest.raises(InvalidRequest):
            Window(start, end)
