"""Uploads are known to whom they were told, for a day, and bounded."""

import pytest

from apikeyrouter.service import Owner
from apikeyrouter_proxy.dataplane.auth import Client
from apikeyrouter_proxy.dataplane.objects.uploads import KEPT_FOR_S, UploadRegister

pytestmark = pytest.mark.unit
ONE = Owner("p", "k1", "a")
ANN, BOB = (Client(name, None, 1.0, 0, ()) for name in ("ann", "bob"))


def test_upload_is_found_until_its_day_is_over() -> None:
    register = UploadRegister()
    assert register.begin("u-1", ANN, ONE, "/u", now=100.0)
    found = register.find("u-1", 100.0 + KEPT_FOR_S - 1)
    assert found is not None
    assert (found.client, found.owner, found.path) == (ANN, ONE, "/u")
    assert register.find("u-2", 100.0) is None
    assert register.find("u-1", 100.0 + KEPT_FOR_S) is None
    assert len(register) == 0


@pytest.mark.parametrize("upload_id", ["", "x" * 5000])
def test_what_is_no_id_is_not_taken(upload_id: str) -> None:
    register = UploadRegister()
    assert not register.begin(upload_id, ANN, ONE, "/u", now=0.0)
    assert len(register) == 0


def test_who_begins_most_loses_the_oldest() -> None:
    register = UploadRegister(most=3)
    register.begin("b-1", BOB, ONE, "/u", now=0.0)
    for number in range(50):
        register.begin(f"a-{number}", ANN, ONE, "/u", now=0.0)
    assert len(register) == 3
    known = [name for name in ("b-1", "a-48", "a-49", "a-47") if register.find(name, 0.0)]
    assert known == ["b-1", "a-48", "a-49"]


def test_upload_that_is_begun_again_is_of_the_last_one() -> None:
    register = UploadRegister()
    register.begin("u", ANN, ONE, "/u", now=0.0)
    register.begin("u", None, ONE, "/u", now=0.0)
    found = register.find("u", 0.0)
    assert found is not None
    assert found.client is None
    assert len(register) == 1
