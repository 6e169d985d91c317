"""A fault breaks a promise only if an event that was reported as delivered is missing, or one is stored twice."""

import signal
import unittest

from .compare import Comparison, Sent
from .faults import Scenario, judged, restart
from .runner import Outcome
from .test_compare import COUNT, client

PLAIN = Scenario("plain", restart(signal.SIGTERM))
HELD = Scenario("held", restart(signal.SIGTERM), held=True)
KILLED = Scenario("killed", restart(signal.SIGKILL), may_lose=("INFO", "WARN"))


def row(
    scenario: Scenario, delivered: int | None, missing: list[int], repeated: int = 0, **others: object
) -> object:
    sent = Sent(client(**others), "r1", COUNT, 0.0, 0.0, 0.0)
    found = Comparison(stored=COUNT - len(missing), missing=missing, repeated=repeated)
    return judged(scenario, Outcome(sent, delivered, ended=True), found)


class FaultsTest(unittest.TestCase):
    def test_a_delivered_event_must_be_stored(self) -> None:
        self.assertEqual(row(PLAIN, COUNT, [0]).lost, 1)
        self.assertTrue(row(PLAIN, COUNT, [0]).broken)
        self.assertFalse(row(PLAIN, COUNT, []).broken)

    def test_what_the_client_reports_as_lost_may_be_missing(self) -> None:
        self.assertFalse(row(PLAIN, COUNT - 5, [0, 1, 2, 3, 4]).broken)
        self.assertFalse(row(PLAIN, None, [0, 1, 2, 3, 4]).broken)

    def test_a_killed_producer_may_lose_low_levels_only(self) -> None:
        self.assertFalse(row(KILLED, COUNT, [0, 9]).broken)
        self.assertEqual(row(KILLED, COUNT, [0, 14]).lost, 1)

    def test_accepted_events_must_be_sent_after_the_fault(self) -> None:
        outcome = Outcome(Sent(client(), "r1", COUNT, 0.0, 0.0, 0.0), COUNT, ended=True)
        self.assertTrue(judged(PLAIN, outcome, Comparison(stored=COUNT), 98).broken)

    def test_held_requests_lose_nothing(self) -> None:
        self.assertTrue(row(HELD, COUNT - 1, [0]).broken)
        # It has more requests at a time than are held.
        self.assertFalse(row(HELD, COUNT - 1, [0], parallel=True).broken)
        self.assertTrue(row(HELD, COUNT, [0], parallel=True).broken)

    def test_repeats_count_if_they_can_be_recognised(self) -> None:
        self.assertTrue(row(PLAIN, COUNT, [], repeated=1, exact_times=True).broken)
        self.assertFalse(row(PLAIN, COUNT, [], repeated=1).broken)


if __name__ == "__main__":
    unittest.main()
