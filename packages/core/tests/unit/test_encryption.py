"""Secrets at rest: what is sealed opens again, and only where it belongs."""

import base64

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter.infrastructure.utils.encryption import EncryptionError, EncryptionService

pytestmark = pytest.mark.unit

KEY = EncryptionService.generate_key()
SERVICE = EncryptionService(KEY)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(plaintext=TEXTS, context=st.text())
def test_what_is_sealed_opens_again(plaintext: str, context: str) -> None:
    token = SERVICE.encrypt(plaintext, context)
    assert SERVICE.decrypt(token, context) == plaintext
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=")


@given(plaintext=TEXTS, data=st.data())
def test_every_altered_byte_is_noticed(plaintext: str, data: st.DataObject) -> None:
    raw = bytearray(base64.urlsafe_b64decode(SERVICE.encrypt(plaintext)))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(EncryptionError):
        SERVICE.decrypt(base64.urlsafe_b64encode(raw).decode())


@given(plaintext=TEXTS, data=st.data())
def test_every_altered_letter_is_noticed(plaintext: str, data: st.DataObject) -> None:
    token = SERVICE.encrypt(plaintext)
    at = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.characters().filter(lambda letter: letter != token[at]))
    with pytest.raises(EncryptionError):
        SERVICE.decrypt(token[:at] + letter + token[at + 1 :])


@given(token=st.text())
def test_foreign_text_is_refused_in_words(token: str) -> None:
    with pytest.raises(EncryptionError):
        SERVICE.decrypt(token)


def test_token_of_another_record_does_not_open() -> None:
    with pytest.raises(EncryptionError, match="moved from another record"):
        SERVICE.decrypt(SERVICE.encrypt("sk-1", "key-a"), "key-b")


def test_wrong_key_is_named_without_any_secret() -> None:
    token = SERVICE.encrypt("sk-plain")
    with pytest.raises(EncryptionError, match="APIKEYROUTER_ENCRYPTION_KEY") as caught:
        EncryptionService().decrypt(token)
    assert "sk-plain" not in str(caught.value)
    assert token not in str(caught.value)


def test_token_of_another_program_is_told_apart() -> None:
    token = Fernet(KEY).encrypt(b"sk-1").decode()
    with pytest.raises(EncryptionError, match="another program or version"):
        SERVICE.decrypt(token)


def test_same_text_gives_another_token_each_time() -> None:
    assert SERVICE.encrypt("sk-1") != SERVICE.encrypt("sk-1")


def test_previous_keys_open_but_do_not_seal() -> None:
    old_key, new_key = EncryptionService.generate_key(), EncryptionService.generate_key()
    old = EncryptionService(old_key)
    rotated = EncryptionService(new_key, previous=[old_key])
    assert rotated.decrypt(old.encrypt("sk-1", "a"), "a") == "sk-1"
    with pytest.raises(EncryptionError):
        old.decrypt(rotated.encrypt("sk-1"))


def test_key_that_fernet_prints_is_valid_as_text_and_as_bytes() -> None:
    printed = Fernet.generate_key()
    token = EncryptionService(printed).encrypt("sk-1")
    assert EncryptionService(printed.decode()).decrypt(token) == "sk-1"
    assert EncryptionService(base64.urlsafe_b64decode(printed)).decrypt(token) == "sk-1"
    assert EncryptionService(f" {printed.decode()}\n").decrypt(token) == "sk-1"


@pytest.mark.parametrize("key", ["", "short", "é" * 44, b"x" * 31, KEY[:-4], KEY + KEY, "!" * 44])
def test_key_of_another_size_is_refused_and_not_repeated(key: str | bytes) -> None:
    with pytest.raises(EncryptionError, match="32 bytes") as caught:
        EncryptionService(key)
    assert not key or str(key) not in str(caught.value)


def test_no_key_makes_one_that_lives_with_the_service() -> None:
    service = EncryptionService()
    assert service.ephemeral
    assert not SERVICE.ephemeral
    assert service.decrypt(service.encrypt("sk-1")) == "sk-1"


def test_text_that_is_not_unicode_is_refused() -> None:
    with pytest.raises(EncryptionError, match="not valid Unicode"):
        SERVICE.encrypt("\ud800")


def test_repr_shows_no_key() -> None:
    assert repr(SERVICE) == "EncryptionService(ephemeral=False, keys=1)"


#: Sealed by the first layout, which wrapped no keys.
OLD_KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
OLD_TOKEN = "AQABAgMEBQYHCAkKCzRp-3SpgUbC7cRX69PGq8-oCHCSSdo="


def test_secret_of_the_first_layout_still_opens_and_is_rewrapped_into_the_next() -> None:
    new_key = EncryptionService.generate_key()
    both = EncryptionService.of_setting(f"{new_key}, {OLD_KEY}")
    assert both.decrypt(OLD_TOKEN, "k1") == "sk-old"
    token = both.rewrap(OLD_TOKEN, "k1")
    assert token is not None
    assert EncryptionService(new_key).decrypt(token, "k1") == "sk-old"
    with pytest.raises(EncryptionError, match="moved from another record"):
        both.decrypt(OLD_TOKEN, "k2")


def test_first_of_several_keys_seals_and_all_open() -> None:
    keys = [EncryptionService.generate_key() for _ in range(3)]
    tokens = [EncryptionService(key).encrypt("sk-1", "a") for key in keys]
    service = EncryptionService.of_setting(",".join(keys))
    assert [service.decrypt(token, "a") for token in tokens] == ["sk-1"] * 3
    assert EncryptionService(keys[0]).decrypt(service.encrypt("sk-2")) == "sk-2"


def test_rewrapping_moves_what_is_under_another_key_and_leaves_the_rest() -> None:
    old, new = EncryptionService.generate_key(), EncryptionService.generate_key()
    token = EncryptionService(old).encrypt("sk-1", "a")
    service = EncryptionService.of_setting(f"{new},{old}")
    moved = service.rewrap(token, "a")
    assert moved is not None
    assert service.rewrap(moved, "a") is None
    assert EncryptionService(new).decrypt(moved, "a") == "sk-1"
    with pytest.raises(EncryptionError):
        service.rewrap(token, "b")
    with pytest.raises(EncryptionError):
        EncryptionService(new).rewrap(token, "a")


def test_passphrase_is_the_same_key_with_the_same_salt_alone() -> None:
    services = []
    for salt in (b"s" * 16, b"s" * 16, b"t" * 16):
        service = EncryptionService.of_setting("passphrase:correct horse battery")
        assert service.needs_salt
        service.unlock(salt)
        assert not service.needs_salt
        services.append(service)
    token = services[0].encrypt("sk-1")
    assert services[1].decrypt(token) == "sk-1"
    with pytest.raises(EncryptionError):
        services[2].decrypt(token)


def test_passphrase_without_its_salt_seals_nothing_and_opens_by_other_keys() -> None:
    service = EncryptionService.of_setting(f"passphrase:correct horse battery,{KEY}")
    with pytest.raises(EncryptionError, match=r"await router\.hydrate"):
        service.encrypt("sk-1")
    assert service.decrypt(SERVICE.encrypt("sk-1")) == "sk-1"


@pytest.mark.parametrize("text", ["passphrase:short", f"{KEY},", f"{KEY},x", ",", " "])
def test_setting_that_is_no_list_of_keys_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(EncryptionError) as caught:
        EncryptionService.of_setting(text)
    assert KEY not in str(caught.value)
