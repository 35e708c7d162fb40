"""common/sandbox/gpu: what of a GPU is in a sandbox, and that nothing of it is in any other."""

import resource
from pathlib import Path
from typing import Any

import pytest

from common.errors import ConfinementError
from common.sandbox import gpu
from common.sandbox.bubblewrap import command_line
from common.sandbox.gpu import CONTROL_NODES, Gpu, find_nodes, parse_answer, with_gpu
from common.sandbox.interpreter import ENVIRONMENT, GPU_ENVIRONMENT
from common.sandbox.stage import Description
from common.sandbox.tree import Tree
from common.sandboxed import landlock, lockdown
from common.sandboxed.wire import Configuration


def nodes_in(folder: Path, *names: str) -> tuple[str, ...]:
    for name in names:
        (folder / name).touch()
    return find_nodes(folder)


def test_the_first_gpu_is_given_and_its_control_nodes(tmp_path: Path) -> None:
    found = nodes_in(tmp_path, "nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia10", "nvidia2", "nvidia-modeset")
    assert found == (*CONTROL_NODES, "/dev/nvidia2")


@pytest.mark.parametrize("names", [(), ("nvidiactl", "nvidia-uvm"), ("nvidiactl", "nvidia0"), ("nvidia0",)])
def test_a_gpu_is_all_of_its_nodes_or_none(tmp_path: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(ConfinementError, match=r"confinement\.gpu"):
        nodes_in(tmp_path, *names)


def test_the_library_is_looked_for_in_named_folders_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "driver_folders", lambda: (tmp_path / "none", tmp_path))
    with pytest.raises(ConfinementError, match=r"confinement\.gpu"):
        gpu.find_library()
    (tmp_path / "libcuda.so.580").touch()
    (tmp_path / "libcuda.so.1").symlink_to("libcuda.so.580")
    assert gpu.find_library() == (tmp_path / "libcuda.so.580").resolve()


def test_a_tree_with_a_gpu_has_nodes_and_libraries_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "find_library", lambda name: Path("/driver") / name)
    monkeypatch.setattr(gpu, "find_nodes", lambda: (*CONTROL_NODES, "/dev/nvidia0"))
    plain = Tree({"/python": "/usr"}, {"/code/x": b"1"}, 4096)
    tree = with_gpu(plain)
    names = ("libcuda.so.1", "libnvidia-ptxjitcompiler.so.1")
    assert tree.binds == {**plain.binds, **{f"/libraries/{name}": f"/driver/{name}" for name in names}}
    assert tree.files == {**plain.files, "/proc/self/maps": gpu.NO_MAPPINGS, "/proc/self/task/0": b""}
    assert tree.gpu_nodes == (*CONTROL_NODES, "/dev/nvidia0")
    described = Description(tree.describe(["/usr/bin/bwrap"]))
    assert set(described.binds) == {*tree.binds, "/dev/null", *tree.gpu_nodes}
    assert set(Description(plain.describe(["/usr/bin/bwrap"])).binds) == {"/python", "/dev/null"}


def test_nodes_are_bound_one_by_one_and_only_where_there_is_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.sandbox.bubblewrap.find_bubblewrap", lambda: "/usr/bin/bwrap")
    plain = command_line(("python",), filter_fd=9, scratch=True)
    nodes = (*CONTROL_NODES, "/dev/nvidia0")
    with_nodes = command_line(("python",), filter_fd=9, scratch=True, devices=nodes, environment=GPU_ENVIRONMENT)
    bound = [with_nodes[place + 2] for place, word in enumerate(with_nodes) if word == "--dev-bind"]
    assert bound == ["/dev/null", *nodes]
    assert not any("nvidia" in word or "/proc" in word or word in GPU_ENVIRONMENT for word in plain)
    assert with_nodes.count("--setenv") == len(ENVIRONMENT) + len(GPU_ENVIRONMENT)
    writable = [with_nodes[place + 2] for place, word in enumerate(with_nodes) if word == "--bind"]
    assert writable == ["/scratch", "/proc/self/task"]


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("warning\ncapability 9 0 NVIDIA H200\n", Gpu((9, 0), "NVIDIA H200")),
        ("failed cuInit 304\n", None),
        ("capability 9 NVIDIA\n", None),
        ("", None),
    ],
)
def test_what_the_probe_says_is_a_gpu_or_a_refusal(said: str, found: Gpu | None) -> None:
    if found is not None:
        assert parse_answer(said) == found
        return
    with pytest.raises(ConfinementError, match=r"confinement\.gpu"):
        parse_answer(said)


def configuration(**more: Any) -> Configuration:
    return Configuration(
        entry="a:B", design=None, layout=(), columns=(), rows=1, answer_shape=(), answer_dtype="float32",
        seed_initial=1, seed_stream=2, memory_bytes=1 << 30, threads=8, file_bytes=1 << 20, cpu_seconds=60,
        compute_threads=1, control_fd=3, completion_fd=4, input_fd=5, state_fd=6, output_fd=7, **more,
    )  # fmt: skip


def test_only_a_child_with_a_gpu_is_told_of_devices() -> None:
    assert b"device" not in configuration().encode()
    for one in (configuration(), configuration(device="cuda")):
        assert Configuration.decode(one.encode()) == one


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_limits_differ_by_addresses_and_open_files_alone(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said = dict[int, tuple[int, int]]()
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
    monkeypatch.setattr(resource, "setrlimit", lambda kind, both: said.update({kind: both}))
    lockdown.set_limits(configuration(device=device))
    cuda = device == "cuda"
    assert said[resource.RLIMIT_AS][1] == (resource.RLIM_INFINITY if cuda else (1 << 30) + lockdown.ADDRESS_BYTES)
    assert said[resource.RLIMIT_NOFILE][1] == (lockdown.CUDA_OPEN_FILES if cuda else lockdown.OPEN_FILES)
    assert said[resource.RLIMIT_DATA] == (1 << 30, 1 << 30)
    assert said[resource.RLIMIT_MEMLOCK] == said[resource.RLIMIT_CORE] == (0, 0)
    assert said[resource.RLIMIT_NPROC] == (8, 8)


@pytest.mark.parametrize(("device", "given"), [("cpu", ()), ("cuda", ["/dev/nvidia0"])])
def test_landlock_lets_through_the_nodes_and_filters_come_last(
    device: str, given: list[str] | tuple[()], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = list[Any]()
    monkeypatch.setattr(lockdown, "set_limits", lambda _: done.append("limits"))
    monkeypatch.setattr(lockdown, "forbid_core_dumps", lambda: done.append("cores"))
    monkeypatch.setattr(lockdown, "restrict_files", lambda *, scratch, devices: done.append((scratch, devices)))
    monkeypatch.setattr(lockdown, "install_filter", done.append)
    monkeypatch.setattr(lockdown, "device_nodes", lambda: ["/dev/nvidia0"])
    before = None if device == "cpu" else lambda: done.append("gpu")
    lockdown.confine(configuration(device=device), b"filter", scratch=True, before_filter=before)
    assert [one for one in done if one != "gpu"] == ["limits", "cores", (True, given), b"filter"]
    assert done[-2:] == (["gpu", b"filter"] if device == "cuda" else [(True, ()), b"filter"])


def test_rights_over_a_node_are_those_of_a_device() -> None:
    rights = landlock._READ_FILE | landlock._WRITE_FILE | landlock._IOCTL_DEVICE
    assert rights & landlock._FILE_RIGHTS_BY_ABI[5] == rights
    assert rights & landlock._FILE_RIGHTS_BY_ABI[4] == rights & ~landlock._IOCTL_DEVICE
