"""Puts dead letters into the embedded store, as another program on the topic would cause them.

usage: letters.py STORE NUMBER. Every fourth cannot be decoded; the others are events that can be stored when they are sent again.
"""

import json
import sqlite3
import sys
import time
import uuid

store, number = sys.argv[1], int(sys.argv[2])
now = time.time_ns() // 1000
with sqlite3.connect(store, timeout=30) as database:
    for letter in range(number):
        at = now - (number - letter) * 1_000_000
        time_text = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at / 1e6))
        event = {
            "eventId": str(uuid.uuid4()), "timestamp": time_text, "receivedAt": time_text, "source": "billing", "level": "ERROR",
            "message": f"invoice {7000 + letter} cannot be written", "metadata": {"invoice": 7000 + letter},
        }
        decodable = letter % 4 != 3
        value = json.dumps(event).encode() if decodable else bytes([0, 255, 254]) + b"not an event \x1b[31m <b>"
        reason = "the store refuses its content: <b>check constraint</b>" if decodable else "not valid JSON: expected value at line 1 column 1"
        database.execute(
            'INSERT INTO dead_letters (consumer_group, topic, partition, "offset", key, value, reason, at, attempts)'
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            ("log-processor", "logs", letter % 6, 1_000_000 + letter, b"billing", value, reason, at, 4 if decodable else 0),
        )
