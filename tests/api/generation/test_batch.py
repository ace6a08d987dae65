"""generate_batch and the managers of continuous batching."""

from __future__ import annotations

import threading

import pytest
import torch
import transformers

import ossia
from ossia.errors import EngineClosedError, RequestError
from support.generation import EOS, shared_pair

LISTS = [[10, 11, 12, 13], [20], [30, 31]]


def greedy(ids, limit=6):
    """New ids as `generate` gives them."""
    model, _ = shared_pair()
    return model.generate([ids], max_new_tokens=limit)[0, len(ids) :].tolist()


def test_each_prompt_is_continued_as_alone():
    model, _ = shared_pair()
    done = model.generate_batch(LISTS, max_new_tokens=6)
    assert list(done) == ["req_0", "req_1", "req_2"]
    for output, ids in zip(done.values(), LISTS, strict=True):
        assert output.generated_tokens == greedy(ids)
        assert output.prompt_ids == ids
        assert output.is_finished()
        assert output.status == ossia.RequestStatus.FINISHED
        assert output.error is None
        start, end = output.lifespan
        assert output.created_time <= start <= end
        assert (output.logprobs, output.timestamps) == ([], None)


def test_fields_are_those_of_transformers():
    from transformers.generation.continuous_batching import requests

    theirs = requests.GenerationOutput("x").__dataclass_fields__
    assert list(ossia.GenerationOutput("x").__dataclass_fields__) == list(theirs)
    assert {one.name: one.value for one in ossia.RequestStatus} == {
        one.name: one.value for one in requests.RequestStatus
    }


def test_tensors_settings_logprobs_and_times():
    model, _ = shared_pair()
    ids = torch.tensor(LISTS[0])
    config = transformers.GenerationConfig(max_new_tokens=4, eos_token_id=[99 - 3])
    done = model.generate_batch(
        [ids],
        generation_config=config,
        continuous_batching_config=ossia.ContinuousBatchingConfig(return_logprobs=True),
        record_timestamps=True,
    )["req_0"]
    assert len(done.generated_tokens) == len(done.logprobs) == len(done.timestamps) == 4
    text = torch.tensor([LISTS[0] + done.generated_tokens])
    with torch.no_grad():
        exact = model(text).logits[0, 3:-1].log_softmax(-1)
    expected = exact.gather(1, text[0, 4:, None]).squeeze(1)
    torch.testing.assert_close(torch.tensor(done.logprobs), expected, atol=2e-4, rtol=1e-4)


def test_several_continuations_and_seeds():
    model, _ = shared_pair()
    options = {"max_new_tokens": 8, "do_sample": True, "num_return_sequences": 3}
    names = ["req_0", "req_0__child#0", "req_0__child#1"]
    drawn = []
    for seed in (3, 3, 4):
        done = model.generate_batch(
            LISTS[:1], continuous_batching_config={"seed": seed}, progress_bar=True, **options
        )
        assert list(done) == names
        drawn.append([output.generated_tokens for output in done.values()])
    assert drawn[0] == drawn[1] != drawn[2]
    assert len({tuple(one) for one in drawn[0]}) == 3
    torch.manual_seed(1)
    first = model.generate_batch(LISTS[:1], **options)["req_0"].generated_tokens
    torch.manual_seed(1)
    assert model.generate_batch(LISTS[:1], **options)["req_0"].generated_tokens == first


def test_nothing_to_do():
    model, _ = shared_pair()
    assert model.generate_batch([]) == {}


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"inputs": ["text"]}, "inputs"),
        ({"inputs": [[10]], "nonsense": 1}, "nonsense"),
        ({"inputs": [[10]], "num_beams": 2}, "num_beams"),
        ({"inputs": [[10]], "stop_strings": "a"}, "stop_strings"),
        ({"inputs": [[10]], "max_time": 1.0}, "max_time"),
        ({"inputs": [[10]], "persistent_manager": True}, "persistent_manager"),
        ({"inputs": [[1000]]}, "prompt_ids"),
        ({"inputs": [[]]}, "prompt_ids"),
        ({"inputs": [[1]], "continuous_batching_config": 3}, "continuous_batching_config"),
        ({"inputs": [[1]], "continuous_batching_config": {"turbo": 1}}, "turbo"),
        (
            {"inputs": [[1]], "continuous_batching_config": {"use_cuda_graph": True}},
            "use_cuda_graph",
        ),
        (
            {"inputs": [[1]], "continuous_batching_config": {"scheduler_type": "x"}},
            "scheduler_type",
        ),
    ],
)
def test_what_is_refused_by_name(arguments, field):
    model, _ = shared_pair()
    with pytest.raises(RequestError) as caught:
        model.generate_batch(max_new_tokens=2, **arguments)
    assert caught.value.field == field


def test_transformers_own_configuration_will_do():
    given = transformers.ContinuousBatchingConfig(max_batch_tokens=128, num_blocks=50)
    ours = ossia.ContinuousBatchingConfig.of(given)
    assert (ours.max_batch_tokens, ours.num_blocks) == (128, 50)


@pytest.fixture
def manager():
    model, _ = shared_pair()
    with model.continuous_batching_context_manager(
        ossia.GenerationConfig(max_new_tokens=6),
        continuous_batching_config={"num_blocks": 400, "max_requests_per_batch": 8},
    ) as manager:
        yield manager


def test_results_of_a_manager(manager):
    names = manager.add_requests(LISTS)
    assert names == ["req_0", "req_1", "req_2"]
    results = {}
    while len(results) < 3:
        result = manager.get_result(timeout=60)
        results[result.request_id] = result
    for name, ids in zip(names, LISTS, strict=True):
        assert results[name].generated_tokens == greedy(ids)
    assert manager.get_result(timeout=0.01) is None
    assert manager.get_result("req_0") is None  # was taken


def test_requests_have_settings_of_their_own(manager):
    cold = manager.add_request(LISTS[0])
    short = manager.add_request(LISTS[0], max_new_tokens=2, eos_token_id=list(EOS))
    hot = manager.add_request(LISTS[0], request_id="hot", temperature=50.0, seed=None)
    assert hot == "hot"
    assert manager.get_result(short, timeout=60).generated_tokens == greedy(LISTS[0], 2)
    assert manager.get_result(cold, timeout=60).generated_tokens == greedy(LISTS[0])
    assert manager.get_result(hot, timeout=60).generated_tokens != greedy(LISTS[0])
    with pytest.raises(RequestError, match="num_beams"):
        manager.add_request(LISTS[0], num_beams=2)


def test_streaming_requests_deliver_after_each_token(manager):
    name = manager.add_request(LISTS[0], streaming=True, eos_token_id=[96])
    results = list(manager.request_id_iter(name))
    expected = results[-1].generated_tokens
    assert [one.generated_tokens for one in results] == [
        expected[: n + 1] for n in range(len(expected))
    ]
    assert [one.is_finished() for one in results] == [False] * (len(expected) - 1) + [True]


def test_cancelled_requests_say_so(manager):
    name = manager.add_request(LISTS[0], max_new_tokens=1000, eos_token_id=[96])
    manager.cancel_request(name)
    result = manager.get_result(name, timeout=60)
    assert result.status == ossia.RequestStatus.FAILED
    assert result.error == "cancelled"
    manager.cancel_request("nobody")
    again = manager.add_request(LISTS[1], request_id=name)
    assert manager.get_result(again, timeout=60).generated_tokens == greedy(LISTS[1])


def test_stopping_finishes_or_cancels_and_then_refuses():
    model, _ = shared_pair()
    for hard in (False, True):
        manager = model.init_continuous_batching(continuous_batching_config={"num_blocks": 300})
        assert not manager.is_running()
        name = manager.add_request(LISTS[0], max_new_tokens=400, eos_token_id=[96])
        manager.start()
        manager.stop(hard_stop=hard)
        result = manager.get_result(name)
        assert result.is_finished()
        assert (result.error is None) != hard
        assert list(manager) == []
        with pytest.raises(EngineClosedError):
            manager.add_request(LISTS[0])


def test_many_threads_share_a_manager(manager):
    found = {}

    def work(number):
        ids = LISTS[number % 3]
        name = manager.add_request(ids)
        found[number] = (ids, manager.get_result(name, timeout=120).generated_tokens)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 9
    assert all(tokens == greedy(ids) for ids, tokens in found.values())


def test_two_requests_of_one_name():
    model, _ = shared_pair()
    manager = model.init_continuous_batching(continuous_batching_config={"num_blocks": 300})
    manager.add_request(LISTS[0], request_id="one")
    with pytest.raises(RequestError, match="request_id"):
        manager.add_request(LISTS[0], request_id="one")


def test_a_full_queue():
    model, _ = shared_pair()
    manager = model.init_continuous_batching(
        continuous_batching_config={"num_blocks": 300, "max_queue_size": 1}
    )
    manager.add_request(LISTS[0])
    with pytest.raises(RequestError, match="max_queue_size"):
        manager.add_request(LISTS[0])
