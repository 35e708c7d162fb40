"""Terms are signed once for what they say: a repetition names the same bundle, another wish another one."""

from pathlib import Path

import pytest

from client.context import Party
from client.policy_terms import ProviderTerms, keep_policy, newest_policy, sign_terms
from client.provider import keep_publication, signed_terms
from common.errors import NotFoundError
from common.identifiers import BundleId, Digest
from common.messages.objects import BundlePublication, ObjectRef
from common.messages.policy import BundleTerms
from common.messages.signed import Signed, sign

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


def published(provider: Party, terms: Signed) -> Signed:
    key = provider.identity.signing_key
    named = BundlePublication(provider=key.party, object=REFERENCE, terms=terms.digest, state_class=4096)
    return sign(named, key)


def test_a_repeated_publication_leaves_the_newest_version(provider: Party) -> None:
    first = signed_terms(provider, REFERENCE, ProviderTerms(), RELEASE)
    publication = published(provider, first)
    bundle_id = keep_publication(provider, publication, first)
    second = sign_terms(
        provider, ProviderTerms(releases=(RELEASE,), answers_total=7), newest_policy(provider, bundle_id)
    )
    keep_policy(provider, bundle_id, second)
    assert keep_publication(provider, publication, first) == bundle_id
    assert newest_policy(provider, bundle_id).digest == second.digest
    said = BundleTerms.decode(second.payload)
    assert (said.policy_version, said.previous, said.answers_total) == (2, first.digest, 7)


def test_terms_that_an_earlier_version_published_are_found(provider: Party) -> None:
    """It kept them under the root of the object alone."""
    first = signed_terms(provider, REFERENCE, ProviderTerms(), RELEASE)
    publication = published(provider, first)
    bundle_id = BundleId.of(publication.digest)
    with pytest.raises(NotFoundError, match=r"not_found\.bundle"):
        newest_policy(provider, bundle_id)
    provider.keep_document("publications", bundle_id, publication)
    assert newest_policy(provider, bundle_id) == first
