"""What enclaves take for the graph of a native bundle, and what not."""

import json
from itertools import pairwise

import numpy as np
import pytest

from common.bundle import GRAPH_ENTRY, StateTensor
from common.errors import FormatError
from common.exported_graph import open_exported, require_graph
from common.sandboxed.graph_names import fitting_name, names_of_state
from services.paramserver import model_sealing
from services.paramserver.model_sealing import agreed_graph
from tests.fakes.exported_graphs import lies, linear_graph
from tests.fakes.training_world import small_bundle

BUNDLE = small_bundle().manifest
HONEST = json.dumps(linear_graph(BUNDLE)).encode()
ANOTHER = HONEST.replace(b"total", b"whole")


def test_a_graph_takes_its_part_of_the_state_and_no_code() -> None:
    graph = open_exported(HONEST, BUNDLE)
    state_P = np.arange(BUNDLE.state_count, dtype=np.float32)
    np.testing.assert_array_equal(graph.state(state_P), state_P[: BUNDLE.layout[0].count])
    contents = graph.contents()
    assert (contents.manifest.entry, sorted(contents.files)) == (GRAPH_ENTRY, ["graph.json", "provider.toml"])
    (tensor,) = contents.manifest.layout
    assert (tensor.name, tensor.shape) == (BUNDLE.layout[0].name, BUNDLE.layout[0].shape)
    require_graph(contents)
    assert open_exported(graph.document, BUNDLE).document == graph.document


@pytest.mark.parametrize("what", lies(BUNDLE))
def test_lies_are_refused(what: str) -> None:
    with pytest.raises(FormatError, match=r"format\.(design|too_large)"):
        open_exported(lies(BUNDLE)[what], BUNDLE)


def test_an_answer_of_another_type_is_the_codes_business() -> None:
    answer = BUNDLE.answer.model_copy(update={"dtype": "int64"})
    with pytest.raises(FormatError, match=r"format\.design"):
        open_exported(HONEST, BUNDLE.model_copy(update={"answer": answer}))


def test_what_a_query_may_cost_hangs_on_its_rows() -> None:
    wide = linear_graph(BUNDLE)
    names = ["part", *(f"p{at}" for at in range(17))]
    wide["nodes"][1:1] = [
        {"op": "pad", "name": name, "inputs": [before], "amounts": [[0, 4096]]} for before, name in pairwise(names)
    ] + [{"op": "slice", "name": "q", "inputs": ["p16"], "axis": 1, "begin": 0, "end": BUNDLE.layout[0].count}]
    wide["nodes"][-2]["inputs"][0] = "q"
    document = json.dumps(wide).encode()
    open_exported(document, BUNDLE)
    with pytest.raises(FormatError) as refusal:
        open_exported(document, BUNDLE.model_copy(update={"query_rows": 4096}))
    assert "bytes of activations" in str(refusal.value.expected)


def test_members_agree_or_there_is_no_graph() -> None:
    document = open_exported(HONEST, BUNDLE).document
    assert agreed_graph({document}, BUNDLE) == document
    assert agreed_graph(set(), BUNDLE) is None
    assert agreed_graph({document, b"{}"}, BUNDLE) is None
    assert agreed_graph({HONEST}, BUNDLE) == document, "another encoding of it"
    assert agreed_graph({document, ANOTHER}, BUNDLE) is None


def test_however_many_documents_there_are_one_at_most_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """To read one holds the interpreter, which other jobs of the parameter server want."""
    read = list[bytes]()
    monkeypatch.setattr(model_sealing, "open_exported", lambda document, _: read.append(document))
    assert agreed_graph({HONEST, ANOTHER, b"{}"}, BUNDLE) is None
    assert read == []


def test_no_lie_is_a_graph() -> None:
    assert [agreed_graph({lie}, BUNDLE) for lie in lies(BUNDLE).values()] == [None] * len(lies(BUNDLE))


def test_names_fit_and_differ() -> None:
    assert names_of_state(["0.weight", "_0.weight", "a-b", "a_b", "input"]) == {
        "0.weight": "_0.weight", "_0.weight": "_0.weight_2", "a-b": "a_b", "a_b": "a_b_2", "input": "input_2",
    }  # fmt: skip
    assert len(fitting_name("x" * 500, {"x" * 100})) == 102
    layout = (StateTensor(name="0.w-1", shape=(18,)), *BUNDLE.layout[1:])
    bundle = BUNDLE.model_copy(update={"layout": layout})
    document = json.dumps(linear_graph(bundle)).replace("0.w-1", "_0.w_1").encode()
    assert open_exported(document, bundle).graph.parameters[0].name == "_0.w_1"
