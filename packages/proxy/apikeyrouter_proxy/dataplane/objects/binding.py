"""Which key a request is bound to by the objects that it names."""

from collections.abc import Iterable

from apikeyrouter.service import ObjectRegister, Owner
from apikeyrouter_proxy.dataplane.bodies.reader import RefusedBodyError
from apikeyrouter_proxy.dataplane.errors import ErrorAnswer, refusal
from apikeyrouter_proxy.dataplane.objects.ids import ObjectName, is_made_up


def owner_of_all(
    objects: ObjectRegister,
    client: str,
    names: Iterable[ObjectName],
    words: Iterable[ObjectName] = (),
) -> Owner | None:
    """Return who has what is named; `None` if nothing of it is known.

    Args:
        words: May be names, or anything else.

    Raises:
        RefusedBodyError: It is not all in one account, or other clients made it.
    """
    found: dict[tuple[str, str], tuple[ObjectName, Owner]] = {}
    for named, is_sure in ((names, True), (words, False)):
        for name in named:
            if objects.is_others(client, *name) and (is_sure or is_made_up(name[1])):
                raise RefusedBodyError(_not_found(name), is_unread=False)
            owner = objects.find(client, *name)
            if owner is not None:
                found.setdefault((owner.provider_id, owner.account or owner.key_id), (name, owner))
    if len(found) > 1:
        raise RefusedBodyError(_scattered(list(found.values())), is_unread=False)
    return next((owner for _, owner in found.values()), None)


def _not_found(name: ObjectName) -> ErrorAnswer:
    message = f"'{name[1]}' is not known here as one of your {name[0]}"
    return refusal(404, message, code="not_found")


def _scattered(named: list[tuple[ObjectName, Owner]]) -> ErrorAnswer:
    told = " and ".join(f"{name[1]} to key '{owner.key_id}'" for name, owner in named[:3])
    return refusal(
        409,
        f"what is used together has to be of one account, but {told} belongs: "
        "make one of them again, and it will stand beside the last one made",
        code="objects_of_different_accounts",
    )
