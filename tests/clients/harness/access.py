"""What clients need with `--keys`: an access key, a certificate for syslog, and trust in the authority of Spillway.

All of it reaches a runner as variables. The certificates are those of the end-to-end tests.
"""

import subprocess
from pathlib import Path

CERTIFICATES = Path(__file__).resolve().parent.parent.parent / "e2e/certificates"
AUTHORITY = CERTIFICATES / "authority.pem"
SERVER = CERTIFICATES / "server.pem"
"""Certificate and key of Spillway, for 127.0.0.1."""
CLIENT_NAME = "log-gateway"
"""The name in the certificate that is let in."""
ADMITTED, STRANGER = "gateway", "stranger"
"""Certificates of clients, both signed by the authority."""
# Known to the runner, too.
STORE_PASSWORD = "changeit"


def presenting(key: str, certificate: str, stores: Path) -> dict[str, str]:
    """Lets a client present this key, or over syslog this certificate."""
    return {
        "CLIENT_KEY": key,
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{key}",
        "CLIENT_CERTIFICATE": str(CERTIFICATES / f"{certificate}.pem"),
        "CLIENT_KEY_STORE": str(stores / f"{certificate}.p12"),
    }


def trusting(stores: Path) -> dict[str, str]:
    """Lets a client trust the authority: the variables of each language, and the file for clients that ignore them."""
    names = (
        "CLIENT_CA",
        # Go.
        "SSL_CERT_FILE",
        "NODE_EXTRA_CA_CERTS",
        # The library `requests` of Python.
        "REQUESTS_CA_BUNDLE",
        "OTEL_EXPORTER_OTLP_CERTIFICATE",
    )
    store = f"-Djavax.net.ssl.trustStore={stores}/authority.p12 -Djavax.net.ssl.trustStorePassword={STORE_PASSWORD}"
    return {**dict.fromkeys(names, str(AUTHORITY)), "JDK_JAVA_OPTIONS": store}


def is_kept_out(delivered: int | None, stored: int, errors: list[str], key: str) -> bool:
    """Whether nothing is stored, the client does not believe anything delivered, and no error shows the key."""
    return not stored and not delivered and not any(key in error for error in errors)


def make_stores(stores: Path) -> None:
    """Makes what Java takes instead of PEM files: a store of the authority, and one of each client's certificate."""
    command = ["keytool", "-importcert", "-noprompt", "-alias", "authority", "-file", AUTHORITY]
    command += ["-keystore", stores / "authority.p12", "-storetype", "PKCS12", "-storepass", STORE_PASSWORD]
    subprocess.run(command, check=True, capture_output=True, text=True)
    for name in (ADMITTED, STRANGER):
        command = ["openssl", "pkcs12", "-export", "-in", CERTIFICATES / f"{name}.pem"]
        command += ["-out", stores / f"{name}.p12", "-passout", f"pass:{STORE_PASSWORD}"]
        subprocess.run(command, check=True, capture_output=True, text=True)
