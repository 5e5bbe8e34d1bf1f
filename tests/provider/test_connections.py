"""What the connections take before anything is sent."""

from __future__ import annotations

import ssl

import pytest

from batchrunner.provider.connections import Connections
from batchrunner.provider.guard import guard_of


@pytest.mark.parametrize("file", [None, "trusted.pem"])
def test_certificates_are_not_read_before_they_are_needed(monkeypatch: pytest.MonkeyPatch, file: str | None) -> None:
    """To read them takes 30 ms of every command that asks the provider something, and once more for each reading."""
    if file is None:
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    else:
        monkeypatch.setenv("SSL_CERT_FILE", file)
    readings: list[str] = []
    for name in ("load_default_certs", "load_verify_locations"):
        monkeypatch.setattr(ssl.SSLContext, name, lambda *_, name=name, **__: readings.append(name))
    made = Connections(guard_of("https://api.example.com")).transports()
    assert made.api is not made.paid
    assert readings == []
