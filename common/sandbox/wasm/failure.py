"""How design code failed, on its way to an outcome (side: enclave)."""


class DesignFailure(Exception):
    """Carries a code of common/refusals.py that starts with `provider.`; nothing that the code said."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code
