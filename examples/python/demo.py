"""Logs what an application logs, and prints how many events that were.

    LOGS_URL=http://127.0.0.1:8080 python3 demo.py

The variable LOGS_SOURCE is the source. With DEMO_WAIT=1 it waits in the middle for a line on standard input.
"""

import logging
import os
import sys

from spillway_handler import SpillwayHandler

BURST_EVENTS = 500


def charge():
    try:
        raise ConnectionError("card service refused the connection")
    except ConnectionError as error:
        raise RuntimeError("payment failed") from error


def main():
    handler = SpillwayHandler(os.environ.get("LOGS_SOURCE", "demo-python"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    log = logging.getLogger("shop.checkout")

    log.info("order accepted", extra={"orderId": "A-1042", "items": 3, "customer": {"country": "PL"}})
    log.warning("stock is low: %d left", 2)
    try:
        charge()
    except RuntimeError:
        log.exception("order not paid")
    log.info("Zażółć gęślą jaźń 東京 🚀 tab\t newline\n escape \x1b[31m bell \x07 end")
    if os.environ.get("DEMO_WAIT"):
        print("waiting", flush=True)
        sys.stdin.readline()
    for number in range(BURST_EVENTS):
        log.info("burst %d", number, extra={"number": number})

    logging.shutdown()
    print(f"logged={4 + BURST_EVENTS} dropped={handler.dropped}")


if __name__ == "__main__":
    main()
