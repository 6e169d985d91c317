"""A client is kept out only if nothing is stored and it knows; what it needs to be let in is there."""

import unittest
from pathlib import Path

from .access import ADMITTED, STRANGER, is_kept_out, presenting, trusting
from .catalogue import CLIENTS, Listener

KEY = "spw_key"


class AccessTest(unittest.TestCase):
    def test_a_client_is_kept_out_if_nothing_is_stored_and_it_does_not_believe_otherwise(self) -> None:
        self.assertTrue(is_kept_out(0, 0, ["401"], KEY))
        self.assertTrue(is_kept_out(None, 0, [], KEY))
        self.assertFalse(is_kept_out(None, 1, [], KEY))
        self.assertFalse(is_kept_out(1, 0, [], KEY))

    def test_no_error_may_show_the_key(self) -> None:
        self.assertFalse(is_kept_out(0, 0, ["401", f"Bearer {KEY} is refused"], KEY))

    def test_the_files_of_the_variables_exist(self) -> None:
        for certificate in (ADMITTED, STRANGER):
            self.assertTrue(Path(presenting(KEY, certificate, Path())["CLIENT_CERTIFICATE"]).is_file())
        self.assertTrue(Path(trusting(Path())["CLIENT_CA"]).is_file())

    def test_without_trust_no_variable_names_the_authority(self) -> None:
        self.assertFalse(presenting(KEY, ADMITTED, Path()).keys() & trusting(Path()).keys())

    def test_only_syslog_is_left_out(self) -> None:
        left_out = [client for client in CLIENTS if client.open_only]
        self.assertEqual({client.listener for client in left_out}, {Listener.SYSLOG})
        self.assertTrue(all(client.open_only for client in CLIENTS if client.protocol == "syslog UDP"))


if __name__ == "__main__":
    unittest.main()
