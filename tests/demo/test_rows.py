"""What a row is made of."""

import numpy as np

from ossia.demo.rows import NUM_FEATURES, feature_pairs
from ossia.tokenizer.special import VOCAB_SIZE
from ossia.tokenizer.vocabulary import token_bytes

ID_OF = {token: idx for idx, token in enumerate(token_bytes())}


def features_of(text: bytes) -> set[int]:
    tokens, features = feature_pairs()
    low, high = np.searchsorted(tokens, [ID_OF[text], ID_OF[text] + 1])
    return set(features[low:high].tolist())


def test_every_token_has_features_and_no_pair_comes_twice():
    tokens, features = feature_pairs()
    assert set(np.unique(tokens).tolist()) == set(range(VOCAB_SIZE))
    assert 0 <= features.min() <= features.max() < NUM_FEATURES
    keys = tokens * NUM_FEATURES + features
    assert (np.diff(keys) > 0).all()


def test_a_space_before_a_word_changes_one_feature():
    assert len(features_of(b" weather") - features_of(b"weather")) == 1
    assert features_of(b"weather") <= features_of(b" weather")


def test_a_capital_adds_one_feature():
    added = features_of(b" Paris") - features_of(b" paris")
    assert len(added) == 1 + (b"paris" not in ID_OF and b"Paris" in ID_OF)


def test_words_of_one_length_share_what_they_share():
    common = features_of(b" bat") & features_of(b" cat")
    assert len(features_of(b" bat") - common) == 2  # the first letter, from the front and the back


def test_special_tokens_share_one_row_but_for_their_own_vectors():
    tokens, features = feature_pairs()
    rows = features[tokens >= len(token_bytes())]
    assert len(rows) == VOCAB_SIZE - len(token_bytes())
    assert len(set(rows.tolist())) == 1
