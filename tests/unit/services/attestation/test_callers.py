"""Who may ask the broker what, and how often: identities, services, witnesses."""

import pytest

from common.crypto.signing import SigningKey
from common.errors import AuthenticityError, QuotaError
from common.identifiers import PartyKey
from common.messages.broker_exchange import RequestBody
from common.untrusted.request_quota import RequestQuota
from services.attestation.callers import OF_ALL, OF_SERVICES, OF_WITNESSES, Callers
from tests.vectors.sample_broker import request_bodies

PARTY, SERVICE, WITNESS, STRANGER = (SigningKey.generate().party for _ in range(4))


class Registry:
    def is_enrolled(self, party: PartyKey) -> bool:
        return party == PARTY


def callers() -> Callers:
    return Callers(Registry(), RequestQuota(1.0, 3), services=[SERVICE], witnesses=[WITNESS])


def test_the_registry_knows_identities_and_the_settings_know_services_and_witnesses() -> None:
    one = callers()
    assert [one.is_enrolled(party) for party in (PARTY, SERVICE, WITNESS, STRANGER)] == [True, True, True, False]


def may_ask(party: PartyKey, body: RequestBody) -> bool:
    try:
        callers().require_may_ask(party, body)
    except AuthenticityError:
        return False
    return True


@pytest.mark.parametrize("body", request_bodies(), ids=lambda body: body.type)
def test_what_enclaves_and_witnesses_ask_nobody_else_asks(body: RequestBody) -> None:
    assert [isinstance(body, kinds) for kinds in (OF_ALL, OF_SERVICES, OF_WITNESSES)].count(True) == 1
    assert may_ask(PARTY, body) == isinstance(body, OF_ALL)
    assert may_ask(SERVICE, body)  # among them carriers of a witness's word
    assert may_ask(WITNESS, body) == (not isinstance(body, OF_SERVICES))


def test_an_identity_has_a_quota_of_its_own_and_services_have_another() -> None:
    one = callers()
    for _ in range(3):
        one.charge(PARTY)
    with pytest.raises(QuotaError, match="quota.requests"):
        one.charge(PARTY)
    for party in (SERVICE, WITNESS):
        for _ in range(100):
            one.charge(party)
