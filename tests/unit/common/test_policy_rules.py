"""common/policy_rules: which sandbox is sound on which platform (ARCHITECTURE, decision 15)."""

import pytest

from common.errors import ConfinementError
from common.messages.evidence import TrustLevel
from common.policy_rules import require_sound_device, require_sound_pair


@pytest.mark.parametrize("level", list(TrustLevel))
def test_wasm_is_sound_everywhere_and_native_where_a_kernel_confines(level: TrustLevel) -> None:
    require_sound_pair("wasm", level)
    if level is not TrustLevel.SGX:
        require_sound_pair("native", level)
        return
    with pytest.raises(ConfinementError, match=r"confinement\.pair") as refused:
        require_sound_pair("native", level)
    assert (refused.value.expected, refused.value.seen) == ("sandbox wasm", "native on sgx")


@pytest.mark.parametrize("level", list(TrustLevel))
def test_a_gpu_is_in_no_hardware_tee(level: TrustLevel) -> None:
    require_sound_device("cpu", level)
    if level in {TrustLevel.SIMULATION, TrustLevel.TPM_IMA}:
        require_sound_device("cuda", level)
        return
    with pytest.raises(ConfinementError, match=r"confinement\.pair") as refused:
        require_sound_device("cuda", level)
    assert (refused.value.expected, refused.value.seen) == ("device cpu", f"cuda on {level}")
