"""Terms are signed once for what they say: a repetition names the same bundle, another wish another one."""

from pathlib import Path

import pytest

from client.context import Party
from client.policy_terms import ProviderTerms
from client.provider import signed_terms
from common.identifiers import Digest
from common.messages.objects import ObjectRef
from common.messages.policy import BundleTerms

REFERENCE = ObjectRef(root=Digest("1" * 64), chunk_count=1)
RELEASE, OTHER_RELEASE = Digest("2" * 64), Digest("3" * 64)


@pytest.fixture
def provider(tmp_path: Path) -> Party:
    """A provider who accepts simulated platforms."""
    return Party.create(tmp_path / "provider", "provider", unsafe_simulation=True)


def test_the_same_wish_is_signed_once(provider: Party) -> None:
    first = signed_terms(provider, REFERENCE, ProviderTerms(), RELEASE)
    assert signed_terms(provider, REFERENCE, ProviderTerms(), RELEASE) == first


@pytest.mark.parametrize(
    ("terms", "release"),
    [(ProviderTerms(days=20), RELEASE), (ProviderTerms(answers_total=7), RELEASE), (ProviderTerms(), OTHER_RELEASE)],
    ids=["days", "answers", "release"],
)
def test_another_wish_or_release_is_signed_anew(provider: Party, terms: ProviderTerms, release: Digest) -> None:
    first = signed_terms(provider, REFERENCE, ProviderTerms(), RELEASE)
    second = signed_terms(provider, REFERENCE, terms, release)
    assert second.digest != first.digest
    said = BundleTerms.decode(second.payload)
    assert (said.releases, said.answers_total) == ((release,), terms.answers_total)
