"""The comparison finds each deviation."""

import unittest

from .catalogue import Client, Clock, Listener
from .compare import SPAN_ID, TRACE_ID, Comparison, Sent, compare, level_of

COUNT = 15
EVENT_TIME = 1_700_000_000.0
EVENT_TIMES = "2023-11-14T22:13:20.{:03}000Z"
RECEIVED = "2023-11-14T23:13:20.123456Z"


def client(**others: object) -> Client:
    return Client("some", "python", "package", "OTLP/HTTP", Listener.HTTP, **{"trace": True, "stack": True, **others})


def sent(of: Client) -> Sent:
    return Sent(of, "r1", COUNT, EVENT_TIME, EVENT_TIME + 3600, EVENT_TIME + 3605)


def rows(**others: object) -> list[dict]:
    """Rows as they should be, with these members replaced."""
    made = []
    for number in range(COUNT):
        row = {
            "message": f"clients r1 some {number}",
            "level": level_of(number, COUNT),
            "timestamp": EVENT_TIMES.format(number),
            "receivedAt": RECEIVED,
            "source": "clients-some",
            "traceId": TRACE_ID,
            "spanId": SPAN_ID,
            "stackTrace": "Failure: the disk of shard 7 is full",
            "metadata": {"fields": {"order": number}},
        }
        made.append(row | others)
    return made


class ComparisonTest(unittest.TestCase):
    def found(self, stored: list[dict], **others: object) -> Comparison:
        return compare(sent(client(**others)), stored)

    def test_events_as_they_were_sent_are_right(self) -> None:
        found = self.found(rows())
        self.assertTrue(found.is_right(), found)
        self.assertEqual((found.stored, found.levels, found.times, found.fields), (COUNT, True, True, True))

    def test_nothing_stored_is_not_right(self) -> None:
        found = self.found([])
        self.assertFalse(found.is_right())
        self.assertEqual(found.missing, list(range(COUNT)))

    def test_missing_and_repeated_events_are_counted(self) -> None:
        stored = rows()
        found = self.found(stored[1:] + stored[1:3])
        self.assertEqual((found.stored, found.missing, found.repeated), (COUNT - 1, [0], 2))
        self.assertFalse(found.is_right())

    def test_another_text_is_not_the_event(self) -> None:
        found = self.found([row | {"message": '{"msg":"' + row["message"] + '"}'} for row in rows()])
        self.assertEqual(found.stored, 0)
        self.assertIn("another text", found.notes[0])

    def test_each_wrong_member_is_named(self) -> None:
        table = [
            ({"level": "INFO"}, "levels", "ERROR is INFO"),
            ({"timestamp": RECEIVED}, "times", "a time differs by"),
            ({"source": "unknown"}, "fields", "the source is unknown"),
            ({"traceId": None}, "fields", "trace or span id is missing"),
            ({"metadata": {}}, "fields", "the field order is missing"),
            ({"stackTrace": None}, "fields", "the stack trace is missing"),
        ]
        for change, column, note in table:
            with self.subTest(change=change):
                found = self.found(rows(**change))
                self.assertFalse(getattr(found, column))
                self.assertTrue(any(note in text for text in found.notes), found.notes)
                self.assertFalse(found.is_right())

    def test_a_name_with_dots_counts_by_its_last_part(self) -> None:
        stored = rows()
        for number, row in enumerate(stored):
            row["metadata"] = {"labels.order": str(number)}
        self.assertTrue(self.found(stored).is_right())

    def test_a_client_with_a_clock_must_not_have_the_time_of_receipt(self) -> None:
        self.assertFalse(self.found(rows(timestamp=RECEIVED), clock=Clock.OWN).times)
        self.assertTrue(self.found(rows(timestamp="2023-11-14T23:13:20.123Z"), clock=Clock.OWN).times)
        self.assertFalse(self.found(rows(), clock=Clock.OWN).times)

    def test_without_a_time_that_of_receipt_is_right(self) -> None:
        self.assertTrue(self.found(rows(timestamp=RECEIVED), clock=Clock.NONE).times)


if __name__ == "__main__":
    unittest.main()
