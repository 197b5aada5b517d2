"""Settings of the service, each refused by its variable when wrong."""

from pathlib import Path

import pytest

from apikeyrouter import ConfigurationError
from apikeyrouter_proxy.settings import ProxySettings

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for field in ProxySettings.model_fields:
        monkeypatch.delenv(field.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("PORT", "abc", "port (PORT): should be a whole number"),
        ("PORT", "-1", "port (PORT): should be 0 or more"),
        ("PORT", "65536", "port (PORT): should be 65535 or less"),
        (
            "CORS_ORIGINS",
            "https://a.example, b.example",
            "cors_origins (CORS_ORIGINS): 'b.example' is no origin: write it like "
            "https://console.example.com, with commas between several",
        ),
        ("ENABLE_HSTS", "maybe", "enable_hsts (ENABLE_HSTS): should be true or false"),
        (
            "SHUTDOWN_TIMEOUT_SECONDS",
            "abc",
            "shutdown_timeout_seconds (SHUTDOWN_TIMEOUT_SECONDS): should be a number",
        ),
        (
            "SHUTDOWN_TIMEOUT_SECONDS",
            "inf",
            "shutdown_timeout_seconds (SHUTDOWN_TIMEOUT_SECONDS): should be a finite number",
        ),
    ],
)
def test_wrong_value_names_its_variable(
    variable: str, value: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError) as caught:
        ProxySettings()
    assert str(caught.value) == told


def test_blank_variables_are_unset_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "")
    monkeypatch.setenv("SHUTDOWN_TIMEOUT_SECONDS", "")
    settings = ProxySettings()
    assert (settings.port, settings.shutdown_timeout_seconds) == (None, 30.0)
