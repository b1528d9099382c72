"""Tests which settings are shown, and which texts are hidden everywhere."""

from pydantic import SecretStr

from consumer.settings.model import Erasure, Settings
from consumer.settings.servers import Postgres
from consumer.settings.shown import effective, secrets, without


def settings() -> Settings:
    """Return settings with secrets."""
    dsn = SecretStr("postgresql://app:Zq7K%40x@h/d?sslpassword=Xw9Pabc")
    keys = SecretStr("a" * 32 + "," + "b" * 32)
    return Settings(postgres=Postgres(dsn=dsn), erasure=Erasure(key=SecretStr("k" * 32), previous_keys=keys))


def test_secrets_in_every_form() -> None:
    """A secret is found as a whole, decoded, and as single keys."""
    assert {"Zq7K%40x", "Zq7K@x", "Xw9Pabc", "k" * 32, "a" * 32, "b" * 32} < set(secrets(settings()))


def test_secrets_are_left_out_of_every_text() -> None:
    """Secrets are hidden in names and inside words too."""
    value = {"a Zq7K@x": ["said:Zq7K%40x!", {"deep": ("b" * 33, 7, None)}]}
    assert without(secrets(settings()), value) == {"a (hidden)": ["said:(hidden)!", {"deep": ["(hidden)b", 7, None]}]}


def test_every_setting_is_shown() -> None:
    """Secrets are hidden in the effective settings."""
    shown = {one.variable: one.value for one in effective(settings())}
    assert shown["RAGLEDGER_POSTGRES__DSN"] == "(hidden)"
    assert shown["RAGLEDGER_KAFKA__GROUP_ID"] == "ragledger"


def test_arguments_of_commands_are_hidden() -> None:
    """A command is shown by its program, because its arguments may contain a secret."""
    with_arguments = Postgres(dsn=SecretStr("postgresql://app@h/d"), password_command="cat --token Zq7Kx9Pw")
    assert shown_command(with_arguments) == "cat (hidden)"
    alone = Postgres(dsn=SecretStr("postgresql://app@h/d"), password_command="cat")
    assert shown_command(alone) == "cat"


def shown_command(postgres: Postgres) -> object:
    """Return the password command as the settings show it."""
    shown = {one.variable: one.value for one in effective(Settings(postgres=postgres))}
    return shown["RAGLEDGER_POSTGRES__PASSWORD_COMMAND"]
